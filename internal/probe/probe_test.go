package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
	"neutrino/internal/trunk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rack is hosts in namespaces, each with an uplink eth6 on one switch. The switch is this
// test: it carries frames between the legs, unless drop says no.
type rack struct {
	t     *testing.T
	hosts []string
	legs  []*leg
	drop  func(from, to, vlan, size int, probe bool) bool
	lldp  []byte // sent to whoever speaks first; nil = none
	mu    sync.Mutex
	times []time.Time // of probes that came to the switch
	all   sync.WaitGroup
}

type leg struct{ s *socket }

func (r *rack) space(name string) string { return fmt.Sprintf("pb%d-%s", os.Getpid(), name) }

func newRack(t *testing.T, hosts ...string) *rack {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and packet sockets")
	}
	r := &rack{t: t, hosts: hosts, drop: func(int, int, int, int, bool) bool { return false }}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range append([]string{"sw"}, hosts...) {
		must(netspace.Create(r.space(name), func() error { return nil }))
		t.Cleanup(func() { _ = netspace.Delete(r.space(name)) })
	}
	for i, h := range hosts {
		ns, err := netspace.Open(r.space(h))
		must(err)
		defer ns.Close()
		must(netspace.Do(r.space("sw"), func() error {
			peer := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("leg%d", i), MTU: 9000}, PeerName: "eth6", PeerMTU: 9000, PeerNamespace: netlink.NsFd(ns)}
			if err := netlink.LinkAdd(peer); err != nil {
				return err
			}
			return netlink.LinkSetUp(peer)
		}))
		must(netspace.Do(r.space(h), func() error {
			l, err := netlink.LinkByName("eth6")
			if err != nil {
				return err
			}
			a, _ := netlink.ParseAddr(fmt.Sprintf("192.0.2.%d/24", i+1))
			if err = netlink.AddrAdd(l, a); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		}))
	}
	for i := range hosts {
		must(netspace.Do(r.space("sw"), func() error {
			s, err := openSocket(fmt.Sprintf("leg%d", i))
			if err != nil {
				return err
			}
			r.legs = append(r.legs, &leg{s})
			// Everything, not probes alone.
			return control(s, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
		}))
	}
	t.Cleanup(func() {
		for _, l := range r.legs {
			l.s.shut()
		}
		r.all.Wait()
		for _, l := range r.legs {
			l.s.close()
		}
	})
	return r
}

func control(s *socket, f func(fd int) error) (err error) {
	if cerr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// switchOn starts to carry frames.
func (r *rack) switchOn() {
	for i, l := range r.legs {
		r.all.Go(func() { r.carry(i, l) })
	}
}

func (r *rack) carry(from int, l *leg) {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn := 0, 0
		var failed error
		err := l.s.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil || failed != nil && !errors.Is(failed, unix.EINTR) {
			return
		}
		if failed != nil || n < headerSize {
			continue
		}
		vlan, frame := auxVLAN(oob[:oobn]), bytes.Clone(buf[:n])
		probe := binary.BigEndian.Uint16(frame[12:]) == trunk.EtherType
		if probe {
			r.mu.Lock()
			r.times = append(r.times, time.Now())
			r.mu.Unlock()
		}
		size := n - headerSize
		if vlan != 0 {
			tagged := append(bytes.Clone(frame[:12]), 0x81, 0, byte(vlan>>8), byte(vlan))
			frame = append(tagged, frame[12:]...)
		}
		for to, other := range r.legs {
			if to != from && !r.drop(from, to, vlan, size, probe) {
				_ = other.s.send(frame)
			}
		}
		if probe && r.lldp != nil {
			_ = l.s.send(r.lldp)
		}
	}
}

func (r *rack) prober(host string) *Prober {
	return New(Options{
		Host: host, Uplinks: func(string) ([]string, error) { return []string{"eth6"}, nil },
		Enter: func(f func() error) error { return netspace.Do(r.space(host), f) },
	})
}

