package mgmt

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/openflow"
)

const vlan = 100

// TestFlowsAreWhatOpenVSwitchUnderstands holds what the bridge says it has against what
// was meant, in Open vSwitch's own words for both.
func TestFlowsAreWhatOpenVSwitchUnderstands(t *testing.T) {
	p := newPlace(t)
	port := func(n int) *int { return &n }
	p.guest(br, 1, vlan, append(fromGroup("10.0.0.1/32", "10.0.0.2/32", "10.0.1.0/24", "fd00::1/128", "fd00::2/128"),
		tcp(22), model.FilterRule{Protocol: 17, PortMin: port(1000), PortMax: port(1999), Stateless: true},
		model.FilterRule{Protocol: 1, PortMin: port(8), PortMax: port(0)}, model.FilterRule{IPv6: true, Protocol: 58, PortMin: port(128)},
		model.FilterRule{Protocol: 132, PortMin: port(5), PortMax: port(6)}, model.FilterRule{Protocol: 50})...)
	g := p.guest(br, 2, vlan, anyone()...)
	g.port.Allowed = append(g.port.Allowed, openflow.Source{MAC: macOf(77), Prefix: netip.MustParsePrefix("10.9.0.0/16")})
	p.guest(br, 3, 0, anyone()...).port.Down = true
	p.Run("ovs-ofctl", "-O", "OpenFlow14", "add-flow", "unix:"+p.Management(br), "cookie=0x1234,table=5,priority=7,actions=drop")
	p.program()
	var ports []openflow.Port
	for _, x := range p.guests {
		ports = append(ports, x.port)
	}
	prog, _ := openflow.Compile(openflow.Bridge{Conntrack: true, Ports: ports})
	got := p.flows()
	for _, f := range prog.Flows {
		cookie := fmt.Sprintf("cookie=%#x, ", f.Cookie())
		i := strings.Index(got, cookie)
		if i < 0 {
			t.Fatalf("%s is not there", f)
		}
		line, _, _ := strings.Cut(got[i+len(cookie):], "\n")
		if want := p.normalized(f); line != want {
			t.Errorf("meant: %s\n want: %s\n  has: %s", f, want, line)
		}
	}
	if !strings.Contains(got, "cookie=0x1234, table=5, priority=7 actions=drop") {
		t.Errorf("somebody else's flow is not as it was: %s", got)
	}
	if n := strings.Count(got, "cookie=0x6e74"); n != len(prog.Flows) {
		t.Errorf("%d flows of ours, want %d", n, len(prog.Flows))
	}
	// Nothing is left once nothing is protected.
	p.guests = map[int]*guest{}
	p.program()
	if got = p.flows(); strings.Contains(got, "cookie=0x6e74") {
		t.Errorf("left behind: %s", got)
	}
}

