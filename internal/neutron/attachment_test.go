package neutron_test

import (
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func attached() (*model.Port, *model.Network) {
	n := &model.Network{Meta: model.Meta{ID: "net"}, MTU: 9000, Segments: []model.Segment{
		{ID: "seg", NetworkType: "vlan", PhysicalNetwork: "default", SegmentationID: 105},
	}}
	p := &model.Port{
		Meta: model.Meta{ID: "port", ProjectID: "p1"}, NetworkID: "net", MAC: "FA-16-3E-00-00-01", AdminStateUp: true,
		PortSecurity: true, PropagateUplinkStatus: true, DeviceID: "vm", DeviceOwner: "compute:nova",
		FixedIPs:            []model.FixedIP{{SubnetID: "s", IP: netip.MustParseAddr("10.0.0.5")}},
		AllowedAddressPairs: []model.AddressPair{{IP: "10.1.2.3/16", MAC: "FA:16:3E:00:00:02"}},
		Binding: model.Binding{
			Host: "h", VnicType: "direct", VIFType: model.VIFHWVEB, Driver: "sriovnicswitch", SegmentID: "seg",
			Profile: map[string]any{"pci_slot": "0000:03:10.2", "max_tx_rate": 100.0, "trusted": "true"},
		},
	}
	return p, n
}

func TestAttachmentOf(t *testing.T) {
	p, n := attached()
	a, ok := neutron.AttachmentOf(p, n)
	if !ok {
		t.Fatal("nothing to carry out")
	}
	yes := true
	want := &model.Attachment{
		PortID: "port", Revision: a.Revision, NetworkID: "net", ProjectID: "p1", Device: "vm", Owner: "compute:nova",
		VnicType: "direct", PCISlot: "0000:03:10.2", PhysicalNetwork: "default", VLAN: 105, MAC: "fa:16:3e:00:00:01", MTU: 9000,
		SpoofCheck: true, Trust: &yes, LinkState: model.LinkAuto, MaxTxRate: 100,
		Allowed: []model.AllowedSource{
			{MAC: "fa:16:3e:00:00:01", Prefix: netip.MustParsePrefix("10.0.0.5/32")},
			{MAC: "fa:16:3e:00:00:02", Prefix: netip.MustParsePrefix("10.1.0.0/16")},
		},
	}
	if !reflect.DeepEqual(a, want) || a.Revision <= 0 {
		t.Errorf("got  %+v\nwant %+v", a, want)
	}

	for name, c := range map[string]struct {
		edit  func(*model.Port, *model.Network)
		check func(*model.Attachment) bool
	}{
		"flat": {
			func(_ *model.Port, n *model.Network) {
				n.Segments[0].NetworkType, n.Segments[0].SegmentationID = "flat", 0
			},
			func(a *model.Attachment) bool { return a.VLAN == 0 },
		},
		"administratively down": {
			func(p *model.Port, _ *model.Network) { p.AdminStateUp = false },
			func(a *model.Attachment) bool { return a.LinkState == model.LinkDisable },
		},
		"link not following": {
			func(p *model.Port, _ *model.Network) { p.PropagateUplinkStatus = false },
			func(a *model.Attachment) bool { return a.LinkState == model.LinkEnable },
		},
		"no port security": {
			func(p *model.Port, _ *model.Network) { p.PortSecurity = false },
			func(a *model.Attachment) bool { return !a.SpoofCheck && a.Allowed == nil },
		},
		"trusted said by the port": {
			func(p *model.Port, _ *model.Network) { p.Trusted = new(bool) },
			func(a *model.Attachment) bool { return a.Trust != nil && !*a.Trust },
		},
		"near its instance": {
			func(p *model.Port, _ *model.Network) { p.Binding.Profile["numa_node"] = 1.0 },
			func(a *model.Attachment) bool { return a.NUMANode != nil && *a.NUMANode == 1 },
		},
		"no address": {
			func(p *model.Port, _ *model.Network) { p.FixedIPs = nil },
			func(a *model.Attachment) bool { return a.SpoofCheck && a.Allowed == nil },
		},
		"port of a bridge": {
			func(p *model.Port, _ *model.Network) {
				p.Binding.Driver, p.Binding.VIFType = "openvswitch", model.VIFOVS
				p.Binding.VIFDetails = map[string]any{"bridge_name": "br-eth6"}
			},
			func(a *model.Attachment) bool {
				return a.Kind == model.AttachOVS && a.Bridge == "br-eth6" && a.VLAN == 105
			},
		},
		"port of a bridge, no address": {
			func(p *model.Port, _ *model.Network) {
				p.Binding.Driver, p.Binding.VIFType = "openvswitch", model.VIFOVS
				p.Binding.VIFDetails = map[string]any{"bridge_name": "br-eth6"}
				p.FixedIPs = nil
			},
			func(a *model.Attachment) bool {
				return len(a.Allowed) == 1 && a.Allowed[0].Prefix == netip.MustParsePrefix("10.1.0.0/16")
			},
		},
		"IPv6 brings link-local": {
			func(p *model.Port, _ *model.Network) { p.FixedIPs[0].IP = netip.MustParseAddr("2001:db8::1") },
			func(a *model.Attachment) bool {
				return len(a.Allowed) == 3 && a.Allowed[1].Prefix == netip.MustParsePrefix("fe80::f816:3eff:fe00:1/128")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			port, net := attached()
			c.edit(port, net)
			if got, attachable := neutron.AttachmentOf(port, net); !attachable || !c.check(got) {
				t.Errorf("attachment %+v", got)
			}
		})
	}
	for name, edit := range map[string]func(*model.Port, *model.Network){
		"unbound": func(p *model.Port, _ *model.Network) { p.Binding.VIFType = model.VIFUnbound },
		"failed":  func(p *model.Port, _ *model.Network) { p.Binding.VIFType = model.VIFBindingFailed },
		"open vswitch without a bridge": func(p *model.Port, _ *model.Network) {
			p.Binding.Driver, p.Binding.VIFType = "openvswitch", model.VIFOVS
		},
		"whole function":  func(p *model.Port, _ *model.Network) { p.Binding.VIFType = model.VIFHostdevPhysical },
		"unknown segment": func(p *model.Port, _ *model.Network) { p.Binding.SegmentID = "x" },
		"overlay":         func(_ *model.Port, n *model.Network) { n.Segments[0].NetworkType = "vxlan" },
		"other network":   func(_ *model.Port, n *model.Network) { n.ID = "x" },
	} {
		t.Run(name, func(t *testing.T) {
			port, net := attached()
			edit(port, net)
			if got, attachable := neutron.AttachmentOf(port, net); attachable {
				t.Errorf("attachment %+v", got)
			}
		})
	}
	if _, ok := neutron.AttachmentOf(p, nil); ok {
		t.Error("an attachment without a network")
	}
}

// The attachment is a function of its arguments, leaves them alone, and its revision
// changes exactly with its content.
func TestAttachmentOfIsPure(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) (*model.Port, *model.Network) {
			p, n := attached()
			p.Status = rapid.SampledFrom([]string{"ACTIVE", "DOWN", "BUILD"}).Draw(t, label+" status")
			p.Name = rapid.SampledFrom([]string{"a", "b"}).Draw(t, label+" name")
			p.Revision = rapid.Int64Range(1, 9).Draw(t, label+" revision")
			p.AdminStateUp = rapid.Bool().Draw(t, label+" up")
			p.PortSecurity = rapid.Bool().Draw(t, label+" port security")
			n.Segments[0].SegmentationID = rapid.IntRange(1, 3).Draw(t, label+" vlan")
			n.MTU = rapid.SampledFrom([]int{1500, 9000}).Draw(t, label+" mtu")
			return p, n
		}
		p, n := draw("first")
		before, beforeNet := p.Clone(), n.Clone()
		a, ok := neutron.AttachmentOf(p, n)
		again, _ := neutron.AttachmentOf(p, n)
		if !ok || !reflect.DeepEqual(a, again) || !reflect.DeepEqual(p, before) || !reflect.DeepEqual(n, beforeNet) {
			t.Fatalf("not a pure function: %+v, %+v", a, again)
		}
		p2, n2 := draw("second")
		b, _ := neutron.AttachmentOf(p2, n2)
		x, y := *a, *b
		x.Revision, y.Revision = 0, 0
		if reflect.DeepEqual(x, y) != (a.Revision == b.Revision) {
			t.Fatalf("revisions %d and %d of\n%+v\n%+v", a.Revision, b.Revision, x, y)
		}
	})
}
