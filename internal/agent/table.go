package agent

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// errOutOfStep: a delta does not continue what the table holds; a snapshot is needed.
var errOutOfStep = errors.New("delta does not follow the state held")

// refused is an attachment that cannot be accepted as it is.
type refused struct {
	revision int64
	reason   string
}

// Desired is one consistent view of what the host is asked for. Its maps are never
// changed once published.
type Desired struct {
	Known       bool // false: nothing was ever asked, nothing may be touched
	Attachments map[string]*model.Attachment
	Networks    map[string]*model.DHCPNetwork
	Routers     map[string]*model.RouterSpec
	refused     map[string]refused
	arrived     map[string]model.Moment // port -> when this process was told what it is asked for now

	refusedRouters map[string]refused
}

// table holds the desired state. The stream replaces it, the loop and the workers of the
// other roles read it. Writers publish new maps, so that a view costs nothing.
type table struct {
	mu       sync.Mutex
	view     Desired
	epoch    string
	revision uint64
	ports    chan struct{} // capacity 1: attachments changed
	networks chan struct{} // capacity 1: networks changed
	routers  chan struct{} // capacity 1: routers changed
	bridged  chan struct{} // capacity 1: attachments changed, for the bridges
}

func newTable(s saved) *table {
	t := &table{
		view: Desired{
			Known: s.known, Attachments: s.attachments, Networks: s.networks, Routers: s.routers,
			refused: map[string]refused{}, refusedRouters: map[string]refused{}, arrived: map[string]model.Moment{},
		},
		ports: make(chan struct{}, 1), networks: make(chan struct{}, 1), routers: make(chan struct{}, 1),
		bridged: make(chan struct{}, 1),
	}
	if t.view.Attachments == nil {
		t.view.Attachments = map[string]*model.Attachment{}
	}
	if t.view.Networks == nil {
		t.view.Networks = map[string]*model.DHCPNetwork{}
	}
	if t.view.Routers == nil {
		t.view.Routers = map[string]*model.RouterSpec{}
	}
	return t
}

// get returns the current view.
func (t *table) get() Desired {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.view
}

// position is what a new stream can resume from; "" when nothing was received by this
// process.
func (t *table) position() (epoch string, revision uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch, t.revision
}

// forget makes the next stream start with a snapshot.
func (t *table) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch, t.revision = "", 0
}

// snapshot replaces everything.
func (t *table) snapshot(m *fabricv1.Snapshot) error {
	if len(m.GetAttachments()) > rpc.MaxAttachments || len(m.GetDhcpNetworks()) > rpc.MaxNetworks {
		return fmt.Errorf("%w: snapshot: %d attachments and %d networks are too many", rpc.ErrInvalid, len(m.GetAttachments()), len(m.GetDhcpNetworks()))
	}
	if !rpc.IdentifiesPort(m.GetEpoch()) {
		return fmt.Errorf("%w: snapshot: epoch %.80q is not an id", rpc.ErrInvalid, m.GetEpoch())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := Desired{
		Known: true, Attachments: map[string]*model.Attachment{}, Networks: map[string]*model.DHCPNetwork{}, refused: map[string]refused{},
		Routers: map[string]*model.RouterSpec{}, refusedRouters: map[string]refused{}, arrived: map[string]model.Moment{},
	}
	if err := next.put(m.GetAttachments(), m.GetFilters(), t.view); err != nil {
		return err
	}
	for _, n := range m.GetDhcpNetworks() {
		if err := next.putNetwork(n); err != nil {
			return err
		}
	}
	if err := next.putRouters(m.GetRouters(), t.view); err != nil {
		return err
	}
	t.publish(next, m.GetEpoch(), m.GetRevision())
	return nil
}

// delta changes what it names.
func (t *table) delta(m *fabricv1.Delta) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch == "" || m.GetBaseRevision() != t.revision || m.GetRevision() < m.GetBaseRevision() {
		return fmt.Errorf("%w: at %d, delta leads from %d to %d", errOutOfStep, t.revision, m.GetBaseRevision(), m.GetRevision())
	}
	next := t.view
	next.Known = true
	if len(m.GetAttachments()) > 0 || len(m.GetRemovedPorts()) > 0 {
		next.Attachments, next.refused, next.arrived = maps.Clone(next.Attachments), maps.Clone(next.refused), maps.Clone(next.arrived)
		for _, id := range m.GetRemovedPorts() {
			delete(next.Attachments, id)
			delete(next.refused, id)
			delete(next.arrived, id)
		}
		if err := next.put(m.GetAttachments(), m.GetFilters(), t.view); err != nil {
			return err
		}
	}
	if len(m.GetDhcpNetworks())+len(m.GetDhcpHosts())+len(m.GetRemovedNetworks()) > 0 {
		next.Networks = maps.Clone(next.Networks)
		for _, id := range m.GetRemovedNetworks() {
			delete(next.Networks, id)
		}
		for _, n := range m.GetDhcpNetworks() {
			if err := next.putNetwork(n); err != nil {
				return err
			}
		}
		for _, h := range m.GetDhcpHosts() {
			if err := next.putHosts(h); err != nil {
				return err
			}
		}
	}
	if err := next.changeRouters(m, t.view); err != nil {
		return err
	}
	if len(next.Attachments) > rpc.MaxAttachments || len(next.Networks) > rpc.MaxNetworks {
		return fmt.Errorf("%w: delta: more than %d attachments or %d networks", rpc.ErrInvalid, rpc.MaxAttachments, rpc.MaxNetworks)
	}
	t.publish(next, t.epoch, m.GetRevision())
	return nil
}

