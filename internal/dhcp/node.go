package dhcp

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/model"
)

// FindVF says which VF carries a port: the name its netdev has in the host's
// namespace (the one the process runs in) and its PF. ok is false while the port has
// no VF here yet; the network is then tried again. It must be safe for concurrent use.
type FindVF func(portID string) (vf VF, ok bool)

// VF is a virtual function's netdev in the host's namespace.
type VF struct {
	PF     string // name of the physical function
	Index  int
	Netdev string // name to give the netdev back on return; never "" when found
}

// Options of a Node. The zero value of each field is usable but for FindVF.
type Options struct {
	FindVF     FindVF
	LeaseTime  time.Duration // dhcp_lease_duration; 0 = 24 h, negative = infinite
	DNSDomain  string        // option 15; "" = none
	DNSServers []netip.Addr  // dnsmasq_dns_servers: for subnets without dns_nameservers
	Prefix     string        // of namespace names; "" = "qdhcp-"
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil = metrics are kept but not exported
}

// Node owns the namespaces and servers of the networks that this host serves.
type Node struct{}

// NewNode returns a Node that serves nothing until Set or Adopt is called.
func NewNode(o Options) (*Node, error) { return &Node{}, nil }

// Set makes exactly these networks served.
func (n *Node) Set(ctx context.Context, want []*model.DHCPNetwork) error { return nil }

// Close stops the servers and waits for them; namespaces stay in place.
func (n *Node) Close() error { return nil }
