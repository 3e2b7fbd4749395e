package ovs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/go-logr/logr"
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/client"
	"github.com/ovn-kubernetes/libovsdb/model"
)

// DefaultEndpoint is where Open vSwitch's database listens on Debian, Ubuntu and RHEL.
const DefaultEndpoint = "unix:/run/openvswitch/db.sock"

// Errors for errors.Is.
var (
	// ErrUnavailable: the database does not answer; it is tried again.
	ErrUnavailable = errors.New("Open vSwitch's database does not answer") //nolint:staticcheck // a name
	// ErrUplink: the uplink cannot be taken.
	ErrUplink = errors.New("uplink refused")
	// ErrNoBridge: the port's bridge is not one of the mapped ones.
	ErrNoBridge = errors.New("no such mapped bridge")
)

// Bridge is one mapped bridge.
type Bridge struct {
	Name            string
	PhysicalNetwork string
	Uplink          string // netdev; "" = it has one, or needs none
}

// Options of a Switch.
type Options struct {
	Endpoint string      // unix:/path, tcp:host:port, ssl:host:port; "" = DefaultEndpoint
	TLS      *tls.Config // for ssl:
	Bridges  []Bridge
	Datapath string // of bridges that are made: "system" (""), "netdev"
	Log      *slog.Logger
	// MayTake says why a netdev must not become an uplink; nil = [Uplinks].
	MayTake func(netdev string) error
	// MoveAddresses: an uplink that MayTake refuses because of what would be cut off is taken, and
	// its addresses and routes become the bridge's. So do those that it is given later.
	MoveAddresses bool
}

// Port is one port that a bridge of this host is to carry.
type Port struct {
	ID        string
	NetworkID string
	ProjectID string
	Bridge    string
	VLAN      int // 0 = untagged (flat), else 1..4094
	MAC       string
	MTU       int // bytes; 0 = as it is
	// Internal: the port is made here, as an internal port called Name. Else it is waited
	// for: whoever starts the instance makes it.
	Internal bool
}

// Name is the name of the port's interface, as os-vif forms it: tap and the first 11
// characters of the port's id.
func Name(portID string) string {
	if len(portID) > 11 {
		portID = portID[:11]
	}
	return "tap" + portID
}

// Status of one port as the database shows it.
type Status struct {
	Interface string // "" = nobody has made it yet
	OFPort    int    // its OpenFlow port number; 0 = it has none yet
	// Ifindex of its netdev in Open vSwitch's namespace; 0 = it is in another, or not made. A
	// netdev that is made anew, as those of the userspace datapath are when ovs-vswitchd starts,
	// has another one.
	Ifindex int
	Err     error // why it is not as asked, if it can be said
}

// Up reports whether the port is in place.
func (s Status) Up() bool { return s.Err == nil && s.Interface != "" && s.OFPort > 0 }

// Switch is the Open vSwitch of one host. It is safe for concurrent use. It connects, and
// connects again, by itself.
type Switch struct {
	o      Options
	schema model.ClientDBModel
	events chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex       // one change at a time
	unmovable map[string]error // uplinks whose addresses could not be moved, and why

	cmu     sync.Mutex
	conn    client.Client // nil = not connected
	changed chan struct{} // closed, and made anew, when something may have changed
}

const (
	connectDeadline  = 5 * time.Second
	transactDeadline = 10 * time.Second
	probeInterval    = 5 * time.Second
)

// Open returns a Switch. It does not wait for the database: until it answers, everything
// but Close fails with ErrUnavailable.
func Open(o Options) (*Switch, error) {
	if o.Endpoint == "" {
		o.Endpoint = DefaultEndpoint
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MayTake == nil {
		o.MayTake = Uplinks
	}
	if err := CheckEndpoint(o.Endpoint); err != nil {
		return nil, fmt.Errorf("open Open vSwitch: %w", err)
	}
	if err := checkBridges(o.Bridges); err != nil {
		return nil, fmt.Errorf("open Open vSwitch: %w", err)
	}
	schema, err := databaseModel()
	if err != nil {
		return nil, fmt.Errorf("open Open vSwitch: %w", err)
	}
	s := &Switch{o: o, schema: schema, events: make(chan struct{}, 1), changed: make(chan struct{}), unmovable: map[string]error{}, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.keep(ctx)
	return s, nil
}

// keep stays connected until ctx ends. Each connection is a client of its own: what it has
// cached goes with it.
func (s *Switch) keep(ctx context.Context) {
	defer close(s.done)
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	said := ""
	for ctx.Err() == nil {
		c, err := s.connect(ctx)
		if err == nil {
			s.o.Log.Info("connected to Open vSwitch", "database", s.o.Endpoint)
			said = ""
			wait.Reset()
			s.use(c)
			s.live(ctx, c)
			s.use(nil)
			c.Close()
			continue
		}
		if ctx.Err() == nil && err.Error() != said {
			s.o.Log.Warn("cannot connect to Open vSwitch; trying on", "database", s.o.Endpoint, "error", err)
			said = err.Error()
		}
		select {
		case <-time.After(wait.NextBackOff()):
		case <-ctx.Done():
		}
	}
}

// use makes c the connection, nil = there is none.
func (s *Switch) use(c client.Client) {
	s.cmu.Lock()
	s.conn = c
	s.cmu.Unlock()
	s.wake()
}

// next is closed when something may have changed.
func (s *Switch) next() <-chan struct{} {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	return s.changed
}

// client is the connection.
func (s *Switch) client() (client.Client, error) {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	if s.conn == nil || !s.conn.Connected() {
		return nil, fmt.Errorf("%w at %s", ErrUnavailable, s.o.Endpoint)
	}
	return s.conn, nil
}

// live returns when the connection has ended, or ctx. A server that hangs is found by
// asking it now and then, as Open vSwitch's own programs do.
func (s *Switch) live(ctx context.Context, c client.Client) {
	probe := time.NewTicker(probeInterval)
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.DisconnectNotify():
		case <-probe.C:
			ask, cancel := context.WithTimeout(ctx, probeInterval)
			err := c.Echo(ask)
			cancel()
			if err == nil {
				continue
			}
		}
		if ctx.Err() == nil {
			s.o.Log.Warn("Open vSwitch's database is gone; traffic goes on", "database", s.o.Endpoint)
		}
		return
	}
}

