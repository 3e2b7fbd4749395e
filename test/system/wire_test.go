package system

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// namespace makes a network namespace that goes with the test.
func namespace(t *testing.T, name string) {
	t.Helper()
	err := netspace.Create(name, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netspace.Delete(name); err != nil {
			t.Error(err)
		}
	})
}

// plug hands a VF's netdev to a new guest, as the kernel hands a VF to a VM.
func plug(t *testing.T, host, guest, netdev, mac, address string) {
	t.Helper()
	namespace(t, guest)
	to, err := netspace.Open(guest)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	err = netspace.Do(host, func() error {
		l, linkErr := netlink.LinkByName(netdev)
		if linkErr != nil {
			return linkErr
		}
		return errors.Join(netlink.LinkSetDown(l), netlink.LinkSetNsFd(l, int(to)))
	})
	if err == nil {
		err = netspace.Do(guest, func() error {
			l, linkErr := netlink.LinkByName(netdev)
			if linkErr != nil {
				return linkErr
			}
			return errors.Join(netlink.LinkSetName(l, "eth0"), netlink.LinkSetHardwareAddr(l, hw), netlink.LinkSetUp(l), netlink.AddrAdd(l, addr))
		})
	}
	if err != nil {
		t.Fatalf("plug %s of %s into %s: %v", netdev, host, guest, err)
	}
}

// pinger sends an echo request each interval, whatever becomes of those before.
type pinger struct {
	c    net.PacketConn
	stop chan struct{}
	work sync.WaitGroup

	mu       sync.Mutex
	sent     []time.Time // by sequence number
	answered []bool
	fault    error
}

const pingEvery = 20 * time.Millisecond

// ping starts to send from a namespace.
func ping(t *testing.T, from string, to netip.Addr) *pinger {
	t.Helper()
	p := &pinger{stop: make(chan struct{})}
	err := netspace.Do(from, func() (err error) {
		p.c, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		t.Fatalf("ping from %s: %v", from, err)
	}
	p.work.Go(func() { p.send(to) })
	p.work.Go(p.hear)
	t.Cleanup(p.end)
	return p
}

func (p *pinger) send(to netip.Addr) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for seq := 0; seq < 0xffff; seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: os.Getpid() & 0xffff, Seq: seq, Data: []byte("neutrino system test")}}
		b, err := m.Marshal(nil)
		p.mu.Lock()
		p.sent, p.answered = append(p.sent, time.Now()), append(p.answered, false)
		p.mu.Unlock()
		if err == nil {
			_, err = p.c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()})
		}
		if err != nil && !unreachable(err) { // a neighbour that does not answer is a loss like any other
			p.mu.Lock()
			p.fault = err
			p.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-p.stop:
			return
		}
	}
}

func unreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}

func (p *pinger) hear() {
	buf := make([]byte, 1500)
	for {
		n, _, err := p.c.ReadFrom(buf)
		if unreachable(err) {
			continue
		}
		if err != nil {
			return // closed by end
		}
		m, err := icmp.ParseMessage(unix.IPPROTO_ICMP, buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if e, ok := m.Body.(*icmp.Echo); ok && e.ID == os.Getpid()&0xffff {
			p.mu.Lock()
			if e.Seq < len(p.answered) {
				p.answered[e.Seq] = true
			}
			p.mu.Unlock()
		}
	}
}

func (p *pinger) end() {
	select {
	case <-p.stop:
		return
	default:
	}
	close(p.stop)
	p.c.Close()
	p.work.Wait()
}

// answers reports whether any request has been answered.
func (p *pinger) answers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.answered, true)
}

// losses waits a moment for late answers, ends the pinger and returns the number of
// requests, of those without an answer, and the longest run of these with its begin.
func (p *pinger) losses(t *testing.T) (sent, lost, longest int, at time.Time) {
	t.Helper()
	last := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.answered[len(p.answered)-1] || p.fault != nil
	}
	for deadline := time.Now().Add(2 * time.Second); !last() && time.Now().Before(deadline); {
		time.Sleep(pingEvery / 4)
	}
	p.end()
	if p.fault != nil {
		t.Errorf("ping: %v", p.fault)
	}
	run := 0
	for seq, ok := range p.answered[:len(p.answered)-1] { // the last one may be under way
		if run++; ok {
			run = 0
			continue
		}
		if lost++; run > longest {
			longest, at = run, p.sent[seq-run+1]
		}
	}
	return len(p.sent), lost, longest, at
}
