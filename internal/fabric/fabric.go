package fabric

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"neutrino/internal/neutron"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/rpc/fabricv1/fabricv1connect"
)

// Reasons for which a stream ends.
var (
	errStopping = errors.New("this controller is stopping")
	errReplaced = errors.New("the host has joined again")
	errStuck    = errors.New("the agent does not read")
)

const (
	helloDeadline = 10 * time.Second
	lastWords     = time.Second      // how long a stream's end may take to be written
	resumeFor     = 10 * time.Minute // how long a host that left can resume
	maxFromAgent  = 8 << 20          // bytes of one message
)

// Options of a Fabric. The zero value of each field means its default.
type Options struct {
	Listen        []string // addresses as Listen takes them; none = only Handler is used
	TLS           TLS
	AgentDownTime time.Duration // a host silent for longer is dead; 75 s
	Name          string        // of this controller, for agents' logs
	Version       string        // of its program, for agents' logs
	Log           *slog.Logger
	Registerer    prometheus.Registerer // nil = metrics are kept but not exported
}

// Fabric serves the hosts' streams. It is safe for concurrent use.
type Fabric struct {
	plane   plane
	o       Options
	listen  []net.Listener
	log     *slog.Logger
	metrics *metrics

	writeDeadline time.Duration // for one message; an agent that takes longer is stuck

	mu       sync.Mutex
	hosts    map[string]*host
	stopped  bool
	sessions sync.WaitGroup
}

// host is what is remembered of one host from stream to stream. All but session is of
// the current session only; it is handed over when one session has ended and the next
// begins.
type host struct {
	session *session
	left    time.Time // when the last session ended
	sent    *view     // what the agent holds; nil = unknown
	lease   lease
}

// New returns a Fabric over the service, listening already: an address that cannot be
// had is a mistake to be told at start. Run serves and closes the listeners.
func New(svc *neutron.Service, o Options) (*Fabric, error) {
	f, err := newFabric(servicePlane{svc}, o)
	if err != nil {
		return nil, err
	}
	for _, address := range o.Listen {
		l, lerr := Listen(context.Background(), address, o.TLS)
		if lerr != nil {
			f.closeListeners()
			return nil, fmt.Errorf("fabric: %w", lerr)
		}
		f.listen = append(f.listen, l)
	}
	return f, nil
}

func (f *Fabric) closeListeners() {
	for _, l := range f.listen {
		_ = l.Close()
	}
}

// Addresses returns where the fabric listens, in the order of Options.Listen.
func (f *Fabric) Addresses() []net.Addr {
	var out []net.Addr
	for _, l := range f.listen {
		out = append(out, l.Addr())
	}
	return out
}

func newFabric(p plane, o Options) (*Fabric, error) {
	if o.AgentDownTime <= 0 {
		o.AgentDownTime = 75 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("fabric: register metrics: %w", err)
	}
	return &Fabric{plane: p, o: o, log: o.Log, metrics: m, hosts: map[string]*host{}, writeDeadline: 30 * time.Second}, nil
}

// Run serves the listeners until ctx ends, or one of them fails; then it ends every
// stream and waits for them. None is accepted after it has returned.
func (f *Fabric) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range f.listen {
		g.Go(func() error { return f.Serve(ctx, l) })
	}
	g.Go(func() error {
		f.keepHouse(ctx)
		return nil
	})
	err := g.Wait()
	f.closeListeners()
	return err
}

// keepHouse forgets hosts that left long ago, until ctx ends.
func (f *Fabric) keepHouse(ctx context.Context) {
	t := time.NewTicker(resumeFor / 10)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			f.stop()
			return
		case <-t.C:
			f.forget(time.Now().Add(-resumeFor))
		}
	}
}

// stop ends every stream, refuses new ones and waits. It may be called more than once.
func (f *Fabric) stop() {
	f.mu.Lock()
	f.stopped = true
	for _, h := range f.hosts {
		if h.session != nil {
			h.session.end(errStopping)
		}
	}
	f.mu.Unlock()
	f.sessions.Wait()
}

