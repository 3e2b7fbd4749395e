package fabric

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// ErrPlaintext is returned for an address that others can reach while there is no
// certificate: plaintext is for unix sockets and loopback.
var ErrPlaintext = errors.New("plaintext is for unix sockets and loopback only")

// TLS names the PEM files of the controller's certificate and of the authority that
// signed the hosts'. All or none.
type TLS struct {
	CertFile, KeyFile, CAFile string
}

// drain is how long streams have to end when the fabric stops.
const drain = 5 * time.Second

// Listen opens a listener for hosts: "unix:///path" (mode 0600; a socket that nobody
// serves any more is replaced) and "host:port" on loopback in plaintext, "host:port"
// elsewhere with TLS 1.3 and client certificates.
func Listen(ctx context.Context, address string, t TLS) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix://"); ok {
		l, err := listenUnix(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		return l, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return l, nil
	}
	conf, err := serverTLS(t)
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return tls.NewListener(l, conf), nil
}

func serverTLS(t TLS) (*tls.Config, error) {
	if t.CertFile == "" || t.KeyFile == "" || t.CAFile == "" {
		return nil, fmt.Errorf("%w: a certificate, a key and an authority are needed", ErrPlaintext)
	}
	if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
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
		MinVersion: tls.VersionTLS13, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
		// Read at each handshake, so that a renewed certificate needs no restart.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, cerr := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &c, cerr
		},
	}, nil
}

// unixListener removes its socket when it closes.
type unixListener struct {
	net.Listener
	path string
}

func (l *unixListener) Close() error {
	_ = os.Remove(l.path)
	return l.Listener.Close()
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	d := net.Dialer{Timeout: time.Second}
	if c, err := d.DialContext(ctx, "unix", path); err == nil {
		_ = c.Close()
		return nil, errors.New("another process serves it")
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&os.ModeSocket == 0 {
		return nil, errors.New("there is a file of that name which is no socket")
	}
	// Made under another name, so that nobody can connect before its mode is right.
	making := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(making)
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", making)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err = errors.Join(os.Chmod(making, 0o600), os.Rename(making, path)); err != nil {
		_ = l.Close()
		_ = os.Remove(making)
		return nil, err
	}
	return &unixListener{l, path}, nil
}

// Serve serves the fabric on l until ctx ends, then ends every stream. It closes l.
func (f *Fabric) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle(f.Handler())
	srv := &http.Server{
		Handler: mux, Protocols: new(http.Protocols), ReadHeaderTimeout: helloDeadline, MaxHeaderBytes: 64 << 10,
		// An agent that vanished without a word is noticed before its lease ends.
		HTTP2:    &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
	}
	srv.Protocols.SetUnencryptedHTTP2(true)
	srv.Protocols.SetHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	var err error
	select {
	case err = <-served:
		f.stop()
		_ = srv.Close()
		return fmt.Errorf("serve hosts on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	f.stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err = srv.Shutdown(end); err != nil {
		_ = srv.Close()
	}
	<-served //nolint:errcheck // it is what Close made it
	return nil
}
