package veb

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// Verdicts of tc programs.
const (
	shot     = 2
	redirect = 7
	pass     = 0
)

// skbContext is what BPF_PROG_TEST_RUN takes as __sk_buff: zero but for the device.
type skbContext struct {
	_       [10]uint32
	Ifindex uint32
	_       [37]uint32
}

// run puts a frame through a program as if it came in on a device.
func (r *rig) run(p *ebpf.Program, ifindex uint32, frame []byte) uint32 {
	r.t.Helper()
	for len(frame) < 60 {
		frame = append(frame, 0)
	}
	var ret uint32
	must(r.t, r.host.ns.do(func() (err error) {
		ret, err = p.Run(&ebpf.RunOptions{Data: frame, Context: skbContext{Ifindex: ifindex}})
		return err
	}))
	return ret
}

// fromVF runs a frame as VF i's and returns the verdict and what was counted.
func (r *rig) fromVF(i int, frame []byte) (uint32, eswitch.Counters) {
	r.t.Helper()
	n := r.sw.nics[0]
	v, err := n.vf(i)
	must(r.t, err)
	before, err := n.counters()
	must(r.t, err)
	ret := r.run(n.o.VebVf, v.Ifindex, frame)
	after, err := n.counters()
	must(r.t, err)
	a, b := after[i], before[i]
	return ret, eswitch.Counters{
		TxPackets: a.TxPackets - b.TxPackets, TxBytes: a.TxBytes - b.TxBytes,
		TxDropped: a.TxDropped - b.TxDropped, TxSpoofed: a.TxSpoofed - b.TxSpoofed,
		TxBroadcast: a.TxBroadcast - b.TxBroadcast, TxMulticast: a.TxMulticast - b.TxMulticast,
	}
}

func ether(dst, src string, proto uint16, payload ...[]byte) []byte {
	b := append(append([]byte{}, hw(dst)...), hw(src)...)
	b = binary.BigEndian.AppendUint16(b, proto)
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

func ip4(src, dst string, proto byte, payload ...byte) []byte {
	b := make([]byte, 20)
	b[0], b[8], b[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], netip.MustParseAddr(src).AsSlice())
	copy(b[16:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

func udp(sport, dport uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, sport)
	b = binary.BigEndian.AppendUint16(b, dport)
	return append(b, 0, 8, 0, 0)
}

func ip6(src, dst string, next byte, payload ...byte) []byte {
	b := make([]byte, 40)
	b[0], b[6], b[7] = 0x60, next, 255
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], netip.MustParseAddr(src).AsSlice())
	copy(b[24:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

func arp(op byte, sha, spa, tpa string) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, op}
	b = append(append(b, hw(sha)...), netip.MustParseAddr(spa).AsSlice()...)
	return append(append(b, make([]byte, 6)...), netip.MustParseAddr(tpa).AsSlice()...)
}

// nd is a neighbour discovery message with a target and one link-layer option.
func nd(kind byte, target string, opt byte, lla string) []byte {
	b := append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, netip.MustParseAddr(target).AsSlice()...)
	if opt != 0 {
		b = append(append(b, opt, 1), hw(lla)...)
	}
	return b
}

