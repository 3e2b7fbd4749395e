package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"

	"neutrino/internal/rpc/fabricv1/fabricv1connect"
)

// ErrPlaintext: a controller off this machine is reached with TLS or not at all.
var ErrPlaintext = errors.New("plaintext is for unix sockets and loopback only")

const maxMessage = 64 << 20 // bytes of one message from a controller

// controller is one entry of Config.Controllers.
type controller struct {
	name   string // as configured, for the log
	base   string // URL the client uses
	socket string // path of a unix socket, or ""
	secure bool
}

// parseController understands "unix:///path", "http://host:port" on loopback,
// "https://host:port", and "host:port", which is http on loopback and https elsewhere.
func parseController(s string) (controller, error) {
	raw := s
	if host, _, err := net.SplitHostPort(s); err == nil && host != "" && !strings.Contains(s, "://") {
		if raw = "https://" + s; loopback(host) {
			raw = "http://" + s
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return controller{}, fmt.Errorf("controller %q: %w", s, err)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return controller{}, fmt.Errorf("controller %q: nothing but an address belongs here", s)
	}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return controller{}, fmt.Errorf("controller %q: a unix socket is written unix:///path", s)
		}
		return controller{name: s, base: "http://controller", socket: u.Path}, nil
	case "http", "https", "tcp":
		if u.Hostname() == "" || u.Port() == "" || (u.Path != "" && u.Path != "/") {
			return controller{}, fmt.Errorf("controller %q: a host and a port are needed, and no path", s)
		}
		secure := u.Scheme == "https" || (u.Scheme == "tcp" && !loopback(u.Hostname()))
		if !secure && !loopback(u.Hostname()) {
			return controller{}, fmt.Errorf("controller %q: %w", s, ErrPlaintext)
		}
		scheme := "http://"
		if secure {
			scheme = "https://"
		}
		return controller{name: s, base: scheme + u.Host, secure: secure}, nil
	}
	return controller{}, fmt.Errorf("controller %q: not unix:///path, host:port, http:// or https://", s)
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// clientTLS reads the host's certificate and the authority; nil when none is named.
func clientTLS(t TLS) (*tls.Config, error) {
	if t == (TLS{}) {
		return nil, nil
	}
	if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
		return nil, errors.New("TLS needs a certificate, a key and an authority: all three")
	}
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		return nil, fmt.Errorf("read the host's certificate: %w", err)
	}
	pem, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the authority: no certificate in %s", t.CAFile)
	}
	return &tls.Config{
		RootCAs: pool, MinVersion: tls.VersionTLS13,
		// Read at each handshake, so that a renewed certificate needs no restart.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, cerr := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &c, cerr
		},
	}, nil
}

// dial makes a client for one controller. done releases its connections.
func (c controller) dial(conf *tls.Config) (client fabricv1connect.FabricClient, done func()) {
	tr := &http.Transport{
		Protocols:           new(http.Protocols),
		TLSClientConfig:     conf.Clone(),
		TLSHandshakeTimeout: 5 * time.Second,
		DisableCompression:  true,
		// A controller that vanished without a word is noticed in seconds.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second, WriteByteTimeout: 10 * time.Second},
	}
	d := net.Dialer{Timeout: 5 * time.Second}
	tr.DialContext = d.DialContext
	if c.socket != "" {
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", c.socket) }
	}
	if c.secure {
		tr.Protocols.SetHTTP2(true)
	} else {
		tr.Protocols.SetUnencryptedHTTP2(true)
	}
	return fabricv1connect.NewFabricClient(&http.Client{Transport: tr}, c.base, connect.WithReadMaxBytes(maxMessage),
		connect.WithAcceptCompression("gzip", nil, nil)), tr.CloseIdleConnections
}
