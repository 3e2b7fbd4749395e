package mgmt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/openflow"
	"neutrino/internal/ovs/ovstest"
)

const br = "br-eth6"

// place is a real Open vSwitch with the userspace datapath: a bridge with an uplink, and beyond
// the uplink another bridge, which stands for the rack.
type place struct {
	*ovstest.Instance
	t      testing.TB
	sw     *Switch
	guests map[int]*guest
	others []openflow.Other
}

// guest is a namespace with one interface, eth0.
type guest struct {
	*place
	n     int
	netns string
	port  openflow.Port
}

func newPlace(t testing.TB) *place {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	p := &place{Instance: ovstest.Start(t), t: t, guests: map[int]*guest{}}
	p.Run("ip", "-n", p.Netns, "link", "add", "eth6", "type", "veth", "peer", "name", "wire")
	for _, l := range []string{"eth6", "wire"} {
		p.Run("ip", "-n", p.Netns, "link", "set", l, "up")
	}
	p.Vsctl("add-br", br, "--", "set", "bridge", br, "datapath_type=netdev", "--", "add-port", br, "eth6")
	p.Vsctl("add-br", "far", "--", "set", "bridge", "far", "datapath_type=netdev", "--", "add-port", "far", "wire")
	p.sw = New(p.Dir, nil)
	t.Cleanup(p.sw.Close)
	return p
}

// guest adds one to a bridge's VLAN, protected if it is in br-eth6, with the address 10.0.0.n.
func (p *place) guest(bridge string, n, vlan int, rules ...model.FilterRule) *guest {
	p.t.Helper()
	g := &guest{place: p, n: n, netns: fmt.Sprintf("%s-%d", p.Netns, n)}
	p.guests[n] = g
	p.Run("ip", "netns", "add", g.netns)
	p.t.Cleanup(func() { p.Run("ip", "netns", "del", g.netns) })
	tap := fmt.Sprintf("tap%d", n)
	p.Run("ip", "-n", p.Netns, "link", "add", tap, "type", "veth", "peer", "name", "eth0", "netns", g.netns)
	p.Run("ip", "-n", g.netns, "link", "set", "eth0", "address", text(macOf(n)))
	p.Run("ip", "-n", g.netns, "addr", "add", g.ip()+"/24", "dev", "eth0")
	p.Run("ip", "-n", g.netns, "addr", "add", fmt.Sprintf("fd00::%d/64", n), "dev", "eth0", "nodad")
	p.Run("ip", "-n", g.netns, "link", "set", "eth0", "up")
	p.Run("ip", "-n", p.Netns, "link", "set", tap, "up")
	// The userspace datapath takes frames as they are: checksums have to be in them.
	if err := netspace.Do(g.netns, func() error { return checksums("eth0") }); err != nil {
		p.t.Fatal(err)
	}
	p.Vsctl("add-port", bridge, tap, fmt.Sprintf("tag=%d", vlan))
	number, err := strconv.ParseUint(p.Vsctl("get", "interface", tap, "ofport"), 10, 16)
	if err != nil {
		p.t.Fatal(err)
	}
	mac := macOf(n)
	ll := fmt.Sprintf("fe80::f816:3eff:fe00:%x/128", n)
	g.port = openflow.Port{
		ID: fmt.Sprintf("port-%03d", n), OFPort: uint32(number), VLAN: vlan, MAC: mac, Protected: bridge == br,
		Allowed: []openflow.Source{
			{MAC: mac, Prefix: netip.MustParsePrefix(g.ip() + "/32")},
			{MAC: mac, Prefix: netip.MustParsePrefix(fmt.Sprintf("fd00::%d/128", n))},
			{MAC: mac, Prefix: netip.MustParsePrefix(ll)},
		},
		Filter: &model.Filter{Rules: rules},
	}
	return g
}

func macOf(n int) openflow.MAC { return openflow.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(n)} }

func text(m openflow.MAC) string { return net.HardwareAddr(m[:]).String() }

func (g *guest) ip() string { return fmt.Sprintf("10.0.0.%d", g.n) }

// checksums has the kernel fill in checksums itself (ETHTOOL_STXCSUM 0).
func checksums(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := [2]uint32{0x17, 0}
	var req [40]byte
	copy(req[:], name)
	*(*uintptr)(unsafe.Pointer(&req[16])) = uintptr(unsafe.Pointer(&value[0]))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req[0]))); errno != 0 {
		return fmt.Errorf("turn checksum offload of %s off: %w", name, errno)
	}
	return nil
}

