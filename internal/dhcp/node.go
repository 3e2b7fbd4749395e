package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/portspace"
	"neutrino/internal/ra"
)

// DefaultPrefix of namespace names, as Neutron's.
const DefaultPrefix = "qdhcp-"

const (
	retryFirst = 100 * time.Millisecond // after which what was not there is looked for again
	retryMost  = 5 * time.Second
	auditEvery = 30 * time.Second
)

// ErrClosed: the Node was closed.
var ErrClosed = errors.New("DHCP node is closed")

// FindVF says which VF carries a port here. ok is false while none does; the network
// is then tried again. It must be safe for concurrent use, and must not call the Node.
type FindVF func(portID string) (vf VF, ok bool)

// VF is a virtual function of this host, or an interface of an Open vSwitch bridge.
type VF = portspace.VF

// Companion works beside the DHCP server of one network, in its namespace: a metadata
// proxy, for example. The Node calls it from one goroutine at a time.
type Companion interface {
	// Set tells what the network is now; the value must not be changed. It is called again
	// and again, every 30 s at least, and must not block.
	Set(n *model.DHCPNetwork)
	// Close ends it and waits for what it runs. The namespace is still there.
	Close() error
}

// Options of a Node. The zero value of each field is usable but for FindVF.
type Options struct {
	FindVF     FindVF
	LeaseTime  time.Duration // dhcp_lease_duration; 0 = 24 h, negative = infinite
	DNSDomain  string        // option 15; "" = none
	DNSServers []netip.Addr  // dnsmasq_dns_servers: for subnets without dns_nameservers
	Prefix     string        // of namespace names; "" = DefaultPrefix

	// With Beside, whose Companion is to answer at MetadataAddr: instances are told the way to it
	// through the DHCP port on subnets without a router of ours (IsolatedMetadata, Neutron's
	// enable_isolated_metadata) or on all (ForceMetadata, its force_metadata).
	IsolatedMetadata, ForceMetadata bool

	Log        *slog.Logger
	Registerer prometheus.Registerer // nil = metrics are kept but not exported

	// Beside makes a network's Companion once its namespace serves DHCP; nil = none. ns is
	// valid until Beside returns. It must not call the Node. What fails is tried again, and
	// does not keep DHCP from being served.
	Beside func(namespace string, ns netns.NsHandle) (Companion, error)
}

// Node owns the namespaces and servers of the networks that this host serves. It is
// safe for concurrent use.
//
// The host's namespace is the one that NewNode is called in. One goroutine belongs to
// the Node and one to each server; Close waits for all of them.
type Node struct {
	o      Options
	log    *slog.Logger
	m      *metrics
	home   netns.NsHandle
	homeNL *netlink.Handle
	homeID string

	kick   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex // held while the host is changed
	closed bool
	known  bool // Set was called: before that nothing is removed
	want   map[string]*model.DHCPNetwork
	nets   map[string]*served
}

// served is what this process has running for a network.
type served struct {
	server   *Server
	adverts  *ra.Server // nil while there is nothing to advertise
	ifindex  int
	mac      string
	status   Status
	problems map[string]bool // those already logged

	beside   Companion
	besideOf string // identity of the namespace that beside works in
}

// State of a network on this host.
type State string

// The states.
const (
	Serving State = "serving"
	Pending State = "pending" // no VF yet
	Failed  State = "failed"  // tried again
)

// Status of one network.
type Status struct {
	State     State
	Namespace string
	Err       error     // why it is pending or failed
	Beside    error     // why there is no Companion; tried again
	Problems  []Problem // what is asked for and left out
}

// NewNode returns a Node that serves nothing until Set is called.
func NewNode(o Options) (*Node, error) {
	if o.FindVF == nil {
		return nil, errors.New("start DHCP: no way to find VFs was given")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("start DHCP: register metrics: %w", err)
	}
	home, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("start DHCP: open the host's network namespace: %w", err)
	}
	homeNL, err := netlink.NewHandleAt(home, unix.NETLINK_ROUTE)
	if err != nil {
		_ = home.Close()
		return nil, fmt.Errorf("start DHCP: open netlink: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Node{
		o: o, log: o.Log, m: m, home: home, homeNL: homeNL, homeID: portspace.HostID(home),
		kick: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		want: map[string]*model.DHCPNetwork{}, nets: map[string]*served{},
	}
	go n.run(ctx)
	return n, nil
}

// Set makes exactly these networks served: it is full state, and calling it again
// with the same changes nothing. The values are kept and must not be changed. A
// network whose VF is not there yet is no error; Status tells. Failures are returned
// joined, and tried again in the background all the same.
func (n *Node) Set(ctx context.Context, want []*model.DHCPNetwork) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	n.known = true
	n.want = make(map[string]*model.DHCPNetwork, len(want))
	for _, w := range want {
		if w.NetworkID == "" || w.PortID == "" {
			return fmt.Errorf("serve DHCP: a network without an id or a port (network %q, port %q)", w.NetworkID, w.PortID)
		}
		n.want[w.NetworkID] = w
	}
	err := n.reconcile(ctx)
	n.Kick()
	return err
}

// Kick makes the Node look again at once, for example when a VF was assigned.
func (n *Node) Kick() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// Status returns the state of every network asked for, by network id.
func (n *Node) Status() map[string]Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[string]Status, len(n.want))
	for id := range n.want {
		if s := n.nets[id]; s != nil {
			out[id] = s.status
		}
	}
	return out
}

// Close stops the servers and waits for them. Namespaces stay in place, with the VFs
// in them: the next process adopts them.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		<-n.done
		return nil
	}
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	<-n.done
	var errs []error
	for _, s := range n.nets {
		errs = append(errs, s.stopAll())
	}
	n.homeNL.Close()
	errs = append(errs, n.home.Close())
	return errors.Join(errs...)
}

// run tries again what could not be done, and audits.
func (n *Node) run(ctx context.Context) {
	defer close(n.done)
	wait := auditEvery
	for {
		timer := time.NewTimer(wait)
		kicked := false
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.kick:
			kicked = true
			timer.Stop()
		case <-timer.C:
		}
		settled := n.audit(ctx)
		switch {
		case settled:
			wait = auditEvery
		case kicked || wait == auditEvery:
			wait = retryFirst
		default:
			wait = min(wait*2, retryMost)
		}
	}
}

// audit reports whether everything asked for is served.
func (n *Node) audit(ctx context.Context) (settled bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || !n.known {
		return true
	}
	if err := n.reconcile(ctx); err != nil && ctx.Err() == nil {
		n.log.Debug("DHCP networks not all served", "err", err)
		return false
	}
	for _, s := range n.nets {
		if s.status.State != Serving || s.status.Beside != nil {
			return false
		}
	}
	return true
}