func (r *rack) run(vlans string, sizes ...int) *trunk.Run {
	r.t.Helper()
	v, err := trunk.ParseVLANs(vlans)
	if err != nil {
		r.t.Fatal(err)
	}
	run := &trunk.Run{ID: trunk.ID{7}, Key: []byte("k"), PhysicalNetwork: "default", VLANs: v, Sizes: sizes, Rounds: 2, Rate: 200}
	for _, h := range r.hosts {
		run.Hosts = append(run.Hosts, trunk.Host{Host: h, Uplinks: 1})
	}
	if err = run.Plan(trunk.DefaultLimit); err != nil {
		r.t.Fatal(err)
	}
	return run
}

// verify has all hosts take part, from a second before the first turn on.
func (r *rack) verify(run *trunk.Run) *trunk.Report {
	results := map[string]*trunk.Result{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, h := range r.hosts {
		wg.Go(func() {
			res := r.prober(h).Probe(r.t.Context(), run, trunk.Margin-time.Second)
			mu.Lock()
			defer mu.Unlock()
			results[h] = res
		})
	}
	wg.Wait()
	return trunk.Judge(run, results)
}

func TestWhatTheSwitchDropsIsFound(t *testing.T) {
	r := newRack(t, "h0", "h1", "h2")
	r.drop = func(from, to, vlan, size int, probe bool) bool {
		switch {
		case !probe:
			return false
		case (from == 2 || to == 2) && vlan == 105: // not on h2's leg
			return true
		case (from == 1 || to == 1) && vlan == 106 && size > 1600: // h1's leg has a smaller MTU there
			return true
		}
		return from == 0 && to == 1 && vlan == 107 // one way
	}
	r.lldp = append([]byte{0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 9, 0x88, 0xcc},
		"\x02\x07\x04\x02\x00\x00\x00\x00\x09\x04\x05\x05swp1\x06\x02\x00\x78\x00\x00"...)
	r.switchOn()
	others := r.otherTraffic()
	run := r.run("100-119", 64, 1500, 9000)
	rep := r.verify(run)
	others()
	got := map[string]string{}
	for _, p := range rep.Pairs {
		s := fmt.Sprintf("lost %s one-way %s dup %s", p.Lost, p.OneWay, p.Twice)
		for _, h := range p.Holes {
			s += fmt.Sprintf(" mtu %s %d/%d", h.VLANs, h.Passed, h.Lost)
		}
		got[p.From+p.To] = s
	}
	want := map[string]string{
		"h0h1": "lost 107 one-way 107 dup  mtu 106 1500/9000", "h1h0": "lost  one-way  dup  mtu 106 1500/9000",
		"h0h2": "lost 105 one-way  dup ", "h2h0": "lost 105 one-way  dup ",
		"h1h2": "lost 105 one-way  dup  mtu 106 1500/9000", "h2h1": "lost 105 one-way  dup  mtu 106 1500/9000",
	}
	for k, w := range want {
		if got[k] != w {
			t.Errorf("%s: %q, want %q", k, got[k], w)
		}
	}
	if rep.Clean || len(got) != len(want) || len(rep.Leaks)+len(rep.Loops) != 0 {
		t.Errorf("%+v", rep)
	}
	for _, h := range rep.Hosts {
		if h.State != trunk.HostReported || len(h.Uplinks) != 1 || h.Uplinks[0].Error != "" || h.Uplinks[0].Sent != run.Frames() {
			t.Errorf("%+v", h)
		}
		if len(h.Neighbours) != 1 || h.Neighbours[0].Port != "swp1" || h.Neighbours[0].Uplink != "eth6" {
			t.Errorf("neighbours of %s: %+v", h.Host, h.Neighbours)
		}
	}
	r.checkRate(run)
	for _, h := range r.hosts {
		if err := netspace.Do(r.space(h), func() error {
			l, err := netlink.LinkByName("eth6")
			if err == nil && l.Attrs().Promisc != 0 {
				err = errors.New("still promiscuous")
			}
			return err
		}); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
}

// checkRate: never more frames in a second than allowed, and what a sender may make up for.
func (r *rack) checkRate(run *trunk.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, j := 0, 0
	for i := range r.times {
		for r.times[i].Sub(r.times[j]) > time.Second {
			j++
		}
		most = max(most, i-j+1)
	}
	// The switch may see bunched what was sent apart: a tenth of a second of that.
	if limit := run.Rate + run.Rate/10 + int(behind*time.Duration(run.Rate)/time.Second) + 1; most > limit {
		r.t.Errorf("%d frames in one second, at most %d are allowed", most, limit)
	}
	if want := run.Frames() * len(run.Hosts); len(r.times) != want {
		r.t.Errorf("%d frames came to the switch, %d were sent", len(r.times), want)
	}
}

// otherTraffic sends datagrams between two hosts until the returned function is called,
// which checks that each was answered.
func (r *rack) otherTraffic() (stop func()) {
	var server, client net.PacketConn
	for i, c := range []*net.PacketConn{&server, &client} {
		if err := netspace.Do(r.space(r.hosts[i]), func() (err error) {
			// Without checksums: nobody fills them in on a veth pair, and the switch is no NIC.
			l := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
				if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }); cerr != nil {
					return cerr
				}
				return err
			}}
			*c, err = l.ListenPacket(r.t.Context(), "udp4", fmt.Sprintf("192.0.2.%d:7777", i+1))
			return err
		}); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 64)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(b[:n], from)
		}
	})
	sent, lost := 0, 0
	wg.Go(func() {
		b := make([]byte, 64)
		for ctx.Err() == nil {
			sent++
			_, _ = client.WriteTo([]byte{byte(sent)}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7777})
			_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, _, err := client.ReadFrom(b); err != nil {
				lost++
			}
			wait(ctx, time.Now().Add(10*time.Millisecond))
		}
	})
	return func() {
		cancel()
		_ = server.SetReadDeadline(time.Unix(1, 0))
		wg.Wait()
		_, _ = server.Close(), client.Close()
		if sent < 20 || lost > 0 {
			r.t.Errorf("other traffic: %d sent, %d not answered", sent, lost)
		}
	}
}