// forget drops hosts that left before the time.
func (f *Fabric) forget(before time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, h := range f.hosts {
		if h.session == nil && h.left.Before(before) {
			delete(f.hosts, name)
		}
	}
}

// Hosts returns how many hosts are joined.
func (f *Fabric) Hosts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, h := range f.hosts {
		if h.session != nil {
			n++
		}
	}
	return n
}

// Handler returns the Connect handler and the path to mount it at. It needs HTTP/2 (see
// Serve).
func (f *Fabric) Handler() (path string, h http.Handler) {
	path, inner := fabricv1connect.NewFabricHandler(endpoint{f}, connect.WithReadMaxBytes(maxFromAgent),
		connect.WithCompression("gzip", nil, nil)) // small messages that shall be fast
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := peer{control: http.NewResponseController(w), tls: r.TLS}
		inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, p)))
	})
}

// peer is what is known of the other end besides what it says.
type peer struct {
	control *http.ResponseController
	tls     *tls.ConnectionState
}

type peerKey struct{}

// may reports whether the peer may speak for the host.
func (p peer) may(host string) error {
	if p.tls == nil {
		return nil // a unix socket or loopback: see Listen
	}
	if len(p.tls.VerifiedChains) == 0 {
		return errors.New("no verified client certificate")
	}
	leaf := p.tls.VerifiedChains[0][0]
	if leaf.Subject.CommonName == host {
		return nil
	}
	for _, name := range leaf.DNSNames {
		if name == host {
			return nil
		}
	}
	return fmt.Errorf("the certificate of %q is not of host %q", leaf.Subject.CommonName, host)
}

// endpoint keeps the RPC methods off Fabric's surface.
type endpoint struct{ f *Fabric }

// Join is one stream, from Hello to its end.
func (e endpoint) Join(ctx context.Context, st *connect.BidiStream[fabricv1.FromAgent, fabricv1.FromController]) error {
	f := e.f
	p, ok := ctx.Value(peerKey{}).(peer)
	if !ok {
		return connect.NewError(connect.CodeInternal, errors.New("served without Fabric.Handler"))
	}
	if err := p.control.SetReadDeadline(time.Now().Add(helloDeadline)); err != nil {
		return connect.NewError(connect.CodeUnimplemented, fmt.Errorf("HTTP/2 is needed: %w", err))
	}
	first, err := st.Receive()
	if err != nil {
		return connect.NewError(connect.CodeDeadlineExceeded, fmt.Errorf("wait for hello: %w", err))
	}
	hello, err := rpc.DecodeHello(first.GetHello())
	if err != nil {
		f.metrics.refused.Inc()
		return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("hello: %w", err))
	}
	if err = p.may(hello.Host); err != nil {
		f.metrics.refused.Inc()
		f.log.Warn("agent refused", "host", hello.Host, "error", err)
		return connect.NewError(connect.CodePermissionDenied, err)
	}
	s := newSession(ctx, f, p, st, hello)
	h, err := f.enter(ctx, s)
	if err != nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	defer f.leave(s)
	s.host = h
	return s.run()
}

// enter makes s the host's session, after the one before it has ended.
func (f *Fabric) enter(ctx context.Context, s *session) (*host, error) {
	for {
		f.mu.Lock()
		if f.stopped {
			f.mu.Unlock()
			return nil, errStopping
		}
		h := f.hosts[s.name]
		if h == nil {
			h = &host{}
			f.hosts[s.name] = h
		}
		old := h.session
		if old == nil {
			h.session = s
			f.sessions.Add(1)
			f.metrics.streams.Inc()
			f.mu.Unlock()
			return h, nil
		}
		f.mu.Unlock()
		if old.instance != s.instance {
			s.log.Warn("another agent of this host is joined; this one takes its place (a restart, or two hosts of one name)")
		}
		old.end(errReplaced)
		select {
		case <-old.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *Fabric) leave(s *session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.host.session, s.host.left = nil, time.Now()
	close(s.gone)
	f.metrics.streams.Dec()
	f.sessions.Done()
}

func newEpoch() string { return strings.ToLower(rand.Text()) }
