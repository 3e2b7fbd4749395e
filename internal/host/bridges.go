package host

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"

	"neutrino/internal/agent"
	"neutrino/internal/config"
	"neutrino/internal/model"
	"neutrino/internal/ovs"
)

// bridges are the host's Open vSwitch bridges as the agent sees them.
type bridges struct{ *ovs.Switch }

// openBridges returns nil where none are mapped.
func openBridges(cfg *config.Config, log *slog.Logger) (*bridges, error) {
	mappings := cfg.Bridges()
	if len(mappings) == 0 {
		return nil, nil
	}
	o := ovs.Options{Endpoint: cfg.OVS.Connection, Datapath: cfg.OVS.Datapath, MoveAddresses: cfg.OVS.MoveAddresses, Log: log}
	for _, network := range slices.Sorted(maps.Keys(mappings)) {
		b := ovs.Bridge{Name: mappings[network], PhysicalNetwork: network}
		for _, d := range cfg.OVS.BridgeUplinks[b.Name] {
			b.Uplink = d
		}
		o.Bridges = append(o.Bridges, b)
	}
	if strings.HasPrefix(o.Endpoint, "ssl:") {
		var err error
		if o.TLS, err = databaseTLS(cfg.OVS.TLS); err != nil {
			return nil, err
		}
	}
	s, err := ovs.Open(o)
	if err != nil {
		return nil, fmt.Errorf("start agent: %w", err)
	}
	return &bridges{s}, nil
}

func databaseTLS(t config.TLS) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("start agent: [ovs] ssl_cert_file: %w", err)
	}
	ca, err := os.ReadFile(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("start agent: [ovs] ssl_ca_cert_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("start agent: [ovs] ssl_ca_cert_file: %s holds no PEM certificate", t.CAFile)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// Set implements agent.Bridges.
func (b *bridges) Set(ctx context.Context, want []*model.Attachment) (map[string]agent.BridgePort, error) {
	ports := make([]ovs.Port, 0, len(want))
	for _, a := range want {
		ports = append(ports, bridgePort(a))
	}
	status, err := b.Switch.Set(ctx, ports)
	there := b.There()
	out := make(map[string]agent.BridgePort, len(status))
	for _, a := range want {
		s := status[a.PortID]
		out[a.PortID] = agent.BridgePort{Interface: s.Interface, OFPort: s.OFPort, Ifindex: s.Ifindex, Ready: there[a.Bridge], Err: s.Err}
	}
	return out, err
}

// bridgePort is what Open vSwitch is to have for an attachment. The network's own ports, of
// DHCP and routers, are made here; an instance's is made by whoever starts the instance.
func bridgePort(a *model.Attachment) ovs.Port {
	return ovs.Port{
		ID: a.PortID, NetworkID: a.NetworkID, ProjectID: a.ProjectID, Bridge: a.Bridge, VLAN: a.VLAN, MAC: a.MAC, MTU: a.MTU,
		Internal: strings.HasPrefix(a.Owner, model.OwnerNetworkPrefix),
	}
}
