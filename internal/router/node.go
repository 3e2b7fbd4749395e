package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
const DefaultPrefix = "qrouter-"

// DefaultMetadataPort is Neutron's metadata_port.
const DefaultMetadataPort = 9697

const (
	retryFirst     = 100 * time.Millisecond // after which what was not there is looked for again
	retryMost      = 5 * time.Second
	auditEvery     = 30 * time.Second // by default
	announceEvery  = time.Second
	announceRepeat = 2 // after the first
)

// ErrClosed: the Node was closed.
var ErrClosed = errors.New("router node is closed")

// FindVF says which netdev carries a port here. ok is false while none does; the router
// is then tried again. It must be safe for concurrent use, and must not call the Node.
type FindVF func(portID string) (vf VF, ok bool)

// VF is a virtual function of this host, or an internal port of an Open vSwitch bridge.
type VF = portspace.VF

// Companion works beside a router, inside its namespace.
type Companion interface {
	// Set is told all of the instances behind the router each time.
	Set(hosts []model.DHCPHost)
	io.Closer
}

// Options of a Node. The zero value of each field is usable but for FindVF.
type Options struct {
	FindVF FindVF
	Prefix string // of namespace names; "" = DefaultPrefix
	// Beside starts what serves metadata beside each router; nil = nothing does, and
	// requests to 169.254.169.254 are forwarded like any other. It is called by the
	// Node's lock holder and must not call the Node.
	Beside func(namespace string, ns netns.NsHandle) (Companion, error)
	// MetadataPort is where the companion takes what was asked of 169.254.169.254:80;
	// 0 = DefaultMetadataPort.
	MetadataPort uint16
	AuditEvery   time.Duration // how often all routers are looked at, changed or not; 0 = 30 s
	Log          *slog.Logger
	Registerer   prometheus.Registerer // nil = metrics are kept but not exported
}

// Node owns the namespaces of the routers that this host carries. It is safe for
// concurrent use.
//
// The host's namespace is the one that NewNode is called in. One goroutine belongs to the
// Node, and some that close sockets; Close waits for them.
type Node struct {
	o      Options
	log    *slog.Logger
	m      *metrics
	home   netns.NsHandle
	homeNL *netlink.Handle
	homeID string

	closing sync.WaitGroup // of sockets

	kick   chan struct{}
	events chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // held while the host is changed
	closed  bool
	known   bool // Set was called: before that nothing is removed
	want    []*model.RouterSpec
	routers map[string]*carried
	audited time.Time // when all routers were looked at
}

// carried is what this process knows of a router.
type carried struct {
	report      model.RouterReport
	spec        *model.RouterSpec // that report is of; nil = it has to be looked at again
	netdevs     []found           // of its ports, as they were then
	space       string            // identity of the namespace that all of this is in
	adopted     bool              // flows and neighbours were seen to by this process
	companion   Companion
	advertisers map[string]*advertised // by port id
	tell        map[string]again       // by port id: announcements still to make
}

// found is what FindVF said.
type found struct {
	VF
	ok bool
}

// again says how many announcements are left, and when the next one is due.
type again struct {
	left int
	at   time.Time
}

type advertised struct {
	*ra.Server
	ifindex int
	mac     string
}

// NewNode returns a Node that does nothing until Set is called.
func NewNode(o Options) (*Node, error) {
	if o.FindVF == nil {
		return nil, errors.New("start routers: no way to find netdevs was given")
	}
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.MetadataPort == 0 {
		o.MetadataPort = DefaultMetadataPort
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.AuditEvery == 0 {
		o.AuditEvery = auditEvery
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("start routers: register metrics: %w", err)
	}
	home, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("start routers: open the host's network namespace: %w", err)
	}
	homeNL, err := netlink.NewHandleAt(home, unix.NETLINK_ROUTE)
	if err != nil {
		_ = home.Close()
		return nil, fmt.Errorf("start routers: open netlink: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &Node{
		o: o, log: o.Log, m: m, home: home, homeNL: homeNL, homeID: portspace.HostID(home),
		kick: make(chan struct{}, 1), events: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		routers: map[string]*carried{}, audited: time.Now(),
	}
	go n.run(ctx)
	return n, nil
}

// Set makes exactly these routers carried: it is full state, and calling it again with the
// same changes nothing. A router that is up, and of which nothing is different from what was asked
// before, costs next to nothing: the kernel is not asked. The values are kept and must not be changed. It returns a report
// for each: one whose netdevs are not all there yet is down, with the reason, and is no
// error. Failures are returned joined, and tried again in the background all the same.
func (n *Node) Set(ctx context.Context, want []*model.RouterSpec) ([]model.RouterReport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, ErrClosed
	}
	for _, w := range want {
		if w.RouterID == "" {
			return nil, errors.New("carry routers: one of them has no id")
		}
	}
	n.known, n.want = true, want
	err := n.reconcile(ctx, false)
	wake(n.kick)
	out := make([]model.RouterReport, 0, len(want))
	for _, w := range want {
		if c := n.routers[w.RouterID]; c != nil {
			out = append(out, c.report)
		}
	}
	return out, err
}

// Events wakes the caller when a report may be different now. It never closes.
func (n *Node) Events() <-chan struct{} { return n.events }

func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close stops what this process runs beside the routers and waits for it. Namespaces stay
// in place and forward: the next process adopts them.
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
	n.closing.Wait()
	var errs []error
	for _, c := range n.routers {
		errs = append(errs, c.stop())
	}
	n.homeNL.Close()
	errs = append(errs, n.home.Close())
	return errors.Join(errs...)
}

// stop ends what runs beside a router. Hosts are not told that it is gone: it may be
// elsewhere already, with the same address.
func (c *carried) stop() error {
	var errs []error
	c.spec = nil
	if c.companion != nil {
		errs = append(errs, c.companion.Close())
		c.companion = nil
	}
	for id, a := range c.advertisers {
		errs = append(errs, a.Close())
		delete(c.advertisers, id)
	}
	return errors.Join(errs...)
}

// run tries again what could not be done, audits, and repeats announcements.
func (n *Node) run(ctx context.Context) {
	defer close(n.done)
	wait, retry := n.o.AuditEvery, retryFirst
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.kick: // Set has just looked
			timer.Stop()
			retry = retryFirst
		case <-timer.C:
			n.audit(ctx)
			retry = min(retry*2, retryMost)
		}
		wait = n.untilNext(retry)
	}
}

// untilNext says when to look again: retry where something is amiss.
func (n *Node) untilNext(retry time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	wait := max(n.o.AuditEvery-time.Since(n.audited), 0)
	for _, c := range n.routers {
		if c.amiss() {
			return min(wait, retry)
		}
		if len(c.tell) > 0 {
			wait = min(wait, announceEvery)
		}
	}
	return wait
}

// amiss: the router is not as asked, or something is missing beside it.
func (c *carried) amiss() bool { return !c.report.Up || c.report.Reason != "" }

// audit looks at routers again, at all of them once in a while, and says so when a report
// changed.
func (n *Node) audit(ctx context.Context) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || !n.known {
		return
	}
	before := map[string]model.RouterReport{}
	for id, c := range n.routers {
		before[id] = c.report
	}
	if err := n.reconcile(ctx, time.Since(n.audited) >= n.o.AuditEvery); err != nil && ctx.Err() == nil {
		n.log.Debug("routers are not all as asked", "err", err)
	}
	for id, c := range n.routers {
		if before[id] != c.report {
			wake(n.events)
		}
	}
}
