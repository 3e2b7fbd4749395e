package router

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

var rigs atomic.Int32

// rig is a host namespace whose netdevs lead to machines of their own.
type rig struct {
	t      testing.TB
	id     string
	home   string
	prefix string

	mu      sync.Mutex
	netdevs map[string]VF // by port
}

func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	id := fmt.Sprintf("%d-%d", os.Getpid(), rigs.Add(1))
	r := &rig{t: t, id: id, home: "rth-" + id, prefix: "rtq-" + id + "-", netdevs: map[string]VF{}}
	r.namespace(r.home)
	t.Cleanup(func() {
		names, _ := netspace.List(r.prefix)
		for _, n := range names {
			_ = netspace.Delete(n)
		}
	})
	return r
}

func (r *rig) namespace(name string) {
	r.t.Helper()
	if err := netspace.Create(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = netspace.Delete(name) })
}

// machine makes a namespace at the far end of a port, with an address and a default route
// (via "" = none).
func (r *rig) machine(name, portID, address, via string) string {
	r.t.Helper()
	ns := "rt" + name + "-" + r.id
	r.namespace(ns)
	r.attach(ns, portID)
	r.in(ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, text := range strings.Fields(address) {
			a, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			a.Flags = 2 // IFA_F_NODAD
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		for _, gw := range strings.Fields(via) {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(gw)}); err != nil {
				return err
			}
		}
		return nil
	})
	return ns
}