func TestSourceVerdicts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	const (
		own, vrrp, alien = "02:00:00:00:00:00", "00:00:5e:00:01:07", "02:66:66:66:66:66"
		to               = "02:00:00:00:00:01"
		my4, my6         = "10.0.0.5", "2001:db8::5"
		lla              = "fe80::ff:fe00:0"
		gw               = "10.0.0.1"
		solicited        = "ff02::1:ff00:5"
	)
	p := func(mac, prefix string) model.AllowedSource {
		return model.AllowedSource{MAC: mac, Prefix: netip.MustParsePrefix(prefix)}
	}
	r.port(0, 10)
	r.port(1, 10)
	r.set(0, eswitch.Attrs{Allowed: eswitch.Set([]model.AllowedSource{
		p(own, my4+"/32"), p(own, my6+"/128"), p(own, "10.7.0.0/24"), p(vrrp, "10.0.0.100/32"), p(own, "2001:db8:7::/64"),
	})})
	const dhcp = "ff:ff:ff:ff:ff:ff"
	tests := []struct {
		name string
		f    []byte
		ok   bool
	}{
		{"own MAC, own v4", ether(to, own, 0x0800, ip4(my4, gw, 1)), true},
		{"v4 of an allowed prefix", ether(to, own, 0x0800, ip4("10.7.0.9", gw, 1)), true},
		{"v4 outside the prefix", ether(to, own, 0x0800, ip4("10.7.1.9", gw, 1)), false},
		{"other v4", ether(to, own, 0x0800, ip4("10.0.0.6", gw, 1)), false},
		{"other MAC", ether(to, alien, 0x0800, ip4(my4, gw, 1)), false},
		{"other MAC, not IP", ether(to, alien, 0x88b5), false},
		{"own MAC, not IP", ether(to, own, 0x88b5), true},
		{"group MAC as source", ether(to, broadcast, 0x88b5), false},
		{"pair: its MAC and address", ether(to, vrrp, 0x0800, ip4("10.0.0.100", gw, 1)), true},
		{"pair: its MAC, own address", ether(to, vrrp, 0x0800, ip4(my4, gw, 1)), false},
		{"pair: own MAC, its address", ether(to, own, 0x0800, ip4("10.0.0.100", gw, 1)), false},
		{"DHCP discover", ether(dhcp, own, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17, udp(68, 67)...)), true},
		{"DHCP discover, other MAC", ether(dhcp, alien, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17, udp(68, 67)...)), false},
		{"0.0.0.0, not DHCP", ether(dhcp, own, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17, udp(68, 53)...)), false},
		{"DHCP offer from 0.0.0.0", ether(dhcp, own, 0x0800, ip4("0.0.0.0", "255.255.255.255", 17, udp(67, 68)...)), false},
		{"0.0.0.0 to one station", ether(to, own, 0x0800, ip4("0.0.0.0", gw, 17, udp(68, 67)...)), false},
		{"broadcast address as source", ether(to, own, 0x0800, ip4("255.255.255.255", gw, 1)), false},
		{"short IPv4", ether(to, own, 0x0800, []byte{0x45}), false},

		{"ARP own", ether(broadcast, own, 0x0806, arp(1, own, my4, gw)), true},
		{"ARP probe", ether(broadcast, own, 0x0806, arp(1, own, "0.0.0.0", my4)), true},
		{"ARP other sender IP", ether(broadcast, own, 0x0806, arp(2, own, gw, my4)), false},
		{"ARP other sender MAC", ether(broadcast, own, 0x0806, arp(2, alien, my4, gw)), false},
		{"ARP probe with other MAC", ether(broadcast, own, 0x0806, arp(1, alien, "0.0.0.0", my4)), false},
		{"ARP of the pair", ether(broadcast, vrrp, 0x0806, arp(2, vrrp, "10.0.0.100", gw)), true},
		{"ARP pair's IP, own MAC", ether(broadcast, own, 0x0806, arp(2, own, "10.0.0.100", gw)), false},
		{"ARP of another kind", ether(broadcast, own, 0x0806, []byte{0, 6, 8, 0, 6, 4, 0, 1}), false},

		{"own v6", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 6)), true},
		{"v6 of an allowed prefix", ether(to, own, 0x86dd, ip6("2001:db8:7::99", "2001:db8::1", 6)), true},
		{"other v6", ether(to, own, 0x86dd, ip6("2001:db8::6", "2001:db8::1", 6)), false},
		{"EUI-64 link-local", ether(to, own, 0x86dd, ip6(lla, "fe80::1", 6)), true},
		{"other link-local", ether(to, own, 0x86dd, ip6("fe80::1", "fe80::2", 6)), false},
		{":: without discovery", ether(to, own, 0x86dd, ip6("::", "ff02::1", 17)), false},
		{"DAD of own", ether("33:33:ff:00:00:05", own, 0x86dd, ip6("::", solicited, 58, nd(135, my6, 0, "")...)), true},
		{"DAD of link-local", ether("33:33:ff:00:00:00", own, 0x86dd, ip6("::", solicited, 58, nd(135, lla, 0, "")...)), true},
		{"DAD of another's", ether("33:33:ff:00:00:05", own, 0x86dd, ip6("::", solicited, 58, nd(135, "2001:db8::6", 0, "")...)), false},
		{"RS from ::", ether("33:33:00:00:00:02", own, 0x86dd, ip6("::", "ff02::2", 58, 133, 0, 0, 0, 0, 0, 0, 0)), true},
		{"echo from ::", ether("33:33:00:00:00:01", own, 0x86dd, ip6("::", "ff02::1", 58, 128, 0, 0, 0, 0, 0, 0, 0)), false},
		{"MLDv2 from ::", ether("33:33:00:00:00:16", own, 0x86dd,
			ip6("::", "ff02::16", 0, 58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0, 0, 0, 0, 0)), true},
		{"echo from own", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 58, 128, 0, 0, 0, 0, 0, 0, 0)), true},
		{"NS, own option", ether(to, own, 0x86dd, ip6(my6, solicited, 58, nd(135, "2001:db8::1", 1, own)...)), true},
		{"NS, other's option", ether(to, own, 0x86dd, ip6(my6, solicited, 58, nd(135, "2001:db8::1", 1, alien)...)), false},
		{"NA of own", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 58, nd(136, my6, 2, own)...)), true},
		{"NA of another's", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 58, nd(136, "2001:db8::1", 2, own)...)), false},
		{"NA, other's option", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 58, nd(136, my6, 2, alien)...)), false},
		{"NA, option of length 0", ether(to, own, 0x86dd, ip6(my6, "2001:db8::1", 58, append(nd(136, my6, 0, ""), 2, 0, 0, 0, 0, 0, 0, 0)...)), false},
		{"tag inside", ether(to, own, 0x8100, []byte{0, 20, 0x88, 0xb5}), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ret, c := r.fromVF(0, tt.f)
			want := uint32(shot)
			if tt.ok {
				want = redirect
			}
			if ret != want {
				t.Errorf("verdict %d, want %d", ret, want)
			}
			if tt.ok && (c.TxPackets != 1 || c.TxSpoofed+c.TxDropped != 0) || !tt.ok && (c.TxPackets != 0 || c.TxSpoofed+c.TxDropped != 1) {
				t.Errorf("counted %+v", c)
			}
		})
	}
}

