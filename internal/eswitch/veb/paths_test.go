package veb

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// BenchmarkPaths compares round trip and TCP throughput of the switch with other ways
// of joining two namespaces, all in one process, on standing connections, in short
// slices in random order, so that other work on the machine meets every path alike.
// Both ends run on one CPU: that shows a path's own cost.
//
//	go test -run '^$' -bench Paths -benchtime 20x ./internal/eswitch/veb
//
// One iteration is one slice of every path; there are at least twelve. The figures are
// ratios to a direct veth pair; the table goes to the log.
func BenchmarkPaths(b *testing.B) {
	needRoot(b)
	paths := []*path{
		directPath(b), vebPath(b), veb2Path(b, false), veb2Path(b, true), bridgePath(b), bridge2Path(b, false), bridge2Path(b, true),
	}
	for _, p := range paths {
		p.connect(b)
	}
	measure(paths, 3) // warm up
	for _, p := range paths {
		p.rtts, p.rates = nil, nil
	}
	b.ResetTimer()
	measure(paths, max(b.N, leastSlices))
	b.StopTimer()
	base := paths[0]
	b.Logf("%-42s %10s %7s %12s %7s", "path", "RTT us", "ratio", "TCP Gbit/s", "ratio")
	for _, p := range paths {
		rtt, rate := median(p.rtts), median(p.rates)
		b.Logf("%-42s %10.2f %6.3fx %12.2f %6.3fx", p.name, rtt, rtt/median(base.rtts), rate, rate/median(base.rates))
		unit := strings.ReplaceAll(p.name, " ", "-")
		b.ReportMetric(rtt/median(base.rtts), unit+"-rtt/direct")
		b.ReportMetric(rate/median(base.rates), unit+"-tcp/direct")
	}
	b.ReportMetric(0, "ns/op")
}

const (
	leastSlices = 12 // of each path; a median of fewer says little
	rttSlice    = 30 * time.Millisecond
	tcpSlice    = 100 * time.Millisecond
)

// path is two namespaces that reach one another in some way.
type path struct {
	name         string
	client       *host
	server       *host
	addr         netip.Addr // of the server
	echo, stream [2]int     // client's and server's descriptor
	rtts, rates  []float64  // us, Gbit/s: one per slice
}

func measure(paths []*path, rounds int) {
	for range rounds {
		for _, i := range rand.Perm(len(paths)) {
			paths[i].rtts = append(paths[i].rtts, roundTrip(paths[i].echo, rttSlice))
		}
		for _, i := range rand.Perm(len(paths)) {
			paths[i].rates = append(paths[i].rates, throughput(paths[i].stream, tcpSlice))
		}
	}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// connect opens the standing connections.
func (p *path) connect(t testing.TB) {
	t.Helper()
	for _, pairOf := range []*[2]int{&p.echo, &p.stream} {
		var l int
		must(t, p.server.ns.do(func() (err error) {
			if l, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: p.addr.As4()}), unix.Listen(l, 1))
		}))
		sa, err := unix.Getsockname(l)
		must(t, err)
		must(t, p.client.ns.do(func() (err error) {
			if pairOf[0], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			if err := unix.Connect(pairOf[0], sa); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			return nil
		}))
		pairOf[1], _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
		must(t, err)
		must(t, unix.Close(l))
		for _, fd := range pairOf {
			must(t, unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
			t.Cleanup(func() { _ = unix.Close(fd) })
		}
	}
}

// onCPU runs the functions, each on a thread of its own bound to the last CPU.
func onCPU(fns ...func()) {
	var wg sync.WaitGroup
	for _, fn := range fns {
		wg.Go(func() {
			runtime.LockOSThread() // ends with the goroutine, so the binding does too
			var set unix.CPUSet
			set.Set(runtime.NumCPU() - 1)
			_ = unix.SchedSetaffinity(0, &set)
			fn()
		})
	}
	wg.Wait()
}