// attach makes the netdev of a port in the host's namespace, with its far end in ns as eth0.
func (r *rig) attach(ns, portID string) {
	r.t.Helper()
	far, err := netspace.Open(ns)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = far.Close() }()
	r.mu.Lock()
	name := fmt.Sprintf("vf%d", len(r.netdevs))
	r.netdevs[portID] = VF{PF: "eth6", Index: len(r.netdevs), Netdev: name}
	r.mu.Unlock()
	r.in(r.home, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(far))})
	})
	r.in(ns, func() error {
		l, err := netlink.LinkByName("eth0")
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

func (r *rig) find(portID string) (VF, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	vf, ok := r.netdevs[portID]
	return vf, ok
}

func (r *rig) node(change ...func(*Options)) *Node {
	r.t.Helper()
	o := Options{Prefix: r.prefix, FindVF: r.find, Log: slog.New(slog.NewTextHandler(testOutput(r.t), &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, c := range change {
		c(&o)
	}
	var n *Node
	r.in(r.home, func() (err error) {
		n, err = NewNode(o)
		return err
	})
	r.t.Cleanup(func() {
		if err := n.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return n
}

func testOutput(t testing.TB) io.Writer {
	if o, ok := t.(interface{ Output() io.Writer }); ok {
		return o.Output()
	}
	return io.Discard
}

// set expects every router to be up at once.
func set(t testing.TB, n *Node, specs ...*model.RouterSpec) {
	t.Helper()
	reports, err := n.Set(t.Context(), specs)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reports {
		if !r.Up {
			t.Fatalf("router %s is down: %s", r.RouterID, r.Reason)
		}
	}
}

// ping waits for an answer.
func (r *rig) ping(ns, to string) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		out, err := r.command(ns, "ping", "-c", "1", "-W", "1", to)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s does not reach %s: %v\n%s", ns, to, err, out)
		}
	}
}

// silent expects no answer. It is to be called after something that shows that the path
// would work.
func (r *rig) silent(ns, to string) {
	r.t.Helper()
	if out, err := r.command(ns, "ping", "-c", "2", "-i", "0.2", "-W", "1", to); err == nil {
		r.t.Fatalf("%s reaches %s\n%s", ns, to, out)
	}
}

func (r *rig) command(ns, name string, args ...string) (out string, err error) {
	r.t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		r.t.Skipf("%s is not installed", name)
	}
	r.in(ns, func() error {
		ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
		defer cancel()
		var b []byte
		b, err = exec.CommandContext(ctx, name, args...).CombinedOutput()
		out = string(b)
		return nil
	})
	return out, err
}

// serve accepts TCP connections in ns and answers each line with the address it came from.
func (r *rig) serve(ns string, port int) {
	r.t.Helper()
	var ln net.Listener
	r.in(ns, func() (err error) {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	var wg sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() { answer(c) })
		}
	})
	r.t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

func answer(c net.Conn) {
	defer c.Close()
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	buf := make([]byte, 1)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
		if _, err := fmt.Fprintf(c, "%-15s", netip.MustParseAddr(host).Unmap()); err != nil {
			return
		}
	}
}

// dial connects from ns.
func (r *rig) dial(ns, to string) net.Conn {
	r.t.Helper()
	c, err := r.tryDial(ns, to)
	if err != nil {
		r.t.Fatalf("from %s: %v", ns, err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (r *rig) tryDial(ns, to string) (c net.Conn, err error) {
	r.in(ns, func() error {
		c, err = net.DialTimeout("tcp4", to, 10*time.Second)
		return nil
	})
	return c, err
}

// whoami asks the server which address it sees.
func whoami(c net.Conn, patience time.Duration) (string, error) {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte{'?'}); err != nil {
		return "", err
	}
	buf := make([]byte, 15)
	if _, err := io.ReadFull(c, buf); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(buf)), nil
}

func (r *rig) sees(c net.Conn, want string) {
	r.t.Helper()
	got, err := whoami(c, 20*time.Second)
	if err != nil {
		r.t.Fatalf("over %s -> %s: %v", c.LocalAddr(), c.RemoteAddr(), err)
	}
	if got != want {
		r.t.Fatalf("the server sees %s, want %s", got, want)
	}
}

const (
	routerA  = "aaaaaaaa-0000-4000-8000-000000000001"
	routerB  = "bbbbbbbb-0000-4000-8000-000000000002"
	gwOf     = "0a7e000"
	portOf   = "0100000"
	external = "203.0.113.0/24"
)

// testPort is a port with one address per "ip/bits" and gateway.
func testPort(id string, last int, mtu int, addresses ...string) model.RouterPort {
	p := model.RouterPort{PortID: id, NetworkID: "n-" + id, MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", last), MTU: mtu}
	for i := 0; i+1 < len(addresses); i += 2 {
		a := netip.MustParsePrefix(addresses[i])
		s := &model.Subnet{IPVersion: 4, CIDR: a.Masked()}
		s.ID = fmt.Sprintf("%s-s%d", id, i)
		if a.Addr().Is6() {
			s.IPVersion = 6
		}
		if addresses[i+1] != "" {
			s.GatewayIP = netip.MustParseAddr(addresses[i+1])
		}
		p.Subnets = append(p.Subnets, s)
		p.Addresses = append(p.Addresses, model.FixedIP{SubnetID: s.ID, IP: a.Addr()})
	}
	return p
}

// twoSubnets is a router with two tenant subnets and a gateway.
func twoSubnets() *model.RouterSpec {
	gw := testPort(gwOf+"1", 0x10, 1500, "203.0.113.10/24", "203.0.113.1")
	return &model.RouterSpec{
		RouterID: routerA, Revision: 7, EnableSNAT: true, Gateway: &gw,
		Interfaces: []model.RouterPort{
			testPort(portOf+"1", 0x01, 1500, "10.0.1.1/24", "10.0.1.1", "2001:db8:1::1/64", "2001:db8:1::1"),
			testPort(portOf+"2", 0x02, 1500, "10.0.2.1/24", "10.0.2.1", "2001:db8:2::1/64", "2001:db8:2::1"),
		},
	}
}

func floating(ip, fixed string) model.FloatingPair {
	return model.FloatingPair{ID: "f-" + ip, Floating: netip.MustParseAddr(ip), Fixed: netip.MustParseAddr(fixed)}
}

// site is twoSubnets with an instance in each and a machine outside.
func (r *rig) site() (a, b, outside string) {
	r.t.Helper()
	a = r.machine("a", portOf+"1", "10.0.1.5/24 2001:db8:1::5/64", "10.0.1.1 2001:db8:1::1")
	b = r.machine("b", portOf+"2", "10.0.2.5/24 2001:db8:2::5/64", "10.0.2.1 2001:db8:2::1")
	outside = r.machine("o", gwOf+"1", "203.0.113.1/24", "")
	return a, b, outside
}