func TestSwitchVerdicts(t *testing.T) {
	t.Parallel()
	const a, b, c = 0, 1, 2
	other := mac(7)
	trusted := eswitch.Attrs{Trust: eswitch.Set(true)}
	noCheck := eswitch.Attrs{SpoofCheck: eswitch.Set(false)}
	tests := []struct {
		name    string
		set     eswitch.Attrs // of VF a, beside MAC, VLAN 10, link on
		f       []byte
		verdict uint32
		count   eswitch.Counters
	}{
		{"to a neighbour", eswitch.Attrs{}, frame(mac(b), mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60}},
		{"unknown goes to the uplink", eswitch.Attrs{}, frame(other, mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60}},
		{"other VLAN's MAC goes to the uplink", eswitch.Attrs{}, frame(mac(c), mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60}},
		{"to itself", eswitch.Attrs{}, frame(mac(a), mac(a)), shot, eswitch.Counters{TxPackets: 1, TxBytes: 60}},
		{"broadcast", eswitch.Attrs{}, frame(broadcast, mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60, TxBroadcast: 1}},
		{"multicast", eswitch.Attrs{}, frame("01:00:5e:00:00:01", mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60, TxMulticast: 1}},
		{"bridge protocol", eswitch.Attrs{}, frame("01:80:c2:00:00:00", mac(a)), shot, eswitch.Counters{TxDropped: 1}},
		{"bridge protocol, trusted", trusted, frame("01:80:c2:00:00:00", mac(a)), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60, TxMulticast: 1}},
		{"tagged with its VLAN", eswitch.Attrs{}, frame(mac(b), mac(a), 10), shot, eswitch.Counters{TxDropped: 1}},
		{"tagged with another", eswitch.Attrs{}, frame(mac(c), mac(a), 20), shot, eswitch.Counters{TxDropped: 1}},
		{"tagged 0", eswitch.Attrs{}, frame(mac(c), mac(a), 0), shot, eswitch.Counters{TxDropped: 1}},
		{"QinQ", eswitch.Attrs{}, frame(mac(c), mac(a), 10, 20), shot, eswitch.Counters{TxDropped: 1}},
		{"802.1ad", eswitch.Attrs{}, frame(mac(c), mac(a), 20|0x8000), shot, eswitch.Counters{TxDropped: 1}},
		{
			"tagged, unchecked and trusted, with a VLAN",
			eswitch.Attrs{SpoofCheck: eswitch.Set(false), Trust: eswitch.Set(true)},
			frame(mac(c), mac(a), 20), shot,
			eswitch.Counters{TxDropped: 1},
		},
		{"other MAC", eswitch.Attrs{}, frame(mac(b), other), shot, eswitch.Counters{TxSpoofed: 1}},
		{"other MAC, trusted but checked", trusted, frame(mac(b), other), shot, eswitch.Counters{TxSpoofed: 1}},
		{"other MAC, unchecked", noCheck, frame(mac(b), other), redirect, eswitch.Counters{TxPackets: 1, TxBytes: 60}},
		{"link off", eswitch.Attrs{LinkState: eswitch.Set(model.LinkDisable)}, frame(mac(b), mac(a)), shot, eswitch.Counters{TxDropped: 1}},
		{"no MAC, checked", eswitch.Attrs{MAC: eswitch.Set("00:00:00:00:00:00")}, frame(mac(b), mac(a)), shot, eswitch.Counters{TxSpoofed: 1}},
		{
			"as long as the MTU",
			eswitch.Attrs{MTU: eswitch.Set(1000)},
			append(frame(mac(b), mac(a)), make([]byte, 954)...), redirect,
			eswitch.Counters{TxPackets: 1, TxBytes: 1014},
		},
		{
			"longer than the MTU",
			eswitch.Attrs{MTU: eswitch.Set(1000)},
			append(frame(mac(b), mac(a)), make([]byte, 955)...), shot,
			eswitch.Counters{TxDropped: 1},
		},
		{"limited", eswitch.Attrs{MaxTxRate: eswitch.Set(100)}, frame(mac(b), mac(a)), redirect, eswitch.Counters{}},
	}
	r := newRig(t, 3)
	r.port(b, 10)
	r.port(c, 20)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r.set(a, eswitch.Baseline())
			r.set(a, eswitch.Attrs{MTU: eswitch.Set(1500)})
			r.port(a, 10)
			r.set(a, tt.set)
			ret, got := r.fromVF(a, tt.f)
			if ret != tt.verdict || got != tt.count {
				t.Errorf("verdict %d, counted %+v; want %d, %+v", ret, got, tt.verdict, tt.count)
			}
		})
	}
}