// connect makes a connection whose view is complete.
func (s *Switch) connect(ctx context.Context) (client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectDeadline)
	defer cancel()
	quiet := logr.Discard()
	opts := []client.Option{client.WithEndpoint(s.o.Endpoint), client.WithLogger(&quiet)}
	if strings.HasPrefix(s.o.Endpoint, "ssl:") {
		opts = append(opts, client.WithTLSConfig(s.o.TLS))
	}
	c, err := client.NewOVSDBClient(s.schema, opts...)
	if err != nil {
		return nil, err
	}
	if err = c.Connect(ctx); err != nil {
		return nil, err
	}
	c.Cache().AddEventHandler(&cache.EventHandlerFuncs{
		AddFunc:    func(string, model.Model) { s.wake() },
		UpdateFunc: func(string, model.Model, model.Model) { s.wake() },
		DeleteFunc: func(string, model.Model) { s.wake() },
	})
	if _, err = c.Monitor(ctx, c.NewMonitor(columns()...)); err != nil {
		c.Close()
		return nil, fmt.Errorf("read the database: %w", err)
	}
	return c, nil
}

func (s *Switch) wake() {
	s.cmu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.cmu.Unlock()
	select {
	case s.events <- struct{}{}:
	default:
	}
}

// Events receives after something may have changed. It carries no truth, only a reason to
// Set again.
func (s *Switch) Events() <-chan struct{} { return s.events }

// Close ends the connection. Ports stay as they are.
func (s *Switch) Close() {
	s.cancel()
	<-s.done
}

// CheckEndpoint reports what is wrong with the address of a database.
func CheckEndpoint(e string) error {
	scheme, rest, _ := strings.Cut(e, ":")
	switch scheme {
	case "unix":
		if !filepath.IsAbs(rest) {
			return fmt.Errorf("%q: unix: is followed by an absolute path", e)
		}
		return nil
	case "tcp", "ssl":
		host, port, err := net.SplitHostPort(rest)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("%q: %s: is followed by host:port", e, scheme)
		}
		if ip := net.ParseIP(host); scheme == "tcp" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("%q: without TLS only a database on loopback is spoken to; write ssl:host:port", e)
		}
		if _, err = url.Parse(e); err != nil {
			return fmt.Errorf("%q: %w", e, err)
		}
		return nil
	}
	return fmt.Errorf("%q is none of unix:/path, ssl:host:port, tcp:127.0.0.1:port", e)
}

func checkBridges(bridges []Bridge) error {
	seen := map[string]bool{}
	for _, b := range bridges {
		switch {
		case b.Name == "" || len(b.Name) > 15 || strings.ContainsAny(b.Name, "/ \t\n"):
			return fmt.Errorf("bridge_mappings: %q is not the name of a bridge", b.Name)
		case seen["bridge "+b.Name]:
			return fmt.Errorf("bridge_mappings: bridge %s is mapped twice; VLANs of two physical networks would be one", b.Name)
		case b.Uplink != "" && seen["uplink "+b.Uplink]:
			return fmt.Errorf("bridge_uplinks: %s is the uplink of two bridges", b.Uplink)
		}
		seen["bridge "+b.Name], seen["uplink "+b.Uplink] = true, true
	}
	return nil
}

// There says which of the mapped bridges exist.
func (s *Switch) There() map[string]bool {
	out := map[string]bool{}
	v, _, err := s.view()
	if err != nil {
		return out
	}
	for _, b := range s.o.Bridges {
		_, out[b.Name] = v.bridges[b.Name]
	}
	return out
}

// view is what the database shows at one moment.
type view struct {
	root    root
	bridges map[string]bridge // by name
	ports   map[string]portRow
	ifaces  map[string]iface // by UUID
}

func (s *Switch) view() (*view, client.Client, error) {
	db, err := s.client()
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	var roots []root
	var bridges []bridge
	var ports []portRow
	var ifaces []iface
	for _, list := range []any{&roots, &bridges, &ports, &ifaces} {
		if err = db.List(ctx, list); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	if len(roots) != 1 {
		return nil, nil, fmt.Errorf("%w: it has %d rows in Open_vSwitch, not one yet", ErrUnavailable, len(roots))
	}
	v := &view{root: roots[0], bridges: map[string]bridge{}, ports: map[string]portRow{}, ifaces: map[string]iface{}}
	for _, b := range bridges {
		v.bridges[b.Name] = b
	}
	for _, p := range ports {
		v.ports[p.UUID] = p
	}
	for _, i := range ifaces {
		v.ifaces[i.UUID] = i
	}
	return v, db, nil
}

// sortedPorts lists a bridge's ports in order of their names.
func (v *view) sortedPorts(b bridge) []portRow {
	var out []portRow
	for _, id := range b.Ports {
		if p, ok := v.ports[id]; ok {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b portRow) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (v *view) bridgeNames() []string { return slices.Sorted(maps.Keys(v.bridges)) }