// program sets the flows for all guests of br-eth6.
func (p *place) program() {
	p.t.Helper()
	if err := p.trySet(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) trySet() error {
	ct, err := p.sw.Conntrack(context.Background(), br)
	if err != nil {
		return err
	}
	b := openflow.Bridge{Conntrack: ct, Datapath: "netdev", Others: p.others}
	for _, g := range p.guests {
		if g.port.Protected {
			b.Ports = append(b.Ports, g.port)
		}
	}
	prog, errs := openflow.Compile(b)
	for id, err := range errs {
		return fmt.Errorf("port %s: %w", id, err)
	}
	return p.sw.Set(context.Background(), br, prog)
}

// flows is what the bridge says it has, in Open vSwitch's own words.
func (p *place) flows() string {
	p.t.Helper()
	var out []string
	for _, line := range strings.Split(p.Run("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "--no-names", "dump-flows", "unix:"+p.Management(br)), "\n") {
		out = append(out, strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}

// pings reports whether an echo gets through within a while, if it is to, or none does.
func (g *guest) pings(to string) bool {
	family := "-4"
	if strings.Contains(to, ":") {
		family = "-6"
	}
	return g.Try("ip", "netns", "exec", g.netns, "ping", family, "-c", "1", "-W", "1", to) == nil
}

func (g *guest) reaches(to string) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d reaches %s", g.n, to), func() bool { return g.pings(to) })
}

// reachesNot waits for two pings to be lost, after something else has shown that the way is open.
func (g *guest) reachesNot(to string) {
	g.t.Helper()
	for range 2 {
		if g.pings(to) {
			g.t.Errorf("%d reaches %s", g.n, to)
		}
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// listen accepts TCP connections, and echoes.
func (g *guest) listen(port int) {
	g.t.Helper()
	var l net.Listener
	err := netspace.Do(g.netns, func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", g.ip(), port))
		return err
	})
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.t.Cleanup(func() { c.Close() })
			go func() {
				buf := make([]byte, 512)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err = c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	g.t.Cleanup(func() { l.Close(); <-done })
}

func (g *guest) dial(to string, port int, wait time.Duration) (net.Conn, error) {
	var c net.Conn
	err := netspace.Do(g.netns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		sa := &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(to).As4()}
		if err = unix.Connect(fd, sa); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			unix.Close(fd)
			return err
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(poll, int(wait.Milliseconds()))
		if err == nil && n == 0 {
			err = os.ErrDeadlineExceeded
		}
		if soerr, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && soerr != 0 {
			err = unix.Errno(soerr)
		}
		f := os.NewFile(uintptr(fd), "tcp")
		defer f.Close()
		if err != nil {
			return err
		}
		c, err = net.FileConn(f)
		return err
	})
	if err == nil {
		g.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// connects dials until it works.
func (g *guest) connects(to string, port int) net.Conn {
	g.t.Helper()
	var c net.Conn
	eventually(g.t, fmt.Sprintf("%d connects to %s port %d", g.n, to, port), func() bool {
		var err error
		c, err = g.dial(to, port, 2*time.Second)
		return err == nil
	})
	return c
}

// echoes reports whether what is written comes back within wait.
func echoes(c net.Conn, wait time.Duration) bool {
	_ = c.SetDeadline(time.Now().Add(wait))
	msg := []byte(fmt.Sprint(time.Now().UnixNano()))
	if _, err := c.Write(msg); err != nil {
		return false
	}
	got := make([]byte, 0, len(msg))
	buf := make([]byte, 64)
	for len(got) < len(msg) {
		n, err := c.Read(buf)
		if err != nil {
			return false
		}
		got = append(got, buf[:n]...)
	}
	return strings.HasSuffix(string(got), string(msg))
}

// anyone are rules that let everything out, and in what else says.
func anyone(in ...model.FilterRule) []model.FilterRule {
	return append([]model.FilterRule{{Egress: true, Protocol: model.AnyProtocol}, {Egress: true, IPv6: true, Protocol: model.AnyProtocol}}, in...)
}

func fromGroup(members ...string) []model.FilterRule {
	remotes := []netip.Prefix{}
	for _, m := range members {
		remotes = append(remotes, netip.MustParsePrefix(m))
	}
	return anyone(model.FilterRule{Protocol: model.AnyProtocol, Remotes: remotes}, model.FilterRule{IPv6: true, Protocol: model.AnyProtocol, Remotes: remotes})
}

func tcp(port int) model.FilterRule {
	return model.FilterRule{Protocol: 6, PortMin: &port, PortMax: &port}
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func filterOf(rules []model.FilterRule) *model.Filter { return &model.Filter{Rules: rules} }