func TestCleanTrunk(t *testing.T) {
	r := newRack(t, "h0", "h1")
	r.switchOn()
	if rep := r.verify(r.run("1,2,4094", 64, 1500)); !rep.Clean || rep.Checked != 2 {
		t.Errorf("%+v", rep)
	}
}

// TestUplinkThatCannot: what is down, missing or too small is said of the host, not of
// the switches; a run that is taken back ends at once.
func TestUplinkThatCannot(t *testing.T) {
	r := newRack(t, "h0", "h1")
	r.switchOn()
	if err := netspace.Do(r.space("h1"), func() error {
		l, err := netlink.LinkByName("eth6")
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(l, 1500)
	}); err != nil {
		t.Fatal(err)
	}
	rep := r.verify(r.run("10", 64, 9000))
	if h := rep.Hosts[1]; rep.Clean || len(h.Uplinks) != 1 || fmt.Sprint(h.Uplinks[0].Unfit) != "[9000]" {
		t.Errorf("%+v", h)
	}
	for _, p := range rep.Pairs {
		if p.From == "h0" && (len(p.Holes) != 1 || p.Holes[0].Why == "") || p.From == "h1" {
			t.Errorf("%+v", p)
		}
	}
	p := r.prober("h0")
	p.o.Uplinks = func(string) ([]string, error) { return []string{"none0"}, nil }
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("taken back"))
	start := time.Now()
	res := p.Probe(ctx, r.run("10", 64), 0)
	if res.Error == "" || res.Uplinks[0].Error == "" || time.Since(start) > 3*time.Second {
		t.Errorf("%+v after %s", res, time.Since(start))
	}
}
