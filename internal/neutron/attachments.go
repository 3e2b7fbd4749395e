package neutron

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"neutrino/internal/ipam"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// AttachmentOf derives what a host is to carry out for a port: nothing unless the SR-IOV
// switch's driver bound the port, on a VLAN or flat segment, to a VF (a whole physical
// function, direct-physical, is Nova's business alone), or the openvswitch driver bound it to
// a bridge.
//
// It is a function of what the port and the network say of themselves and of nothing
// else. Revision is a hash of the rest of the attachment: it stays while only the port's
// status, name or the like change. Filter is left out: see Service.Attachments.
func AttachmentOf(p *model.Port, n *model.Network) (*model.Attachment, bool) {
	b := &p.Binding
	kind, ok := attachmentKind(b)
	bridge, _ := b.VIFDetails["bridge_name"].(string)
	if kind == model.AttachOVS && bridge == "" {
		return nil, false
	}
	if n == nil || n.ID != p.NetworkID || !ok {
		return nil, false
	}
	i := slices.IndexFunc(n.Segments, func(s model.Segment) bool { return s.ID == b.SegmentID })
	if i < 0 {
		return nil, false
	}
	segment := n.Segments[i]
	if segment.NetworkType != model.TypeVLAN && segment.NetworkType != model.TypeFlat {
		return nil, false
	}
	// Checked when it was written; one that got in some other way is taken as empty.
	profile, err := ml2.ParseProfile(b.Profile)
	if err != nil {
		profile = ml2.Profile{}
	}
	a := &model.Attachment{
		Kind: kind, PortID: p.ID, NetworkID: p.NetworkID, ProjectID: p.ProjectID,
		Device: p.DeviceID, Owner: p.DeviceOwner,
		VnicType: ml2.EffectiveVnicType(b), PCISlot: profile.PCISlot,
		PhysicalNetwork: segment.PhysicalNetwork,
		MAC:             model.CanonicalMAC(p.MAC), MTU: n.MTU,
		SpoofCheck: p.PortSecurity, Trust: profile.Trusted, LinkState: linkState(p),
		MinTxRate: profile.MinTxRate, MaxTxRate: profile.MaxTxRate, NUMANode: profile.NUMANode,
	}
	if kind == model.AttachOVS {
		a.Bridge = bridge
	}
	if segment.NetworkType == model.TypeVLAN {
		a.VLAN = segment.SegmentationID
	}
	if p.Trusted != nil {
		trusted := *p.Trusted
		a.Trust = &trusted
	}
	// Of a VF without addresses only the MAC is checked, as NICs do. A port of a bridge without
	// addresses sends from none, or from its pairs, as in Neutron.
	addressed := slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return f.IP.IsValid() })
	if p.PortSecurity && (addressed || kind == model.AttachOVS) {
		a.Allowed = allowedSources(p)
	}
	a.Revision = contentRevision(a)
	return a, true
}

// attachmentKind is which switch of its host carries a port; ok is false for none.
func attachmentKind(b *model.Binding) (kind string, ok bool) {
	switch {
	case !b.Bound():
		return "", false
	case b.Driver == ml2.DriverOpenVSwitch:
		return model.AttachOVS, b.VIFType == model.VIFOVS
	case b.Driver == ml2.DriverSRIOV || b.Driver == ml2.DriverMlnx:
		return model.AttachVF, b.VIFType != model.VIFHostdevPhysical
	}
	return "", false
}

func linkState(p *model.Port) model.LinkState {
	switch {
	case !p.AdminStateUp:
		return model.LinkDisable
	case p.PropagateUplinkStatus:
		return model.LinkAuto
	}
	return model.LinkEnable
}

// allowedSources are the port's addresses and its allowed address pairs, sorted. A port
// with an IPv6 address may use the link-local address that follows from the same MAC.
func allowedSources(p *model.Port) []model.AllowedSource {
	var out []model.AllowedSource
	add := func(mac string, prefix netip.Prefix) {
		mac = model.CanonicalMAC(mac)
		out = append(out, model.AllowedSource{MAC: mac, Prefix: prefix.Masked()})
		if prefix.Addr().Is6() {
			if addr, err := ipam.EUI64(linkLocal, mac); err == nil {
				out = append(out, model.AllowedSource{MAC: mac, Prefix: netip.PrefixFrom(addr, 128)})
			}
		}
	}
	for _, f := range p.FixedIPs {
		if f.IP.IsValid() {
			add(p.MAC, netip.PrefixFrom(f.IP, f.IP.BitLen()))
		}
	}
	for _, pair := range p.AllowedAddressPairs {
		mac := pair.MAC
		if mac == "" {
			mac = p.MAC
		}
		if prefix, err := netip.ParsePrefix(pair.IP); err == nil {
			add(mac, prefix)
		} else if addr, err := netip.ParseAddr(pair.IP); err == nil {
			add(mac, netip.PrefixFrom(addr, addr.BitLen()))
		}
	}
	slices.SortFunc(out, func(a, b model.AllowedSource) int {
		if c := strings.Compare(a.MAC, b.MAC); c != 0 {
			return c
		}
		if c := a.Prefix.Addr().Compare(b.Prefix.Addr()); c != 0 {
			return c
		}
		return a.Prefix.Bits() - b.Prefix.Bits()
	})
	return slices.Compact(out)
}

var linkLocal = netip.MustParsePrefix("fe80::/64")

// contentRevision is a positive hash of everything but Revision itself.
func contentRevision(a *model.Attachment) int64 {
	content := *a
	content.Revision = 0
	text, err := json.Marshal(&content)
	if err != nil {
		return 1 // cannot be: there is nothing in an attachment that JSON does not know
	}
	const positive = 1<<63 - 1
	return max(1, int64(xxhash.Sum64(text)&positive)) //nolint:gosec // the top bit is masked off
}

// Attachments returns what a host is to carry out, in the order of port ids, and a channel
// that closes when that may have changed (or when the Service is closed).
func (s *Service) Attachments(snap store.Snapshot, host string) ([]*model.Attachment, <-chan struct{}) {
	ports, changed := s.t.Ports.WatchBy(snap, ByHost, host)
	watches := []<-chan struct{}{changed}
	networks := make(map[string]*model.Network)
	filters := s.filtersOf(snap)
	var out []*model.Attachment
	for p := range ports {
		n, seen := networks[p.NetworkID]
		if !seen {
			var networkChanged <-chan struct{}
			n, _, networkChanged = s.t.Networks.WatchGet(snap, p.NetworkID)
			networks[p.NetworkID] = n
			watches = append(watches, networkChanged)
		}
		if a, ok := AttachmentOf(p, n); ok {
			if a.Kind == model.AttachOVS {
				a.Filter = filters.of(p)
			}
			out = append(out, a)
		}
	}
	return out, s.merges.any(append(watches, filters.channels...)...)
}
