package paths

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"

	"github.com/vishvananda/netlink"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/veb"
	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// nicName is the PF of each host; the second one of a path is counted.
const nicName = "eth6"

// vlan is that of the machines' network.
const vlan = 100

// buildMacvlan is what macvtap does on the host, without the machine's half: both are macvlan
// devices in bridge mode, and macvtap hands its frames to QEMU in place of a namespace.
func buildMacvlan(b *builder) {
	b.pair("h", nicName, "h", nicName+"w")
	for _, side := range []string{"a", "b"} {
		dev := "mv" + side
		b.with("h", nicName, "make a macvlan device on", func(parent netlink.Link) error {
			return netlink.LinkAdd(&netlink.Macvlan{
				LinkAttrs: netlink.LinkAttrs{Name: dev, ParentIndex: parent.Attrs().Index, MTU: mtu}, Mode: netlink.MACVLAN_MODE_BRIDGE,
			})
		})
		b.move("h", dev, side)
	}
}

func buildVEB(b *builder) {
	b.nic("h", veb.Spec{Name: nicName, VFs: 2}, "a", "b")
}

func buildVEBTwo(b *builder) {
	b.nic("h1", veb.Spec{Name: nicName, VFs: 1, Peer: veb.Peer{Name: nicName + "2", Netns: netspace.Path(b.ns("h2"))}}, "a")
	b.up("h2", nicName+"2")
	b.nic("h2", veb.Spec{Name: nicName + "2", VFs: 1, PF: 1, Existing: true}, "b")
}

// nic makes a software NIC and gives its VFs to machines, with a VLAN and the spoof check.
func (b *builder) nic(side string, spec veb.Spec, machines ...string) {
	if b.err != nil {
		return
	}
	spec.PinDir, spec.Netns = filepath.Join(b.site.Dir, "pins-"+b.kind.Key+"-"+side), netspace.Path(b.ns(side))
	b.try("make a software NIC", veb.Create(b.ctx, spec))
	if b.err != nil {
		return
	}
	sw, err := veb.Open(spec.Name, spec.PinDir)
	if err != nil {
		b.try("open the software NIC", err)
		return
	}
	b.site.switches = append(b.site.switches, sw) // an open one sees that VFs move, and delivers to them directly
	state, err := sw.Observe(b.ctx)
	if err != nil || len(state.PFs) != 1 {
		b.try("read the software NIC", cmp.Or(err, fmt.Errorf("it has %d PFs", len(state.PFs))))
		return
	}
	for i, m := range machines {
		vf := state.PFs[0].VFs[i]
		mac := net.HardwareAddr{0xfa, 0x16, 0x3e, 0, byte(b.kind.number), m[0]}
		attrs := eswitch.Attrs{
			MAC: eswitch.Set(mac.String()), VLAN: eswitch.Set(vlan), SpoofCheck: eswitch.Set(true), LinkState: eswitch.Set(model.LinkEnable),
			Allowed: eswitch.Set([]model.AllowedSource{{MAC: mac.String(), Prefix: eswitch.HostPrefix(b.kind.addr(m))}}),
		}
		for _, r := range sw.Apply(b.ctx, []eswitch.Change{{VF: vf.ID, Attrs: attrs}}) {
			b.try("program a VF", r.Err)
		}
		b.with(side, vf.Netdev, "set the MAC of", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, mac) })
		b.move(side, vf.Netdev, m)
	}
}
