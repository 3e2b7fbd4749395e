package metadata

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"neutrino/internal/model"
)

// What is waited for Nova.
const (
	novaConnect = 10 * time.Second
	novaAnswer  = 60 * time.Second // for all of it
	maxAnswer   = 8 << 20          // bytes
	maxToNova   = 256              // connections at once
)

// Nova says where its metadata service is, in the terms of Neutron's metadata_agent.ini.
type Nova struct {
	Host       string        // nova_metadata_host
	Port       int           // nova_metadata_port
	Protocol   string        // nova_metadata_protocol: http or https
	Insecure   bool          // nova_metadata_insecure: its certificate is not checked
	CAFile     string        // auth_ca_cert; "" = the system's
	CertFile   string        // nova_client_cert; "" = none
	KeyFile    string        // nova_client_priv_key
	Secret     string        // metadata_proxy_shared_secret
	AnswerTime time.Duration // 0 = a minute
}

// forwarder puts requests to Nova.
type forwarder struct {
	base   url.URL
	secret []byte
	client *http.Client
	limit  time.Duration
	log    *slog.Logger
	away   atomic.Bool // it could not be reached last time
}

func newForwarder(n *Nova, log *slog.Logger) (*forwarder, error) {
	f := &forwarder{
		base:   url.URL{Scheme: n.Protocol, Host: net.JoinHostPort(n.Host, strconv.Itoa(n.Port))},
		secret: []byte(n.Secret), limit: n.AnswerTime, log: log,
	}
	if f.limit <= 0 {
		f.limit = novaAnswer
	}
	tlsConfig, err := n.tls()
	if err != nil {
		return nil, err
	}
	f.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: novaConnect}).DialContext,
			TLSClientConfig:     tlsConfig,
			TLSHandshakeTimeout: novaConnect,
			MaxConnsPerHost:     maxToNova,
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true,
		},
		// Where a redirect leads the signature is not for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f, nil
}

func (n *Nova) tls() (*tls.Config, error) {
	if n.Protocol != "https" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: n.Insecure} //nolint:gosec // asked for by name
	if n.CAFile != "" {
		text, err := os.ReadFile(n.CAFile)
		if err != nil {
			return nil, fmt.Errorf("auth_ca_cert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("auth_ca_cert: %s holds no PEM certificate", n.CAFile)
		}
	}
	if n.CertFile != "" || n.KeyFile != "" {
		cert, err := tls.LoadX509KeyPair(n.CertFile, n.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("nova_client_cert and nova_client_priv_key: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// sign is Nova's: the hexadecimal HMAC-SHA256 of the instance's id under the shared secret.
func sign(secret []byte, instance string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(instance))
	return hex.EncodeToString(mac.Sum(nil))
}

// Headers that go on, in either direction. All others stay: among them are those that say who
// the instance is, and those of one hop only.
var (
	toNova   = []string{"Accept", "Content-Type", "If-None-Match", "If-Modified-Since", "User-Agent"}
	fromNova = []string{"Cache-Control", "Etag", "Last-Modified"}
)

func (f *forwarder) forward(w http.ResponseWriter, r *http.Request, h *model.DHCPHost, from netip.Addr) answer {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		return refuse(http.StatusMethodNotAllowed, outcomeBad, "This method is not served.")
	}
	if h.Device == "" {
		return refuse(http.StatusNotFound, outcomeStranger, "No instance is known at this address.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return refuse(http.StatusRequestEntityTooLarge, outcomeBad, "The body is too large.")
		}
		return refuse(http.StatusBadRequest, outcomeBad, "The body could not be read.")
	}
	ctx, cancel := context.WithTimeout(r.Context(), f.limit)
	defer cancel()
	out, err := f.request(ctx, r, h, from, body)
	if err != nil {
		return refuse(http.StatusBadRequest, outcomeBad, "The request cannot be passed on.")
	}
	resp, err := f.client.Do(out)
	if err != nil {
		return f.failed(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return f.failed(err)
	}
	if f.away.Swap(false) {
		f.log.Info("Nova's metadata service answers again", "at", f.base.String())
	}
	if len(text) > maxAnswer {
		f.log.Warn("Nova's metadata is too large to be passed on", "instance", h.Device, "bytes", maxAnswer)
		return refuse(http.StatusBadGateway, outcomeBroken, "The metadata server's answer is too large.")
	}
	return f.translate(resp, text, h)
}

// request is a new one: of the instance's it has what is named here and no more.
func (f *forwarder) request(ctx context.Context, r *http.Request, h *model.DHCPHost, from netip.Addr, body []byte) (*http.Request, error) {
	u := f.base
	u.Path, u.RawPath, u.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	out, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header.Set("User-Agent", "") // none of Go's
	for _, k := range toNova {
		if v := r.Header.Get(k); v != "" {
			out.Header.Set(k, v)
		}
	}
	out.Header.Set("X-Forwarded-For", addressOf(h, from).String())
	out.Header.Set("X-Instance-ID", h.Device)
	out.Header.Set("X-Tenant-ID", h.ProjectID)
	out.Header.Set("X-Instance-ID-Signature", sign(f.secret, h.Device))
	return out, nil
}

func (f *forwarder) failed(err error) answer {
	if errors.Is(err, context.Canceled) { // the instance went away
		return refuse(http.StatusServiceUnavailable, outcomeBad, "The request was broken off.")
	}
	if !f.away.Swap(true) {
		f.log.Error("Nova's metadata service does not answer; instances get errors until it does", "at", f.base.String(), "error", err)
	}
	var timeout interface{ Timeout() bool }
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return refuse(http.StatusGatewayTimeout, outcomeLate, "The remote metadata server did not answer in time.")
	}
	return refuse(http.StatusServiceUnavailable, outcomeAway, "The remote metadata server is temporarily unavailable. Please try again later.")
}

// translate maps what Nova answered as Neutron's metadata agent does.
func (f *forwarder) translate(resp *http.Response, text []byte, h *model.DHCPHost) answer {
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotModified:
		a := answer{status: resp.StatusCode, page: &Page{resp.Header.Get("Content-Type"), text}, header: http.Header{}, outcome: outcomeOK}
		if a.page.Type == "" {
			a.page.Type = plainText
		}
		for _, k := range fromNova {
			if v := resp.Header.Get(k); v != "" {
				a.header.Set(k, v)
			}
		}
		return a
	case http.StatusForbidden:
		f.log.Warn("Nova refuses our word for an instance; is metadata_proxy_shared_secret the same on both sides?", "instance", h.Device)
		return refuse(resp.StatusCode, outcomeRefused, "The remote metadata server responded with Forbidden.")
	case http.StatusNotFound:
		return refuse(resp.StatusCode, outcomeAbsent, "Nothing is here.")
	case http.StatusBadRequest, http.StatusConflict:
		return refuse(resp.StatusCode, outcomeBad, http.StatusText(resp.StatusCode))
	case http.StatusInternalServerError:
		return refuse(resp.StatusCode, outcomeBroken, "Remote metadata server experienced an internal server error.")
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return refuse(resp.StatusCode, outcomeBroken, http.StatusText(resp.StatusCode))
	}
	f.log.Warn("Nova's metadata service answered with a status that is not one of its own", "status", resp.StatusCode, "instance", h.Device)
	return refuse(http.StatusBadGateway, outcomeBroken, "The metadata server's answer was not understood.")
}
