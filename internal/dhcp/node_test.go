package dhcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

var rigs atomic.Int32

// rig is a host namespace with one VF, whose far end stands in a client's namespace.
type rig struct {
	t            *testing.T
	home, client string
	prefix       string
	vf           VF
	assigned     atomic.Bool
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), rigs.Add(1))
	r := &rig{t: t, home: "dth-" + id, client: "dtc-" + id, prefix: "dtq-" + id + "-", vf: VF{PF: "eth6", Index: 3, Netdev: "eth6v3"}}
	for _, name := range []string{r.home, r.client} {
		if err := netspace.Create(name, nil); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netspace.Delete(name) })
	}
	t.Cleanup(func() {
		names, _ := netspace.List(r.prefix)
		for _, n := range names {
			_ = netspace.Delete(n)
		}
	})
	r.addVeth("eth6v3", "c0", redMAC)
	r.assigned.Store(true)
	return r
}

// addVeth makes a VF in the host's namespace that leads to the client's.
func (r *rig) addVeth(vf, far, farMAC string) {
	r.t.Helper()
	client, err := netspace.Open(r.client)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	mac, _ := net.ParseMAC(farMAC)
	r.in(r.home, func() error {
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: vf, MTU: 1500}, PeerName: far,
			PeerNamespace: netlink.NsFd(int(client)), PeerHardwareAddr: mac,
		})
	})
	r.in(r.client, func() error {
		l, err := netlink.LinkByName(far)
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
}

func (r *rig) in(ns string, fn func() error) {
	r.t.Helper()
	if err := netspace.Do(ns, fn); err != nil {
		r.t.Fatalf("in %s: %v", ns, err)
	}
}

func (r *rig) node() *Node {
	r.t.Helper()
	var n *Node
	r.in(r.home, func() (err error) {
		n, err = NewNode(Options{
			Prefix: r.prefix, DNSDomain: "example.org",
			Log: slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
			FindVF: func(portID string) (VF, bool) {
				vf := r.vf
				vf.Netdev = ""
				if r.hasLink(r.home, r.vf.Netdev) {
					vf.Netdev = r.vf.Netdev
				}
				return vf, r.assigned.Load() && portID == testNetwork().PortID
			},
		})
		return err
	})
	r.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return n
}

func (r *rig) hasLink(ns, name string) bool {
	return netspace.Do(ns, func() error {
		_, err := netlink.LinkByName(name)
		return err
	}) == nil
}

func (r *rig) namespace() string { return r.prefix + "11111111" }

func set(t *testing.T, n *Node, nets ...*model.DHCPNetwork) {
	t.Helper()
	if err := n.Set(t.Context(), nets); err != nil {
		t.Fatal(err)
	}
}

func waitState(t *testing.T, n *Node, want State) Status {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		s := n.Status()[testNetwork().NetworkID]
		if s.State == want {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("state %s (%v), want %s", s.State, s.Err, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run starts a program inside the client's namespace and returns what its hook wrote.
func (r *rig) run(dir, name string, args ...string) string {
	r.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		r.t.Skipf("%s is not installed (apt install %s)", name, map[string]string{"dhclient": "isc-dhcp-client", "udhcpc": "udhcpc"}[name])
	}
	var out []byte
	r.in(r.client, func() error {
		ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
		defer cancel()
		out, _ = exec.CommandContext(ctx, name, args...).CombinedOutput()
		return nil // what counts is whether there is a lease
	})
	got, err := os.ReadFile(filepath.Join(dir, "lease"))
	if err != nil {
		r.t.Fatalf("%s got no lease: %v\n%s", name, err, out)
	}
	return string(got)
}

// hook writes a client's environment down and changes nothing.
func hook(t *testing.T) (dir, script string) {
	t.Helper()
	dir = t.TempDir()
	script = filepath.Join(dir, "hook")
	body := "#!/bin/sh\ncase \"$reason$1\" in BOUND|bound) env > " + filepath.Join(dir, "lease") +
		"; [ \"$reason\" ] && kill $PPID;; esac\nexit 0\n" // dhclient in the foreground would stay
	if err := os.WriteFile(script, []byte(body), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, script
}

func expect(t *testing.T, lease string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains("\n"+lease, "\n"+l+"\n") {
			t.Errorf("the lease lacks %q; it is\n%s", l, lease)
		}
	}
}

func TestDebiansDhclient(t *testing.T) {
	r := newRig(t)
	set(t, r.node(), testNetwork())
	dir, script := hook(t)
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("option rfc3442 code 121 = array of unsigned integer 8;\n"+
		"request subnet-mask, routers, domain-name-servers, host-name, domain-name, interface-mtu, rfc3442;\ntimeout 10;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	lease := r.run(dir, "dhclient", "-4", "-1", "-d", "-sf", script, "-cf", conf,
		"-lf", filepath.Join(dir, "leases"), "-pf", filepath.Join(dir, "pid"), "--no-pid", "c0")
	expect(t, lease, "new_ip_address=10.0.0.5", "new_subnet_mask=255.255.255.0", "new_routers=10.0.0.1",
		"new_domain_name_servers=9.9.9.9 1.1.1.1", "new_host_name=host-10-0-0-5", "new_interface_mtu=1450",
		"new_dhcp_server_identifier=10.0.0.2", "new_dhcp_lease_time=86400", "new_domain_name=example.org")
	expect(t, lease, "new_rfc3442=22 192 168 8 10 0 0 9 24 10 0 1 0 0 0 0 0 10 0 0 1")
}

func TestBusyboxUdhcpc(t *testing.T) {
	r := newRig(t)
	set(t, r.node(), testNetwork())
	dir, script := hook(t)
	lease := r.run(dir, "udhcpc", "-f", "-n", "-q", "-i", "c0", "-s", script, "-O", "mtu", "-t", "5", "-T", "1")
	expect(t, lease, "ip=10.0.0.5", "mask=24", "router=10.0.0.1", "dns=9.9.9.9 1.1.1.1", "mtu=1450", "serverid=10.0.0.2")
}

// TestRenewingClient has an address and speaks UDP to the server's: the kernel must
// not answer in the server's place.
func TestRenewingClient(t *testing.T) {
	r := newRig(t)
	set(t, r.node(), testNetwork())
	r.in(r.client, func() error {
		l, err := netlink.LinkByName("c0")
		if err != nil {
			return err
		}
		a, _ := netlink.ParseAddr("10.0.0.5/24")
		return netlink.AddrAdd(l, a)
	})
	var conn *net.UDPConn
	r.in(r.client, func() (err error) {
		conn, err = net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 5), Port: clientPort}, &net.UDPAddr{IP: net.IPv4(10, 0, 0, 2), Port: serverPort})
		return err
	})
	defer func() { _ = conn.Close() }()
	req := ask(t, dhcpv4.MessageTypeRequest, redMAC, ciaddr("10.0.0.5"))
	buf := make([]byte, 1500)
	n := 0
	for try := 0; n == 0; try++ {
		if _, err := conn.Write(req.ToBytes()); err != nil {
			t.Fatalf("the server's kernel answers in its place: %v", err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		got, err := conn.Read(buf)
		if err != nil && (!errors.Is(err, os.ErrDeadlineExceeded) || try == 50) {
			t.Fatalf("no answer to a unicast renewal: %v", err)
		}
		n = got
	}
	reply, err := dhcpv4.FromBytes(buf[:n])
	if err != nil || reply.MessageType() != dhcpv4.MessageTypeAck || reply.YourIPAddr.String() != "10.0.0.5" {
		t.Errorf("%v %v", err, reply)
	}
}

// raw opens a packet socket on the client's end.
func (r *rig) raw() *packet.Conn {
	r.t.Helper()
	var c *packet.Conn
	r.in(r.client, func() error {
		ifi, err := net.InterfaceByName("c0")
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestGarbageAndStrangers: after anything at all, the right client is still served,
// and the first answer on the wire is the one to it.
func TestGarbageAndStrangers(t *testing.T) {
	r := newRig(t)
	set(t, r.node(), testNetwork())
	c := r.raw()
	src, _ := net.ParseMAC(redMAC)
	send := func(frame []byte) {
		if _, err := c.WriteTo(frame, &packet.Addr{HardwareAddr: broadcastMAC}); err != nil {
			t.Fatal(err)
		}
	}
	wrap := func(payload []byte) []byte {
		return buildFrame(src, broadcastMAC, ip("0.0.0.0"), ip("255.255.255.255"), serverPort, payload)
	}
	good := ask(t, dhcpv4.MessageTypeDiscover, redMAC, dhcpv4.WithBroadcast(true)).ToBytes()
	send(wrap(nil))
	send(wrap([]byte("garbage")))
	for cut := 1; cut < len(good); cut += 7 {
		send(wrap(good[:cut]))
	}
	send(wrap(good)[:60])
	send(wrap(ask(t, dhcpv4.MessageTypeDiscover, noMAC).ToBytes()))
	send(wrap(ask(t, dhcpv4.MessageTypeRequest, redMAC, server("10.0.0.99"), want50("10.0.0.5")).ToBytes()))
	send(wrap(good))
	giveUp := time.Now().Add(10 * time.Second)
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	buf := make([]byte, 2000)
	for {
		n, _, err := c.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(giveUp) {
			send(wrap(good)) // a link that has just come up may still drop what it is given
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			continue
		}
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		if n < 42 || buf[23] != protoUDP || buf[35] != serverPort {
			continue // neighbour discovery and the like
		}
		reply, err := dhcpv4.FromBytes(buf[42:n])
		if err != nil {
			t.Fatal(err)
		}
		if reply.MessageType() != dhcpv4.MessageTypeOffer || reply.YourIPAddr.String() != "10.0.0.5" || net.HardwareAddr(buf[:6]).String() != broadcastMAC.String() {
			t.Errorf("first answer: %s to %s", reply, net.HardwareAddr(buf[:6]))
		}
		return
	}
}

func TestRestartAdopts(t *testing.T) {
	r := newRig(t)
	first := r.node()
	set(t, first, testNetwork())
	index := r.linkIndex()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Set(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Set after Close: %v", err)
	}
	if got := r.linkIndex(); got != index {
		t.Fatalf("after Close the VF is %d, was %d", got, index)
	}
	second := r.node()
	set(t, second, testNetwork())
	if got := r.linkIndex(); got != index {
		t.Fatalf("after adoption the VF is %d, was %d", got, index)
	}
	dir, script := hook(t)
	expect(t, r.run(dir, "udhcpc", "-f", "-n", "-q", "-i", "c0", "-s", script, "-t", "5", "-T", "1"), "ip=10.0.0.5")
}

func (r *rig) linkIndex() int {
	r.t.Helper()
	index := 0
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName(linkName(testNetwork().PortID))
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return index
}

func TestNetworkGoneReturnsTheVFClean(t *testing.T) {
	r := newRig(t)
	before := r.link(r.home, "eth6v3")
	n := r.node()
	set(t, n, testNetwork())
	if r.hasLink(r.home, "eth6v3") {
		t.Fatal("the VF is still in the host's namespace")
	}
	inside := r.link(r.namespace(), "ns-aaaaaaaa-bb")
	if inside.MTU != 1450 || inside.HardwareAddr.String() != testNetwork().MAC {
		t.Errorf("inside: MTU %d, MAC %s", inside.MTU, inside.HardwareAddr)
	}
	set(t, n, testNetwork()) // again: nothing changes
	set(t, n)
	after := r.link(r.home, "eth6v3")
	if after.HardwareAddr.String() != before.HardwareAddr.String() || after.MTU != before.MTU || after.Alias != "" || after.Flags&net.FlagUp != 0 {
		t.Errorf("VF came back as %+v, was %+v", after, before)
	}
	r.in(r.home, func() error {
		l, _ := netlink.LinkByName("eth6v3")
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if len(addrs) != 0 {
			t.Errorf("addresses %v", addrs)
		}
		return err
	})
	if names, _ := netspace.List(r.prefix); len(names) != 0 {
		t.Errorf("namespaces left: %v", names)
	}
}

func (r *rig) link(ns, name string) *netlink.LinkAttrs {
	r.t.Helper()
	var a *netlink.LinkAttrs
	r.in(ns, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			a = l.Attrs()
		}
		return err
	})
	return a
}

func TestVFThatComesLater(t *testing.T) {
	r := newRig(t)
	r.assigned.Store(false)
	n := r.node()
	set(t, n, testNetwork())
	if s := waitState(t, n, Pending); s.Err == nil {
		t.Error("pending without a reason")
	}
	r.assigned.Store(true)
	waitState(t, n, Serving)
}

func TestChangesInPlace(t *testing.T) {
	r := newRig(t)
	n := r.node()
	set(t, n, testNetwork())
	changed := testNetwork()
	changed.MTU = 1400
	changed.MAC = "fa:16:3e:00:00:42"
	changed.Addresses = []model.FixedIP{{SubnetID: "s1", IP: ip("10.0.0.3")}}
	set(t, n, changed)
	a := r.link(r.namespace(), "ns-aaaaaaaa-bb")
	if a.MTU != 1400 || a.HardwareAddr.String() != changed.MAC {
		t.Errorf("MTU %d, MAC %s", a.MTU, a.HardwareAddr)
	}
	var have []netip.Prefix
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName(a.Name)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		for _, x := range addrs {
			have = append(have, netip.MustParsePrefix(x.IPNet.String()))
		}
		return err
	})
	if len(have) != 1 || have[0] != netip.MustParsePrefix("10.0.0.3/24") {
		t.Errorf("addresses %v", have)
	}
	dir, script := hook(t)
	expect(t, r.run(dir, "udhcpc", "-f", "-n", "-q", "-i", "c0", "-s", script, "-t", "5", "-T", "1"), "ip=10.0.0.5", "serverid=10.0.0.3")
}

// TestAddressesAreLent: an address of the server's goes some time after the server, and not
// before; what was given for ever by an earlier version is lent from now on.
func TestAddressesAreLent(t *testing.T) {
	r := newRig(t)
	n := r.node()
	set(t, n, testNetwork())
	for _, life := range []int{0, 3} { // for ever; soon over
		r.in(r.namespace(), func() error {
			l, err := netlink.LinkByName("ns-aaaaaaaa-bb")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
			if err != nil || len(addrs) != len(testNetwork().Addresses) {
				return fmt.Errorf("addresses %v: %w", addrs, err)
			}
			for i := range addrs {
				a := &addrs[i]
				if a.ValidLft < 60 || a.ValidLft > 120 {
					t.Errorf("%s is valid for another %d s", a.IP, a.ValidLft)
				}
				if err = netlink.AddrReplace(l, &netlink.Addr{IPNet: a.IPNet, ValidLft: cmp.Or(life, math.MaxUint32), PreferedLft: cmp.Or(life, math.MaxUint32)}); err != nil {
					return err
				}
			}
			return nil
		})
		set(t, n, testNetwork())
	}
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName("ns-aaaaaaaa-bb")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		for i := range addrs {
			if addrs[i].ValidLft < 60 || addrs[i].ValidLft > 120 {
				t.Errorf("%s is valid for another %d s: not renewed", addrs[i].IP, addrs[i].ValidLft)
			}
		}
		return err
	})
}