// normalized is a flow as Open vSwitch prints it: parsed and printed by its own program.
func (p *place) normalized(f openflow.Flow) string {
	p.t.Helper()
	const file = "far"
	p.Run("ovs-ofctl", "-O", "OpenFlow14", "del-flows", "unix:"+p.Management(file))
	p.Run("ovs-ofctl", "-O", "OpenFlow14", "add-flow", "unix:"+p.Management(file), f.String())
	out := p.Run("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "--no-names", "dump-flows", "unix:"+p.Management(file))
	return strings.TrimSpace(strings.Replace(out, "cookie=0x0, ", "", 1))
}

func TestSetIsIdempotentAndHealsWhatOthersTakeAway(t *testing.T) {
	p := newPlace(t)
	p.guest(br, 1, vlan, fromGroup("10.0.0.1/32", "10.0.0.2/32")...)
	p.program()
	before := p.flows()
	p.program()
	if after := p.flows(); after != before {
		t.Errorf("asked for the same, it changed:\n%s\n%s", before, after)
	}
	p.Run("ovs-ofctl", "-O", "OpenFlow14", "del-flows", "unix:"+p.Management(br), "table=100")
	p.program()
	if after := p.flows(); after != before {
		t.Errorf("not healed:\n%s\n%s", before, after)
	}
	if got := p.Run("ovs-ofctl", "-O", "OpenFlow10", "show", "unix:"+p.Management(br)); !strings.Contains(got, "NO_FLOOD") {
		t.Errorf("floods get to protected ports: %s", got)
	}
}

func TestDefaultGroup(t *testing.T) {
	p := newPlace(t)
	group := fromGroup("10.0.0.1/32", "10.0.0.2/32", "fd00::1/128", "fd00::2/128")
	a, b := p.guest(br, 1, vlan, group...), p.guest(br, 2, vlan, group...)
	c := p.guest(br, 3, vlan, anyone()...)
	far, elsewhere := p.guest("far", 9, vlan), p.guest("far", 8, 7)
	p.program()
	a.reaches("10.0.0.2")
	b.reaches("10.0.0.1")
	a.reaches("fd00::2")
	a.reaches(far.ip()) // out, and the answer back in
	a.reaches("fd00::9")
	c.reaches(far.ip())
	far.reachesNot(a.ip()) // no rule lets it in
	far.reachesNot("fd00::1")
	c.reachesNot(a.ip())
	a.reachesNot(c.ip())
	elsewhere.reachesNot(a.ip())

	// A port that a rule opens, to anyone.
	b.listen(80)
	if _, err := far.dial(b.ip(), 80, 2*time.Second); err == nil {
		t.Fatal("port 80 is open before a rule says so")
	}
	b.port.Filter.Rules = append(b.port.Filter.Rules, tcp(80))
	p.program()
	if conn := far.connects(b.ip(), 80); !echoes(conn, 10*time.Second) {
		t.Error("no answer on port 80")
	}
	if conn := c.connects(b.ip(), 80); !echoes(conn, 10*time.Second) {
		t.Error("no answer on port 80 on the same bridge")
	}
}

func TestRuleChangeCutsNothingThatStays(t *testing.T) {
	p := newPlace(t)
	a := p.guest(br, 1, vlan, anyone(tcp(80), tcp(81))...)
	far := p.guest("far", 9, vlan)
	p.program()
	a.listen(80)
	a.listen(81)
	stays, goes := far.connects(a.ip(), 80), far.connects(a.ip(), 81)
	if !echoes(stays, 10*time.Second) || !echoes(goes, 10*time.Second) {
		t.Fatal("nothing comes back to begin with")
	}
	// Traffic goes on while the rules are changed a hundred times.
	stop, lost := make(chan struct{}), make(chan bool, 1)
	go func() {
		for {
			select {
			case <-stop:
				lost <- false
				return
			default:
			}
			if !echoes(stays, 20*time.Second) {
				lost <- true
				return
			}
		}
	}()
	for i := range 100 {
		a.port.Filter.Rules = anyone(tcp(80), tcp(81), tcp(1000+i))
		p.program()
	}
	close(stop)
	if <-lost {
		t.Fatal("an established connection broke while rules changed")
	}
	a.port.Filter.Rules = anyone(tcp(80))
	p.program()
	if !echoes(stays, 10*time.Second) {
		t.Error("the connection of a rule that stayed is cut")
	}
	// What the datapath has cached is gone a moment later.
	eventually(t, "the connection of a rule that went ends", func() bool { return !echoes(goes, time.Second) })
	if !echoes(stays, 10*time.Second) {
		t.Error("the connection of a rule that stayed is cut in the end")
	}
}

func TestRestartOfTheSwitchIsProgrammedAnew(t *testing.T) {
	p := newPlace(t)
	a := p.guest(br, 1, vlan, anyone(tcp(80))...)
	far := p.guest("far", 9, vlan)
	p.program()
	a.listen(80)
	conn := far.connects(a.ip(), 80)
	if !echoes(conn, 10*time.Second) {
		t.Fatal("nothing comes back to begin with")
	}
	before := p.flows()
	for len(p.sw.Events()) > 0 {
		<-p.sw.Events()
	}
	p.StopSwitch()
	select {
	case <-p.sw.Events():
	case <-time.After(time.Minute):
		t.Fatal("the end of the switch is not noticed")
	}
	if err := p.trySet(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Set without a switch = %v", err)
	}
	p.StartSwitch()
	eventually(t, "the flows are back", func() bool { return p.trySet() == nil && p.flows() == before })
	if !echoes(conn, 30*time.Second) {
		t.Error("the connection did not outlive the restart")
	}
	far.reachesNot(a.ip())
}

func TestWithoutConntrack(t *testing.T) {
	p := newPlace(t)
	a := p.guest(br, 1, vlan, anyone(tcp(80))...)
	far := p.guest("far", 9, vlan)
	p.Run("ovs-appctl", "-t", p.Dir+"/vswitchd.ctl", "dpif/set-dp-features", br, "ct_state", "false")
	if ct, err := p.sw.Conntrack(context.Background(), br); err != nil || ct {
		t.Fatalf("Conntrack = %v, %v", ct, err)
	}
	if err := p.trySet(); !errors.Is(err, openflow.ErrConntrack) {
		t.Errorf("Set = %v, want %v", err, openflow.ErrConntrack)
	}
	stateless := anyone(tcp(80))
	for i := range stateless {
		stateless[i].Stateless = true
	}
	a.port.Filter.Rules = stateless
	p.program()
	a.listen(80)
	if conn := far.connects(a.ip(), 80); !echoes(conn, 10*time.Second) {
		t.Error("a stateless rule does not work")
	}
	a.reachesNot(far.ip()) // stateless rules allow no answers
}

// frames sends raw frames from a guest.
func (g *guest) frames(list ...[]byte) {
	g.t.Helper()
	err := netspace.Do(g.netns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		index, err := ifindex()
		if err != nil {
			return err
		}
		for _, f := range list {
			if err = unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// TestSpoofsAreDropped sends what a port must not send, and then what it may: once that has
// come, the other would have come, too.
func TestSpoofsAreDropped(t *testing.T) {
	p := newPlace(t)
	a := p.guest(br, 1, vlan, anyone()...)
	b := p.guest(br, 2, vlan, anyone(model.FilterRule{Protocol: model.AnyProtocol}, model.FilterRule{IPv6: true, Protocol: model.AnyProtocol})...)
	far := p.guest("far", 9, vlan)
	p.program()
	a.reaches(far.ip())
	a.reaches(b.ip())
	me, other := macOf(1), macOf(55)
	all := openflow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	own, another := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.55")
	for name, f := range map[string][]byte{
		"MAC":                  arp(other, all, other, own),
		"ARP sender's address": arp(me, all, me, another),
		"ARP sender's MAC":     arp(me, all, other, own),
		"IP address":           udp(me, all, another, netip.MustParseAddr("10.0.0.255"), 1, 2),
		"DHCP server":          udp(me, all, own, netip.MustParseAddr("255.255.255.255"), 67, 68),
		"router advertisement": advertisement(me),
		"VLAN of its own":      tag(7, udp(me, all, own, netip.MustParseAddr("10.0.0.255"), 1, 2)),
		"its VLAN, tagged":     tag(vlan, udp(me, all, own, netip.MustParseAddr("10.0.0.255"), 1, 2)),
		"neither ARP nor IP":   append(append(append([]byte{}, all[:]...), me[:]...), 0x88, 0xcc, 1, 2, 3, 4),
	} {
		t.Run(name, func(t *testing.T) {
			heard := []*ear{far.hear(t), b.hear(t)}
			good := udp(me, all, own, netip.MustParseAddr("10.0.0.255"), 4000, 4001)
			a.frames(f, f, good)
			for i, e := range heard {
				if got := e.until(good); got[string(f)] || got[string(strip(f))] {
					t.Errorf("ear %d: it got through", i)
				}
			}
		})
	}
}

// TestGroupsAreFilteredToo: a broadcast gets to a port only if its rules allow it.
func TestGroupsAreFilteredToo(t *testing.T) {
	p := newPlace(t)
	port := 4000
	open := p.guest(br, 1, vlan, anyone(model.FilterRule{Protocol: 17, PortMin: &port, PortMax: &port})...)
	closed := p.guest(br, 2, vlan, anyone()...)
	far := p.guest("far", 9, vlan)
	p.program()
	open.reaches(far.ip())
	closed.reaches(far.ip())
	all := openflow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	bcast := netip.MustParseAddr("10.0.0.255")
	hello := udp(macOf(9), all, netip.MustParseAddr("10.0.0.9"), bcast, 1, 4000)
	unknown := udp(macOf(9), macOf(200), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.200"), 1, 4000)
	last := arp(macOf(9), all, macOf(9), netip.MustParseAddr("10.0.0.9"))
	o, c := open.hear(t), closed.hear(t)
	far.frames(hello, unknown, last)
	if got := o.until(last); !got[string(hello)] || got[string(unknown)] {
		t.Errorf("the open port hears: broadcast %v, another's unicast %v", got[string(hello)], got[string(unknown)])
	}
	if got := c.until(last); got[string(hello)] || got[string(unknown)] {
		t.Errorf("the closed port hears: broadcast %v, another's unicast %v", got[string(hello)], got[string(unknown)])
	}
}

// TestUnicastIsNotFlooded: the bridge learns where the far end is from what is delivered to protected ports.
func TestUnicastIsNotFlooded(t *testing.T) {
	p := newPlace(t)
	a := p.guest(br, 1, vlan, anyone(model.FilterRule{Protocol: model.AnyProtocol})...)
	plain := p.guest(br, 2, vlan)
	plain.port.Protected = false
	p.others = append(p.others, openflow.Other{OFPort: plain.port.OFPort, Untagged: vlan})
	far := p.guest("far", 9, vlan)
	p.program()
	a.reaches(far.ip())
	p.Run("ovs-appctl", "-t", p.Dir+"/vswitchd.ctl", "fdb/flush", br)
	far.frames(udp(macOf(9), macOf(1), netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("10.0.0.1"), 5, 6))
	eventually(t, "the far MAC is learned", func() bool {
		return strings.Contains(p.Run("ovs-appctl", "-t", p.Dir+"/vswitchd.ctl", "fdb/show", br), text(macOf(9)))
	})
	e := plain.hear(t)
	direct := udp(macOf(1), macOf(9), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9"), 6, 5)
	last := arp(macOf(1), openflow.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, macOf(1), netip.MustParseAddr("10.0.0.1"))
	a.frames(direct, last)
	if got := e.until(last); got[string(direct)] {
		t.Error("a unicast to a known address is flooded")
	}
}