// roundTrip returns the median round trip of 64-byte messages in us.
func roundTrip(fd [2]int, d time.Duration) float64 {
	var all []float64
	onCPU(func() {
		buf := make([]byte, 64)
		end := time.Now().Add(d)
		for last := false; !last; {
			start := time.Now()
			last = start.After(end)
			binary.NativeEndian.PutUint32(buf, map[bool]uint32{true: 1}[last])
			if !whole(unix.Write, fd[0], buf) || !whole(unix.Read, fd[0], buf) {
				return
			}
			all = append(all, float64(time.Since(start).Nanoseconds())/1000)
		}
	}, func() {
		buf := make([]byte, 64)
		for binary.NativeEndian.Uint32(buf) == 0 {
			if !whole(unix.Read, fd[1], buf) || !whole(unix.Write, fd[1], buf) {
				return
			}
		}
	})
	return median(append(all, 0)[:max(1, len(all))])
}

func whole(op func(int, []byte) (int, error), fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := op(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// throughput returns Gbit/s of one stream. The last message is marked, so that the
// connection is empty again afterwards.
func throughput(fd [2]int, d time.Duration) float64 {
	const size = 128 << 10
	var got float64
	onCPU(func() {
		buf := make([]byte, size)
		end := time.Now().Add(d)
		for last := false; !last; {
			last = time.Now().After(end)
			if last {
				buf[size-1] = 1
			}
			if !whole(unix.Write, fd[0], buf) {
				return
			}
		}
	}, func() {
		buf := make([]byte, size)
		start, total := time.Now(), 0
		for {
			if !whole(unix.Read, fd[1], buf) {
				return
			}
			total += size
			if buf[size-1] == 1 {
				break
			}
		}
		got = float64(total) * 8 / time.Since(start).Seconds() / 1e9
	})
	return got
}

// The paths.

func (h *host) address(t testing.TB, name, prefix string) {
	t.Helper()
	a, err := netlink.ParseAddr(prefix)
	must(t, err)
	a.Flags = unix.IFA_F_NODAD
	must(t, h.l.AddrAdd(h.link(name), a))
	must(t, h.l.LinkSetUp(h.link(name)))
}

func (h *host) pairTo(t testing.TB, name string, far *host, farName string) {
	t.Helper()
	_, _, err := h.l.addPair(pair{name: name, peer: farName, peerNetns: far.ns, mtu: 1500})
	must(t, err)
	must(t, h.l.LinkSetUp(h.link(name)))
	must(t, far.l.LinkSetUp(far.link(farName)))
}

const (
	clientAddr = "10.8.0.1"
	serverAddr = "10.8.0.2"
)

func directPath(t testing.TB) *path {
	a, b := newHost(t), newHost(t)
	a.pairTo(t, "eth0", b, "eth0")
	a.address(t, "eth0", clientAddr+"/24")
	b.address(t, "eth0", serverAddr+"/24")
	return &path{name: "direct veth", client: a, server: b, addr: netip.MustParseAddr(serverAddr)}
}

// checked gives VF i all checks: MAC and addresses.
func (r *rig) checked(i, vlan int, addr string) {
	r.t.Helper()
	r.set(i, eswitch.Attrs{
		MAC: eswitch.Set(mac(i)), VLAN: eswitch.Set(vlan), LinkState: eswitch.Set(model.LinkEnable),
		SpoofCheck: eswitch.Set(true),
		Allowed:    eswitch.Set([]model.AllowedSource{{MAC: mac(i), Prefix: eswitch.HostPrefix(netip.MustParseAddr(addr))}}),
	})
}

func vebPath(t testing.TB) *path {
	r := newRig(t, 2, func(s *Spec) { s.Attach = AttachAuto })
	r.checked(0, 10, clientAddr)
	r.checked(1, 10, serverAddr)
	a, b := r.plug(0, clientAddr+"/24"), r.plug(1, serverAddr+"/24")
	r.waitPeer(0)
	r.waitPeer(1)
	return &path{name: "VEB one host", client: a.host, server: b.host, addr: b.addr}
}

// veb2Path joins two hosts' NICs, directly or by a trunk.
func veb2Path(t testing.TB, trunk bool) *path {
	r1, r2 := &rig{t: t, host: newHost(t), dir: t.TempDir() + "/pin"}, &rig{t: t, host: newHost(t), dir: t.TempDir() + "/pin"}
	p := &path{name: "VEB two hosts"}
	if trunk {
		p.name = "VEB two hosts by trunk"
		tor := newHost(t)
		r1.host.pairTo(t, "eth6", tor, "p1")
		r2.host.pairTo(t, "eth6", tor, "p2")
		dir := t.TempDir() + "/pin"
		must(t, CreateTrunk(t.Context(), TrunkSpec{Name: "tor", PinDir: dir, Netns: tor.path, Ports: []string{"p1", "p2"}}))
		t.Cleanup(func() { must(t, Destroy(context.Background(), "tor", dir)) })
	} else {
		r1.host.pairTo(t, "eth6", r2.host, "eth6")
	}
	for _, r := range []*rig{r1, r2} {
		r.spec = Spec{Name: "eth6", VFs: 3, PinDir: r.dir, Netns: r.host.path, Existing: true}
		r.create()
	}
	r1.checked(1, 10, clientAddr)
	r2.checked(2, 10, serverAddr)
	a, b := r1.plug(1, clientAddr+"/24"), r2.plug(2, serverAddr+"/24")
	r1.waitPeer(1)
	r2.waitPeer(2)
	p.client, p.server, p.addr = a.host, b.host, b.addr
	return p
}

func (h *host) bridge(t testing.TB, ports ...string) {
	t.Helper()
	a := netlink.NewLinkAttrs()
	a.Name = "br0"
	must(t, h.l.LinkAdd(&netlink.Bridge{LinkAttrs: a}))
	must(t, h.l.LinkSetUp(h.link("br0")))
	for _, p := range ports {
		must(t, h.l.LinkSetMaster(h.link(p), h.link("br0")))
		must(t, h.l.LinkSetUp(h.link(p)))
	}
}

func bridgePath(t testing.TB) *path {
	h, a, b := newHost(t), newHost(t), newHost(t)
	a.pairTo(t, "eth0", h, "a")
	b.pairTo(t, "eth0", h, "b")
	h.bridge(t, "a", "b")
	a.address(t, "eth0", clientAddr+"/24")
	b.address(t, "eth0", serverAddr+"/24")
	return &path{name: "bridge one host", client: a, server: b, addr: netip.MustParseAddr(serverAddr)}
}

// bridge2Path joins two hosts' bridges by the wire itself or by VXLAN over it.
func bridge2Path(t testing.TB, vxlan bool) *path {
	h1, h2, a, b := newHost(t), newHost(t), newHost(t), newHost(t)
	a.pairTo(t, "eth0", h1, "a")
	b.pairTo(t, "eth0", h2, "b")
	h1.pairTo(t, "wire", h2, "wire")
	p := &path{name: "bridge two hosts", client: a, server: b, addr: netip.MustParseAddr(serverAddr)}
	join := "wire"
	if vxlan {
		p.name, join = "bridge+VXLAN two hosts", "vx0"
		for i, h := range []*host{h1, h2} {
			h.address(t, "wire", fmt.Sprintf("192.0.2.%d/24", i+1))
			at := netlink.NewLinkAttrs()
			at.Name, at.MTU = "vx0", 1450
			must(t, h.l.LinkAdd(&netlink.Vxlan{
				LinkAttrs: at, VxlanId: 7, Port: 4789, SrcAddr: []byte{192, 0, 2, byte(i + 1)},
				Group: []byte{192, 0, 2, byte(2 - i)}, VtepDevIndex: h.link("wire").Attrs().Index,
			}))
		}
		must(t, a.l.LinkSetMTU(a.link("eth0"), 1450))
		must(t, b.l.LinkSetMTU(b.link("eth0"), 1450))
	}
	h1.bridge(t, "a", join)
	h2.bridge(t, "b", join)
	a.address(t, "eth0", clientAddr+"/24")
	b.address(t, "eth0", serverAddr+"/24")
	return p
}