// put adds attachments. One that is not acceptable is refused by itself: its port is
// reported, what the port had before stays, and the others are not held up.
func (d *Desired) put(in []*fabricv1.Attachment, filters []*fabricv1.Filter, before Desired) error {
	now := model.MomentOf(time.Now())
	shared, err := rpc.DecodeFilters(filters)
	if err != nil {
		return err
	}
	for _, m := range in {
		id := m.GetPortId()
		if !rpc.IdentifiesPort(id) {
			return fmt.Errorf("%w: attachment: port_id %.80q is not an id", rpc.ErrInvalid, id)
		}
		a, err := rpc.DecodeAttachment(m, shared)
		if err != nil {
			d.refused[id] = refused{revision: m.GetRevision(), reason: "the host cannot accept the port: " + err.Error()}
			d.arrived[id] = now
			if old := before.Attachments[id]; old != nil {
				d.Attachments[id] = old
			}
			continue
		}
		delete(d.refused, id)
		d.Attachments[id], d.arrived[id] = a, now
		// What is asked for is the same while the revision is, but for what filters let through.
		if old := before.Attachments[id]; old != nil && old.Revision == a.Revision {
			if sameAttachment(old, a) {
				d.Attachments[id] = old // so that it need not be written again
			}
			if at := before.arrived[id]; at != 0 {
				d.arrived[id] = at
			} else {
				delete(d.arrived, id)
			}
		}
	}
	return nil
}

func (d *Desired) putNetwork(m *fabricv1.DHCPNetwork) error {
	n, err := rpc.DecodeDHCPNetwork(m)
	if err != nil {
		return fmt.Errorf("DHCP network %.80q: %w", m.GetNetworkId(), err)
	}
	d.Networks[n.NetworkID] = n
	return nil
}

func (d *Desired) putHosts(m *fabricv1.DHCPHosts) error {
	old := d.Networks[m.GetNetworkId()]
	if old == nil {
		return fmt.Errorf("%w: hosts of network %.80q, which is not held", errOutOfStep, m.GetNetworkId())
	}
	changed := make(map[string]model.DHCPHost, len(m.GetHosts()))
	for _, h := range m.GetHosts() {
		host, err := rpc.DecodeDHCPHost(h)
		if err != nil {
			return fmt.Errorf("DHCP network %.80q: %w", m.GetNetworkId(), err)
		}
		changed[host.PortID] = host
	}
	gone := make(map[string]bool, len(m.GetRemovedPorts()))
	for _, id := range m.GetRemovedPorts() {
		gone[id] = true
	}
	next := *old
	next.Hosts = make([]model.DHCPHost, 0, len(old.Hosts)+len(changed))
	for _, h := range old.Hosts {
		if now, ok := changed[h.PortID]; ok {
			next.Hosts = append(next.Hosts, now)
			delete(changed, h.PortID)
		} else if !gone[h.PortID] {
			next.Hosts = append(next.Hosts, h)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(changed)) {
		next.Hosts = append(next.Hosts, changed[id])
	}
	if len(next.Hosts) > rpc.MaxHosts {
		return fmt.Errorf("%w: DHCP network %.80q: more than %d hosts", rpc.ErrInvalid, m.GetNetworkId(), rpc.MaxHosts)
	}
	d.Networks[next.NetworkID] = &next
	return nil
}

func (t *table) publish(next Desired, epoch string, revision uint64) {
	t.view, t.epoch, t.revision = next, epoch, revision
	wake(t.ports)
	wake(t.networks)
	wake(t.routers)
	wake(t.bridged)
}

// of lists the attachments of one kind.
func (d *Desired) of(kind string) map[string]*model.Attachment {
	out := make(map[string]*model.Attachment, len(d.Attachments))
	for id, a := range d.Attachments {
		if a.Kind == kind {
			out[id] = a
		}
	}
	return out
}

// networkList is the view's networks in a stable order.
func (d *Desired) networkList() []*model.DHCPNetwork {
	return slices.SortedFunc(maps.Values(d.Networks), func(a, b *model.DHCPNetwork) int {
		return strings.Compare(a.NetworkID, b.NetworkID)
	})
}

func sameAttachment(a, b *model.Attachment) bool {
	x, y := *a, *b
	x.Filter, y.Filter = nil, nil
	return a.Filter.Equal(b.Filter) && proto.Equal(rpc.EncodeAttachment(&x), rpc.EncodeAttachment(&y))
}

// wake leaves one token in a channel of capacity 1.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