// TestVFThatDies: a VF whose netdev is destroyed and made again is taken again.
func TestVFThatDies(t *testing.T) {
	r := newRig(t)
	n := r.node()
	set(t, n, testNetwork())
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName("ns-aaaaaaaa-bb")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	waitState(t, n, Pending)
	r.addVeth("eth6v3", "c1", redMAC)
	waitState(t, n, Serving)
}

// TestInterfaceOfABridgeThatIsMadeAnew: Open vSwitch destroys its taps when it restarts, in
// whichever namespace, and the agent makes them again under the same name in the host's.
func TestInterfaceOfABridgeThatIsMadeAnew(t *testing.T) {
	r := newRig(t)
	r.vf = VF{PF: "br-eth6", Index: -1, Netdev: "tapaaaaaaaa-bb"}
	r.addVeth(r.vf.Netdev, "c1", twoMAC)
	n := r.node()
	set(t, n, testNetwork())
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName(r.vf.Netdev)
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	})
	waitState(t, n, Pending)
	r.addVeth(r.vf.Netdev, "c2", twoMAC)
	waitState(t, n, Serving)
	set(t, n)
	if !r.hasLink(r.home, r.vf.Netdev) {
		t.Error("it did not come back")
	}
}

func TestForeignNamespacesAreLeftAlone(t *testing.T) {
	r := newRig(t)
	if err := netspace.Create(r.namespace(), nil); err != nil {
		t.Fatal(err)
	}
	n := r.node()
	if err := n.Set(t.Context(), []*model.DHCPNetwork{testNetwork()}); err == nil || !strings.Contains(err.Error(), "is not ours") {
		t.Errorf("Set = %v", err)
	}
	set(t, n)
	if names, _ := netspace.List(r.namespace()); len(names) != 1 {
		t.Error("somebody else's namespace was removed")
	}
	if !r.hasLink(r.home, "eth6v3") {
		t.Error("the VF was taken")
	}
}

func TestProblemsAreReported(t *testing.T) {
	r := newRig(t)
	n := r.node()
	w := testNetwork()
	w.Hosts[0].Options = []model.DHCPOpt{{Name: "nonsense", Value: "1", IPVersion: 4}}
	set(t, n, w)
	if s := waitState(t, n, Serving); len(s.Problems) != 1 {
		t.Errorf("problems %v", s.Problems)
	}
}

func TestCleanUpAfterTheAgentIsGone(t *testing.T) {
	r := newRig(t)
	n := r.node()
	set(t, n, testNetwork())
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{r.client, r.home} { // another host's clean-up leaves it alone
		h, err := netspace.Open(host)
		if err != nil {
			t.Fatal(err)
		}
		if err := CleanUp(h, r.prefix); err != nil {
			t.Error(err)
		}
		_ = h.Close()
		names, _ := netspace.List(r.prefix)
		if gone := len(names) == 0; gone != (host == r.home) {
			t.Errorf("after the clean-up of %s: %v", host, names)
		}
	}
	if !r.hasLink(r.home, "eth6v3") {
		t.Error("the VF did not come back")
	}
}
