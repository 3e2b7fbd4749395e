package fabric

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// view is a host's desired state as an agent holds it.
type view struct {
	epoch       string
	revision    uint64
	attachments map[string]*model.Attachment
	networks    map[string]*model.DHCPNetwork
	routers     map[string]*model.RouterSpec

	sharing bool // the agent takes filters that attachments share
}

func newView() *view {
	return &view{
		epoch: newEpoch(), attachments: map[string]*model.Attachment{}, networks: map[string]*model.DHCPNetwork{},
		routers: map[string]*model.RouterSpec{},
	}
}

// snapshot says all of it.
func (v *view) snapshot() *fabricv1.Snapshot {
	out := &fabricv1.Snapshot{Epoch: v.epoch, Revision: v.revision}
	out.Attachments, out.Filters = v.encode(slices.Sorted(maps.Keys(v.attachments)))
	for _, id := range slices.Sorted(maps.Keys(v.networks)) {
		out.DhcpNetworks = append(out.DhcpNetworks, rpc.EncodeDHCPNetwork(v.networks[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(v.routers)) {
		out.Routers = append(out.Routers, rpc.EncodeRouter(v.routers[id]))
	}
	return out
}

// setAttachments makes the view hold these and returns what that takes.
func (v *view) setAttachments(want map[string]*model.Attachment, d *fabricv1.Delta) {
	for _, id := range slices.Sorted(maps.Keys(v.attachments)) {
		if want[id] == nil {
			d.RemovedPorts = append(d.RemovedPorts, id)
		}
	}
	var changed []string
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if old := v.attachments[id]; old == nil || !sameAttachment(old, want[id]) {
			changed = append(changed, id)
		}
	}
	v.attachments = want
	d.Attachments, d.Filters = v.encode(changed)
}

// encode says these attachments, each filter once where the agent can take it so.
func (v *view) encode(ids []string) (out []*fabricv1.Attachment, filters []*fabricv1.Filter) {
	var s rpc.Sharing
	for _, id := range ids {
		if v.sharing {
			out = append(out, s.Encode(v.attachments[id]))
		} else {
			out = append(out, rpc.EncodeAttachment(v.attachments[id]))
		}
	}
	return out, s.Filters
}

// sameAttachment: the revision of an attachment changes with its content, filter apart.
func sameAttachment(a, b *model.Attachment) bool {
	return a == b || a.Revision == b.Revision && a.Filter.Equal(b.Filter)
}

// setNetworks does the same for DHCP networks. Hosts come and go all the time and may be
// many, so they are told one by one.
func (v *view) setNetworks(want map[string]*model.DHCPNetwork, d *fabricv1.Delta) {
	for _, id := range slices.Sorted(maps.Keys(v.networks)) {
		if want[id] == nil {
			d.RemovedNetworks = append(d.RemovedNetworks, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		old := v.networks[id]
		if old == nil || !sameHead(old, want[id]) {
			d.DhcpNetworks = append(d.DhcpNetworks, rpc.EncodeDHCPNetwork(want[id]))
			continue
		}
		if hosts := changedHosts(old, want[id]); hosts != nil {
			d.DhcpHosts = append(d.DhcpHosts, hosts)
		}
	}
	v.networks = want
}

func sameHead(a, b *model.DHCPNetwork) bool {
	x, y := *a, *b
	x.Hosts, y.Hosts = nil, nil
	return proto.Equal(rpc.EncodeDHCPNetwork(&x), rpc.EncodeDHCPNetwork(&y))
}

func changedHosts(old, now *model.DHCPNetwork) *fabricv1.DHCPHosts {
	before := make(map[string]*model.DHCPHost, len(old.Hosts))
	for i := range old.Hosts {
		before[old.Hosts[i].PortID] = &old.Hosts[i]
	}
	out := &fabricv1.DHCPHosts{NetworkId: now.NetworkID}
	for i := range now.Hosts {
		h := &now.Hosts[i]
		if b := before[h.PortID]; b == nil || !sameHost(b, h) {
			out.Hosts = append(out.Hosts, rpc.EncodeDHCPHost(h))
		}
		delete(before, h.PortID)
	}
	out.RemovedPorts = slices.Sorted(maps.Keys(before))
	if len(out.Hosts) == 0 && len(out.RemovedPorts) == 0 {
		return nil
	}
	return out
}

func sameHost(a, b *model.DHCPHost) bool {
	return a.MAC == b.MAC && a.HostName == b.HostName && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.Options, b.Options) &&
		a.Device == b.Device && a.ProjectID == b.ProjectID && a.Instance.Equal(b.Instance)
}

// setRouters does the same for routers, each told whole.
func (v *view) setRouters(want map[string]*model.RouterSpec, d *fabricv1.Delta) {
	for _, id := range slices.Sorted(maps.Keys(v.routers)) {
		if want[id] == nil {
			d.RemovedRouters = append(d.RemovedRouters, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if old := v.routers[id]; old == nil || !sameRouter(old, want[id]) {
			d.Routers = append(d.Routers, rpc.EncodeRouter(want[id]))
		}
	}
	v.routers = want
}

// sameRouter: the revision of a router changes with its content, metadata apart.
func sameRouter(a, b *model.RouterSpec) bool {
	return a == b || a.Revision == b.Revision && slices.EqualFunc(a.Metadata, b.Metadata, func(x, y model.DHCPHost) bool {
		return x.PortID == y.PortID && proto.Equal(rpc.EncodeDHCPHost(&x), rpc.EncodeDHCPHost(&y))
	})
}

// empty reports whether a delta says nothing.
func empty(d *fabricv1.Delta) bool {
	return len(d.GetAttachments())+len(d.GetRemovedPorts())+len(d.GetDhcpNetworks())+len(d.GetDhcpHosts())+len(d.GetRemovedNetworks())+
		len(d.GetRouters())+len(d.GetRemovedRouters()) == 0
}
