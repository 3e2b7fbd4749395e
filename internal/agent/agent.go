package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// Config is what the operator says of this host. Zero durations mean the default.
type Config struct {
	// Host is the name the controller knows this host by (binding:host_id).
	Host string
	// Controllers are tried in order, starting anywhere: "unix:///run/neutrino.sock",
	// "http://127.0.0.1:9797" (loopback only) or "https://host:port".
	Controllers []string
	TLS         TLS
	// PhysicalDeviceMappings: physical network -> names of its PFs.
	PhysicalDeviceMappings map[string][]string
	// ExcludeDevices: PF name -> PCI slots of VFs that are not the agent's business.
	ExcludeDevices map[string][]string
	StateFile      string // bbolt; created with its directory
	VnicType       string // [eswitch] vnic_type, told to the controller; "" = not said
	DHCP           bool   // announce a DHCP agent; needs WithDHCP
	L3             bool   // announce an L3 agent; needs WithRouters
	// BridgeMappings: physical network -> its Open vSwitch bridge. They announce an Open vSwitch
	// agent; need WithBridges.
	BridgeMappings   map[string]string
	DatapathType     string // of those bridges: system, netdev
	Filters          bool   // the bridges' ports are filtered, told to the controller; needs WithFilters
	AvailabilityZone string // of the DHCP and L3 agents; "" = "nova"
	Version          string
	AuditInterval    time.Duration // safety net; default 60 s
	ReportInterval   time.Duration // between signs of life; 0 = as the controller says
}

// TLS names the PEM files of the host's certificate (CN or a SAN = Host) and of the
// authority that signed the controllers'. All or none.
type TLS struct {
	CertFile, KeyFile, CAFile string
}

// DHCPServer serves networks. Set is given the full list each time, is idempotent, and
// is never called twice at once.
type DHCPServer interface {
	Set(ctx context.Context, want []*model.DHCPNetwork) error
}

// VF is where a port's VF can be found on this host.
type VF struct {
	PF      string
	Index   int
	PCISlot string
	Netdev  string // its name in the agent's namespace, or the last one it had there
	// Ifindex of an interface of a bridge while it is in the agent's namespace, else 0. One that
	// was made anew has another one, and is to be taken again by whoever had it.
	Ifindex int
	// Generation of the assignment; see [Assignment].
	Generation uint64
}

// FindVF says which VF carries a port; ok is false while none was read back as
// carrying it. It is safe for concurrent use.
type FindVF func(portID string) (vf VF, ok bool)

// Option changes how Run works.
type Option func(*options)

type options struct {
	log       *slog.Logger
	reg       prometheus.Registerer
	dhcp      func(FindVF) (DHCPServer, error)
	routers   func(FindVF) (RouterServer, error)
	connected func(error)
	bridges   Bridges
	filters   Filters
	prober    Prober
	plugs     func(*bbolt.DB, Ports) (Plugs, error)
}

// WithLogger sets the logger; the default is slog.Default().
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// WithRegisterer exports the agent's metrics.
func WithRegisterer(r prometheus.Registerer) Option { return func(o *options) { o.reg = r } }

// WithDHCP provides the server of the DHCP role. start is called once, before anything
// else is done.
func WithDHCP(start func(FindVF) (DHCPServer, error)) Option {
	return func(o *options) { o.dhcp = start }
}

// WithConnection sets a function that is told each time a controller has accepted the
// agent (nil), and each time it is without one (why). It must not block.
func WithConnection(f func(error)) Option { return func(o *options) { o.connected = f } }

// Run is the agent: it returns nil when ctx ends, and an error when it cannot start
// (wrong configuration, state file in use). Traffic goes on when it returns.
// The switch stays open and remains the caller's.
func Run(ctx context.Context, cfg Config, sw eswitch.Switch, opts ...Option) error {
	o := options{log: slog.Default()}
	for _, opt := range opts {
		opt(&o)
	}
	controllers, err := cfg.validate()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if cfg.DHCP && o.dhcp == nil {
		return errors.New("agent: DHCP is on, but there is no DHCP server")
	}
	if len(cfg.BridgeMappings) > 0 && o.bridges == nil {
		return errors.New("agent: bridges are mapped, but there is no Open vSwitch")
	}
	if cfg.L3 && o.routers == nil {
		return errors.New("agent: L3 is on, but there is no router server")
	}
	conf, err := clientTLS(cfg.TLS)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	m, err := newMetrics(o.reg)
	if err != nil {
		return fmt.Errorf("agent: register metrics: %w", err)
	}
	state, s, err := openState(cfg.StateFile, cfg.Host, o.log)
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer state.close()

	t, box := newTable(s), newOutbox()
	lp := newLoop(cfg, sw, state, s, t, box, o.log, m)
	desk := newProbeDesk(cfg.Host, o.prober, o.log)
	parts := []func(context.Context){lp.run, desk.run}
	if o.plugs != nil {
		if lp.plugs, err = o.plugs(state.db, lp); err != nil {
			return fmt.Errorf("agent: start the plug engine: %w", err)
		}
		parts = append(parts, lp.plugs.Run)
	}
	if len(cfg.BridgeMappings) > 0 {
		w := newBridgeWorker(o.bridges, o.filters, slices.Sorted(maps.Values(cfg.BridgeMappings)), lp)
		parts = append(parts, w.run)
	}
	if cfg.DHCP {
		server, derr := o.dhcp(lp.find)
		if derr != nil {
			return fmt.Errorf("agent: start the DHCP server: %w", derr)
		}
		w := &dhcpWorker{server: server, table: t, state: state, moved: lp.watchFound(), log: o.log, written: s.networks}
		parts = append(parts, w.run)
	}
	if cfg.L3 {
		server, rerr := o.routers(lp.find)
		if rerr != nil {
			return fmt.Errorf("agent: start the router server: %w", rerr)
		}
		w := &routerWorker{server: server, table: t, state: state, outbox: box, moved: lp.watchFound(), log: o.log, written: s.routers}
		parts = append(parts, w.run)
	}
	l := &link{
		host: cfg.Host, instance: instance(), version: cfg.Version, controllers: controllers, tls: conf,
		roles: func() []model.Agent {
			now := t.get()
			return cfg.roles(lp.devices(), len(now.Networks), len(now.Routers))
		},
		table: t, outbox: box, probes: desk, log: o.log, metrics: m, connected: o.connected, report: cfg.ReportInterval,
	}
	parts = append(parts, l.run)
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(func() { part(ctx) })
	}
	all.Wait()
	return nil
}

// instance names one start of the agent.
func instance() string { return strings.ToLower(rand.Text()) }
