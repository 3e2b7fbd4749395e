package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// drain is how long requests under way may take when a server ends.
const drain = 5 * time.Second

// ErrNotYet is the state of a condition that was never set.
var ErrNotYet = errors.New("not yet")

// Health is a set of named conditions, all of which must hold for readiness. It is
// safe for concurrent use.
type Health struct {
	mu    sync.Mutex
	conds map[string]error
}

// NewHealth returns a Health in which the named conditions do not hold yet.
func NewHealth(conditions ...string) *Health {
	h := &Health{conds: map[string]error{}}
	for _, c := range conditions {
		h.conds[c] = ErrNotYet
	}
	return h
}

// Set records a condition: nil = it holds.
func (h *Health) Set(condition string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conds[condition] = err
}

// Ready returns nil when every condition holds, else an error that names the others.
func (h *Health) Ready() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var bad []string
	for c, err := range h.conds {
		if err != nil {
			bad = append(bad, c+": "+err.Error())
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.Sort(bad)
	return errors.New(strings.Join(bad, "; "))
}

// Registry returns a registry with the process's own metrics in it.
func Registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Handler serves /metrics, /healthz (the process lives) and /readyz (it can do its work).
func Handler(reg *prometheus.Registry, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// Metrics serves Handler on a TCP address until ctx ends.
func Metrics(ctx context.Context, address string, reg *prometheus.Registry, health *Health) error {
	l, err := Listen(ctx, address, nil)
	if err != nil {
		return err
	}
	return HTTP(ctx, l, Handler(reg, health.Ready))
}

// Listen opens a TCP listener, with TLS when conf is not nil.
func Listen(ctx context.Context, address string, conf *tls.Config) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	return l, nil
}

// HTTP serves h on l until ctx ends, then lets requests under way finish for a few
// seconds. It closes l, and returns nil when ctx ended.
func HTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10, // clients send URIs of many ids
	}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(l) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		_ = srv.Close()
	}
	<-stopped //nolint:errcheck // it is what Shutdown made it
	return nil
}
