package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"neutrino/internal/agent"
	"neutrino/internal/config"
	"neutrino/internal/dhcp"
	"neutrino/internal/metadata"
	"neutrino/internal/portspace"
	"neutrino/internal/serve"
)

// ErrNoNIC: a PF named in the configuration is not there.
var ErrNoNIC = errors.New("no such NIC on this host")

// Options of the process.
type Options struct {
	Log     *slog.Logger
	Version string
	// Ready is called once, when the NICs are open and the agent works: from its stored
	// state, whether a controller answers or not.
	Ready func()
}

// Run runs the agent until ctx ends. Traffic goes on when it returns.
func Run(ctx context.Context, cfg *config.Config, o Options) error {
	sw, err := openNICs(ctx, cfg, o.Log)
	if err != nil {
		return err
	}
	defer sw.Close()
	br, err := openBridges(cfg, o.Log)
	if err != nil {
		return err
	}
	if br != nil {
		defer br.Close()
	}

	reg := serve.Registry()
	health := serve.NewHealth("connected")
	g, ctx := errgroup.WithContext(ctx)
	if cfg.Metrics.Listen != "" {
		g.Go(func() error { return serve.Metrics(ctx, cfg.Metrics.Listen, reg, health) })
	}
	opts := []agent.Option{
		agent.WithLogger(o.Log),
		agent.WithRegisterer(reg),
		agent.WithConnection(func(err error) { health.Set("connected", err) }),
		agent.WithProber(newProber(cfg, o.Log)),
		agent.WithPlugs((&plugRole{cfg: cfg, log: o.Log, sw: sw, br: br}).start),
	}
	if br != nil {
		f := newFilters(cfg, br, o.Log)
		defer f.Close()
		opts = append(opts, agent.WithBridges(br), agent.WithFilters(f))
	}
	meta, err := openMetadata(cfg, o.Log, reg)
	if err != nil {
		return err
	}
	if meta != nil {
		defer meta.Close() // after those beside whom it works
	}
	if cfg.DHCP.Enabled {
		d := &dhcpRole{cfg: cfg, log: o.Log, reg: reg, meta: meta}
		defer d.close()
		opts = append(opts, agent.WithDHCP(d.start))
	}
	if cfg.L3.Enabled {
		l3 := &routerRole{log: o.Log, reg: reg, meta: meta}
		defer l3.close()
		opts = append(opts, agent.WithRouters(l3.start))
	}
	if o.Ready != nil {
		o.Ready()
	}
	g.Go(func() error { return agent.Run(ctx, agentConfig(cfg, o.Version), sw, opts...) })
	return g.Wait()
}

func agentConfig(cfg *config.Config, version string) agent.Config {
	return agent.Config{
		Host:                   cfg.Default.Host,
		Controllers:            cfg.Fabric.Controllers,
		TLS:                    agent.TLS{CertFile: cfg.Fabric.TLS.CertFile, KeyFile: cfg.Fabric.TLS.KeyFile, CAFile: cfg.Fabric.TLS.CAFile},
		PhysicalDeviceMappings: cfg.DeviceMappings(),
		ExcludeDevices:         cfg.SRIOVNIC.ExcludeDevices,
		StateFile:              cfg.Agent.StateFile,
		VnicType:               cfg.Eswitch.VnicType,
		BridgeMappings:         cfg.Bridges(),
		DatapathType:           cfg.OVS.Datapath,
		Filters:                cfg.Filters(),
		DHCP:                   cfg.DHCP.Enabled,
		L3:                     cfg.L3.Enabled,
		AvailabilityZone:       cfg.Agent.AvailabilityZone,
		Version:                version,
		ReportInterval:         cfg.Agent.ReportInterval,
	}
}

// dhcpRole starts the DHCP node when the agent's loop asks for it.
type dhcpRole struct {
	cfg  *config.Config
	log  *slog.Logger
	reg  prometheus.Registerer
	meta *metadata.Service // nil = none
	node *dhcp.Node
}

func (d *dhcpRole) start(find agent.FindVF) (agent.DHCPServer, error) {
	lease := d.cfg.LeaseTime()
	if lease == 0 {
		lease = -1 // for ever, in dhcp's terms
	}
	dns, err := dnsServers(d.cfg)
	if err != nil {
		return nil, err
	}
	node, err := dhcp.NewNode(dhcp.Options{
		FindVF:     netdevs(find),
		LeaseTime:  lease,
		DNSDomain:  strings.TrimSuffix(d.cfg.Default.DNSDomain, "."),
		DNSServers: dns,
		Beside:     besideDHCP(d.meta),

		IsolatedMetadata: d.cfg.DHCP.IsolatedMetadata,
		ForceMetadata:    d.cfg.DHCP.ForceMetadata,

		Log:        d.log,
		Registerer: d.reg,
	})
	if err != nil {
		return nil, err
	}
	d.node = node
	return node, nil
}

// netdevs is FindVF as those ask it who take the network's own ports into namespaces.
func netdevs(find agent.FindVF) func(portID string) (portspace.VF, bool) {
	return func(portID string) (portspace.VF, bool) {
		vf, ok := find(portID)
		return portspace.VF{PF: vf.PF, Index: vf.Index, Netdev: vf.Netdev, Ifindex: vf.Ifindex}, ok
	}
}

// dnsServers are those of subnets that name none.
func dnsServers(cfg *config.Config) ([]netip.Addr, error) {
	var dns []netip.Addr
	for _, s := range cfg.DHCP.DNSServers {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("[dhcp] dns_servers: %w", err)
		}
		dns = append(dns, a)
	}
	return dns, nil
}

func (d *dhcpRole) close() {
	if d.node != nil {
		_ = d.node.Close()
	}
}
