package paths

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Kind is a path that can be built.
type Kind struct {
	Key, Title string
	Made       string   // what Build makes, for people
	Sides      []string // namespaces: a and b are the machines, h, h1 and h2 the hosts
	Default    bool     // built unless others are asked for
	build      func(*builder)
	number     int // its addresses are 10.200.number.x
}

func (k Kind) addr(side string) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 200, byte(k.number), map[string]byte{"a": 1, "b": 2}[side]})
}

// underlay is the address of a host's end of the wire between hosts.
func (k Kind) underlay(n int) string { return fmt.Sprintf("10.201.%d.%d", k.number, n) }

const (
	mtu       = 1500
	tunnelMTU = 1450
	vni       = 42
)

var (
	oneHost  = []string{"a", "b", "h"}
	twoHosts = []string{"a", "b", "h1", "h2"}
)

// Kinds are all paths but real VFs, in the order in which they are shown. The first is what the others are held
// against.
var Kinds = number([]Kind{
	{Key: "wire", Title: "direct wire (veth pair)", Made: "a veth pair", Sides: []string{"a", "b"}, Default: true, build: buildWire},
	{Key: "veb", Title: "neutrino's software NIC, one host", Made: "a software NIC of 2 VFs", Sides: oneHost, Default: true, build: buildVEB},
	{Key: "veb-two", Title: "neutrino's software NICs, two hosts", Made: "two software NICs of a VF each, uplink to uplink", Sides: twoHosts, Default: true, build: buildVEBTwo},
	{Key: "macvlan", Title: "macvlan, one host", Made: "two macvlan devices on one parent", Sides: oneHost, Default: true, build: buildMacvlan},
	{Key: "bridge", Title: "Linux bridge, one host", Made: "a bridge with two veth pairs", Sides: oneHost, Default: true, build: buildBridge},
	{Key: "bridge-vxlan", Title: "bridge + VXLAN, two hosts", Made: "two bridges joined by VXLAN over a veth pair", Sides: twoHosts, Default: true, build: buildBridgeVXLAN},
	{Key: "ovs", Title: "Open vSwitch (kernel), one host", Made: "an Open vSwitch of its own with two veth pairs", Sides: oneHost, Default: true, build: func(b *builder) { b.ovs("system") }},
	{Key: "ovs-vxlan", Title: "Open vSwitch (kernel) + VXLAN, two hosts", Made: "two Open vSwitches of their own joined by VXLAN over a veth pair", Sides: twoHosts, Default: true, build: func(b *builder) { b.ovsVXLAN("system") }},
	{Key: "ovs-user", Title: "Open vSwitch (userspace), one host", Made: "an Open vSwitch of its own with two veth pairs", Sides: oneHost, Default: true, build: func(b *builder) { b.ovs("netdev") }},
	{Key: "ovs-user-vxlan", Title: "Open vSwitch (userspace) + VXLAN, two hosts", Made: "two Open vSwitches of their own joined by VXLAN over a veth pair", Sides: twoHosts, Default: true, build: func(b *builder) { b.ovsVXLAN("netdev") }},
})

func number(all []Kind) []Kind {
	for i := range all {
		all[i].number = i + 1
	}
	return all
}

// Choose takes kinds by their keys; none = those that are built by default. The first of Kinds is always among them:
// ratios are to it.
func Choose(keys []string) ([]Kind, error) {
	var known []string
	for _, k := range Kinds {
		known = append(known, k.Key)
	}
	for _, key := range keys {
		if !slices.Contains(known, key) {
			return nil, fmt.Errorf("%q is no path: there are %s", key, strings.Join(known, ", "))
		}
	}
	var out []Kind
	for i, k := range Kinds {
		if i == 0 || len(keys) == 0 && k.Default || slices.Contains(keys, k.Key) {
			out = append(out, k)
		}
	}
	return out, nil
}

func buildWire(b *builder) {
	b.pair("a", "eth0", "b", "eth0")
	b.addr("a", "eth0", mtu)
	b.addr("b", "eth0", mtu)
}

// attach joins the two machines to one host.
func (b *builder) attach() {
	b.pair("a", "eth0", "h", "pa")
	b.pair("b", "eth0", "h", "pb")
	b.addr("a", "eth0", mtu)
	b.addr("b", "eth0", mtu)
}

func buildBridge(b *builder) {
	b.attach()
	b.bridge("h", "pa", "pb")
}

// underlay joins two hosts with a machine each by a wire.
func (b *builder) underlay() {
	b.pair("a", "eth0", "h1", "port")
	b.pair("b", "eth0", "h2", "port")
	b.pair("h1", "wire", "h2", "wire")
	b.addr("a", "eth0", tunnelMTU)
	b.addr("b", "eth0", tunnelMTU)
}

func buildBridgeVXLAN(b *builder) {
	b.underlay()
	for i, side := range []string{"h1", "h2"} {
		b.address(side, "wire", b.kind.underlay(i+1)+"/24", mtu)
		b.vxlan(side, b.kind.underlay(i+1), b.kind.underlay(2-i))
		b.bridge(side, "port", "vx0")
	}
}
