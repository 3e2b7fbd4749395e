package host

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"neutrino/internal/agent"
	"neutrino/internal/config"
	"neutrino/internal/model"
	"neutrino/internal/openflow"
	"neutrino/internal/openflow/mgmt"
	"neutrino/internal/ovs"
)

// filters enforce port security and security groups on the bridges, and cut dead ports off. Where
// the first is switched off they see to it that no flow of an earlier day is left of it.
type filters struct {
	*mgmt.Switch
	vlans    func(bridge string) []ovs.VLANs
	slots    map[string]int // bridges in the order of their names
	datapath string
	off      bool
}

func newFilters(cfg *config.Config, br *bridges, log *slog.Logger) *filters {
	f := &filters{
		Switch: mgmt.New(managementDir(cfg.OVS.Connection), log), vlans: br.VLANs, slots: map[string]int{},
		datapath: cfg.OVS.Datapath, off: !cfg.Filters(),
	}
	for i, name := range slices.Sorted(maps.Values(cfg.Bridges())) {
		f.slots[name] = i
	}
	if f.off {
		log.Warn("ports of Open vSwitch bridges are not filtered: enable_security_group or firewall_driver of [securitygroup] says so")
	}
	return f
}

// managementDir is where the bridges' sockets are: beside the database's.
func managementDir(database string) string {
	if path, ok := strings.CutPrefix(database, "unix:"); ok {
		return filepath.Dir(path)
	}
	return "/run/openvswitch"
}

// Set implements agent.Filters.
func (f *filters) Set(ctx context.Context, bridge string, ports []agent.FilterPort) map[string]error {
	b := openflow.Bridge{Slot: f.slots[bridge], Datapath: f.datapath}
	bad := map[string]error{}
	filtered := map[string]bool{}
	ours := map[int]bool{}
	for _, p := range ports {
		q, err := filterPort(p, f.off)
		if err != nil {
			bad[p.Attachment.PortID] = fmt.Errorf("filter the port: %w", err)
			q.Down = true
		}
		filtered[q.ID] = q.Protected || q.Down
		ours[p.OFPort] = true
		b.Ports = append(b.Ports, q)
	}
	for _, v := range f.vlans(bridge) {
		if ours[v.OFPort] {
			continue
		}
		b.Others = append(b.Others, other(v))
	}
	err := f.program(ctx, bridge, b, bad)
	for id, needed := range filtered {
		if err != nil && needed && bad[id] == nil {
			bad[id] = fmt.Errorf("filter the port: %w", err)
		}
	}
	return bad
}

func (f *filters) program(ctx context.Context, bridge string, b openflow.Bridge, bad map[string]error) error {
	var err error
	if b.Conntrack, err = f.Conntrack(ctx, bridge); err != nil {
		return err
	}
	prog, errs := openflow.Compile(b)
	for id, err := range errs {
		if bad[id] == nil {
			bad[id] = fmt.Errorf("filter the port: %w", err)
		}
	}
	return f.Switch.Set(ctx, bridge, prog)
}

func other(v ovs.VLANs) openflow.Other {
	// In OpenFlow 1.0, and in the database.
	const local = 65534
	o := openflow.Other{OFPort: uint32(v.OFPort), Untagged: v.Untagged, Tagged: v.Tagged, Trunk: v.All, Dead: v.Dead} //nolint:gosec // positive
	if v.OFPort == local {
		o.OFPort = openflow.Local
	}
	return o
}

// filterPort is a port as flows are compiled for it. Ports of the network itself (DHCP,
// routers) send what is not theirs by trade.
func filterPort(p agent.FilterPort, off bool) (openflow.Port, error) {
	a := p.Attachment
	q := openflow.Port{ID: a.PortID, OFPort: uint32(p.OFPort), VLAN: a.VLAN} //nolint:gosec // positive
	mac, err := openflow.ParseMAC(a.MAC)
	if err != nil {
		return q, err
	}
	q.MAC = mac
	if off {
		return q, nil
	}
	q.Down = a.LinkState == model.LinkDisable
	q.Protected = a.SpoofCheck && !strings.HasPrefix(a.Owner, model.OwnerNetworkPrefix)
	if !q.Protected {
		return q, nil
	}
	q.Filter = a.Filter
	for _, s := range a.Allowed {
		mac, err := openflow.ParseMAC(s.MAC)
		if err != nil {
			return q, fmt.Errorf("allowed address pair: %w", err)
		}
		q.Allowed = append(q.Allowed, openflow.Source{MAC: mac, Prefix: s.Prefix})
	}
	return q, nil
}
