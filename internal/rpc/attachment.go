package rpc

import (
	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

const (
	maxRate     = 10_000_000 // Mbit/s
	maxNUMANode = 1023       // MAX_NUMNODES of Linux, less one
)

// EncodeAttachment converts to the wire, filter and all. [Sharing] does it for many.
func EncodeAttachment(a *model.Attachment) *fabricv1.Attachment {
	out := encodeAttachment(a)
	out.Filter = EncodeFilter(a.Filter)
	return out
}

// encodeAttachment leaves the filter out.
func encodeAttachment(a *model.Attachment) *fabricv1.Attachment {
	out := &fabricv1.Attachment{
		PortId: a.PortID, Revision: a.Revision, NetworkId: a.NetworkID, ProjectId: a.ProjectID,
		DeviceId: a.Device, DeviceOwner: a.Owner, VnicType: a.VnicType, PciSlot: a.PCISlot,
		PhysicalNetwork: a.PhysicalNetwork, Vlan: unsigned(a.VLAN), Mac: a.MAC, Mtu: unsigned(a.MTU),
		SpoofCheck: a.SpoofCheck, LinkState: encodeLinkState(a.LinkState),
		MinTxRate: unsigned(a.MinTxRate), MaxTxRate: unsigned(a.MaxTxRate), Kind: a.Kind, Bridge: a.Bridge,
	}
	if a.Trust != nil {
		t := *a.Trust
		out.Trust = &t
	}
	if a.NUMANode != nil {
		n := unsigned(*a.NUMANode)
		out.NumaNode = &n
	}
	for _, s := range a.Allowed {
		out.Allowed = append(out.Allowed, &fabricv1.AllowedSource{Mac: s.MAC, Prefix: s.Prefix.String()})
	}
	return out
}

// DecodeAttachment converts from the wire and validates every field. shared are the filters of
// the message that it came with; nil where there are none, as in a file.
func DecodeAttachment(in *fabricv1.Attachment, shared Filters) (*model.Attachment, error) {
	var c checks
	c.id("port_id", in.GetPortId())
	c.id("network_id", in.GetNetworkId())
	c.text("project_id", in.GetProjectId(), 255)
	c.text("device_id", in.GetDeviceId(), 255)
	c.text("device_owner", in.GetDeviceOwner(), 255)
	if !namePattern.MatchString(in.GetVnicType()) {
		c.fail("vnic_type", "%.80q is not a vnic type", in.GetVnicType())
	}
	c.slot("pci_slot", in.GetPciSlot())
	if c.text("physical_network", in.GetPhysicalNetwork(), 64); in.GetPhysicalNetwork() == "" {
		c.fail("physical_network", "missing")
	}
	if in.GetVlan() > 4094 {
		c.fail("vlan", "%d is not between 0 and 4094", in.GetVlan())
	}
	c.mac("mac", in.GetMac())
	c.mtu("mtu", in.GetMtu())
	link := decodeLinkState(&c, in.GetLinkState())
	c.rates(in.GetMinTxRate(), in.GetMaxTxRate())
	if in.GetNumaNode() > maxNUMANode {
		c.fail("numa_node", "%d is not between 0 and %d", in.GetNumaNode(), maxNUMANode)
	}
	switch in.GetKind() {
	case model.AttachVF:
		if in.GetBridge() != "" {
			c.fail("bridge", "%.40q, but a VF carries the port", in.GetBridge())
		}
	case model.AttachOVS:
		if CheckNetdev(in.GetBridge()) != nil {
			c.fail("bridge", "%.40q is not the name of a bridge", in.GetBridge())
		}
	default:
		c.fail("kind", "%.40q is unknown", in.GetKind())
	}
	out := &model.Attachment{
		Kind: in.GetKind(), Bridge: in.GetBridge(),
		PortID: in.GetPortId(), Revision: in.GetRevision(), NetworkID: in.GetNetworkId(), ProjectID: in.GetProjectId(),
		Device: in.GetDeviceId(), Owner: in.GetDeviceOwner(), VnicType: in.GetVnicType(), PCISlot: in.GetPciSlot(),
		PhysicalNetwork: in.GetPhysicalNetwork(), VLAN: int(in.GetVlan()), MAC: in.GetMac(), MTU: int(in.GetMtu()),
		SpoofCheck: in.GetSpoofCheck(), LinkState: link,
		MinTxRate: int(in.GetMinTxRate()), MaxTxRate: int(in.GetMaxTxRate()),
	}
	if in.Trust != nil {
		t := in.GetTrust()
		out.Trust = &t
	}
	if in.NumaNode != nil {
		n := int(in.GetNumaNode())
		out.NUMANode = &n
	}
	if c.count("allowed", len(in.GetAllowed()), maxAllowed) {
		for _, s := range in.GetAllowed() {
			c.mac("allowed.mac", s.GetMac())
			p := c.prefix("allowed.prefix", s.GetPrefix())
			out.Allowed = append(out.Allowed, model.AllowedSource{MAC: s.GetMac(), Prefix: p})
		}
	}
	out.Filter = c.filterOf(in, shared)
	if c.failed() {
		return nil, c.err
	}
	return out, nil
}

// CheckAttachment reports what would keep an agent from accepting the attachment.
func CheckAttachment(a *model.Attachment) error {
	return new(Checker).Check(a)
}

// IdentifiesPort reports whether s is usable as the id of a port or network.
func IdentifiesPort(s string) bool { return idPattern.MatchString(s) }

func (c *checks) rates(lo, hi uint32) {
	switch {
	case lo > maxRate:
		c.fail("min_tx_rate", "%d Mbit/s is more than %d", lo, maxRate)
	case hi > maxRate:
		c.fail("max_tx_rate", "%d Mbit/s is more than %d", hi, maxRate)
	case hi != 0 && lo > hi:
		c.fail("min_tx_rate", "%d Mbit/s is more than max_tx_rate %d", lo, hi)
	}
}

// unsigned keeps a nonsense negative number nonsense on the wire.
func unsigned(v int) uint32 {
	if v < 0 || v > 1<<31-1 {
		return 1<<32 - 1
	}
	return uint32(v)
}

func encodeLinkState(s model.LinkState) fabricv1.LinkState {
	switch s {
	case model.LinkAuto:
		return fabricv1.LinkState_LINK_STATE_AUTO
	case model.LinkEnable:
		return fabricv1.LinkState_LINK_STATE_ENABLE
	case model.LinkDisable:
		return fabricv1.LinkState_LINK_STATE_DISABLE
	default:
		return fabricv1.LinkState_LINK_STATE_UNSPECIFIED
	}
}

func decodeLinkState(c *checks, s fabricv1.LinkState) model.LinkState {
	switch s {
	case fabricv1.LinkState_LINK_STATE_AUTO:
		return model.LinkAuto
	case fabricv1.LinkState_LINK_STATE_ENABLE:
		return model.LinkEnable
	case fabricv1.LinkState_LINK_STATE_DISABLE:
		return model.LinkDisable
	default:
		c.fail("link_state", "unknown value %d", int32(s))
		return model.LinkDisable
	}
}