func TestUplinkVerdicts(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	r.port(0, 10)
	r.port(1, 20)
	r.port(2, 0)
	n := r.sw.nics[0]
	k, err := n.card()
	must(t, err)
	pf := macString(k.Mac)
	const out = "02:99:00:00:00:01"
	tests := []struct {
		name string
		f    []byte
		want uint32
		rx   [3]uint64
	}{
		{"own VLAN", frame(mac(0), out, 10), redirect, [3]uint64{1}},
		{"other VLAN", frame(mac(0), out, 20), shot, [3]uint64{}},
		{"no tag to a tagged VF", frame(mac(0), out), shot, [3]uint64{}},
		{"no tag to an untagged VF", frame(mac(2), out), redirect, [3]uint64{0, 0, 1}},
		{"priority tag", frame(mac(2), out, 0), redirect, [3]uint64{0, 0, 1}},
		{"tag to an untagged VF", frame(mac(2), out, 10), shot, [3]uint64{}},
		{"unknown VLAN", frame(mac(0), out, 30), shot, [3]uint64{}},
		{"802.1ad", frame(mac(0), out, 10|0x8000), shot, [3]uint64{}},
		{"unknown MAC", frame(mac(9), out, 10), shot, [3]uint64{}},
		{"broadcast in 10", frame(broadcast, out, 10), shot, [3]uint64{1}},
		{"broadcast in 20", frame(broadcast, out, 20), shot, [3]uint64{0, 1}},
		{"broadcast in 30", frame(broadcast, out, 30), shot, [3]uint64{}},
		{"broadcast untagged: also to the PF", frame(broadcast, out), pass, [3]uint64{0, 0, 1}},
		{"the PF's own", frame(pf, out), pass, [3]uint64{}},
		{"the PF's MAC in a VLAN", frame(pf, out, 10), shot, [3]uint64{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, cerr := n.counters()
			must(t, cerr)
			ret := r.run(n.o.VebUplink, k.Uplink, tt.f)
			after, cerr := n.counters()
			must(t, cerr)
			var rx [3]uint64
			for i := range rx {
				rx[i] = after[i].RxPackets - before[i].RxPackets
			}
			if ret != tt.want || rx != tt.rx {
				t.Errorf("verdict %d, received %v; want %d, %v", ret, rx, tt.want, tt.rx)
			}
		})
	}
}
