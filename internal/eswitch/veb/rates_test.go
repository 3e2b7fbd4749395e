package veb

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
)

// streams runs one TCP stream on each path for a time and returns Mbit/s of each.
func streams(d time.Duration, paths ...*path) []float64 {
	out := make([]float64, len(paths))
	var wg sync.WaitGroup
	for i, p := range paths {
		wg.Go(func() { out[i] = throughput(p.stream, d) * 1000 })
	}
	wg.Wait()
	return out
}

func between(t *testing.T, what string, got, lo, hi float64) {
	t.Helper()
	t.Logf("%s: %.0f Mbit/s", what, got)
	if got < lo || got > hi {
		t.Errorf("%s: %.0f Mbit/s, want %.0f to %.0f", what, got, lo, hi)
	}
}

// retransmits of the client's stream.
func (p *path) retransmits(t testing.TB) uint32 {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(p.stream[0], unix.IPPROTO_TCP, unix.TCP_INFO)
	must(t, err)
	return info.Total_retrans
}

// A maximum rate is reached and kept, and TCP loses (nearly) nothing by it.
func TestMaxTxRate(t *testing.T) {
	r := newRig(t, 2)
	r.checked(0, 10, clientAddr)
	r.checked(1, 10, serverAddr)
	a, b := r.plug(0, clientAddr+"/24"), r.plug(1, serverAddr+"/24")
	p := &path{name: "limited", client: a.host, server: b.host, addr: netip.MustParseAddr(serverAddr)}
	if !a.reaches(b.addr) {
		t.Fatal("no answer")
	}
	p.connect(t)
	for _, mbit := range []int{50, 500} {
		r.set(0, eswitch.Attrs{MaxTxRate: eswitch.Set(mbit)})
		if got := r.vf(0).Attrs.MaxTxRate; got != eswitch.Set(mbit) {
			t.Fatalf("observed %s of %d", got, mbit)
		}
		before := p.retransmits(t)
		got := streams(600*time.Millisecond, p)[0]
		between(t, "limited", got, 0.75*float64(mbit), 1.25*float64(mbit))
		if n := p.retransmits(t) - before; n > 20 {
			t.Errorf("%d retransmits at %d Mbit/s", n, mbit)
		}
	}
	r.set(0, eswitch.Attrs{MaxTxRate: eswitch.Set(0)})
	if got := streams(300*time.Millisecond, p)[0]; got < 800 {
		t.Errorf("%.0f Mbit/s after the limit was taken away", got)
	}
	if got := r.vf(0).Attrs.MaxTxRate; got != eswitch.Set(0) {
		t.Errorf("observed %s after the limit was taken away", got)
	}
}

// Guarantees divide the uplink, and one alone may have it whole.
func TestMinTxRate(t *testing.T) {
	r := newRig(t, 2, func(s *Spec) { s.Speed = 100 })
	r.port(0, 0)
	r.port(1, 0)
	r.set(0, eswitch.Attrs{MinTxRate: eswitch.Set(80)})
	r.set(1, eswitch.Attrs{MinTxRate: eswitch.Set(20)})
	for i, want := range []int{80, 20} {
		if got := r.vf(i).Attrs.MinTxRate; got != eswitch.Set(want) {
			t.Fatalf("VF %d: observed %s of %d", i, got, want)
		}
	}
	a, b := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24")
	r.far.address(t, "wire", "10.9.0.9/24")
	to := netip.MustParseAddr("10.9.0.9")
	pa, pb := &path{client: a.host, server: r.far, addr: to}, &path{client: b.host, server: r.far, addr: to}
	if !a.reaches(to) || !b.reaches(to) {
		t.Fatal("no answer")
	}
	pa.connect(t)
	pb.connect(t)
	between(t, "the small one alone", streams(600*time.Millisecond, pb)[0], 65, 120)
	both := streams(time.Second, pa, pb)
	between(t, "the big one", both[0], 55, 105)
	if both[0] < 1.7*both[1] {
		t.Errorf("80 to 20 guaranteed, got %.0f to %.0f Mbit/s", both[0], both[1])
	}
	r.set(0, eswitch.Attrs{MinTxRate: eswitch.Set(0)})
	r.set(1, eswitch.Attrs{MinTxRate: eswitch.Set(0)})
	if got := streams(300*time.Millisecond, pa)[0]; got < 150 {
		t.Errorf("%.0f Mbit/s without guarantees: the uplink's queue is still there", got)
	}
}

// Counters are a NIC's: a segmented frame counts as what the wire would carry.
func TestCountersAreANICs(t *testing.T) {
	r := newRig(t, 2)
	r.checked(0, 10, clientAddr)
	r.checked(1, 10, serverAddr)
	a, b := r.plug(0, clientAddr+"/24"), r.plug(1, serverAddr+"/24")
	p := &path{name: "counted", client: a.host, server: b.host, addr: b.addr}
	if !a.reaches(b.addr) {
		t.Fatal("no answer")
	}
	p.connect(t)
	before := r.vf(0).Counters
	const total, mss = 20 << 20, 1448
	go func() { _ = whole(unix.Write, p.stream[0], make([]byte, total)) }()
	if !whole(unix.Read, p.stream[1], make([]byte, total)) {
		t.Fatal("stream broke")
	}
	after, peer := r.vf(0).Counters, r.vf(1).Counters
	packets, bytes := float64(after.TxPackets-before.TxPackets), float64(after.TxBytes-before.TxBytes)
	segments := float64(total) / mss
	if packets < segments || packets > 1.1*segments {
		t.Errorf("%.0f packets for %.0f segments", packets, segments)
	}
	if want := total + packets*66; bytes < 0.99*want || bytes > 1.01*want {
		t.Errorf("%.0f bytes, want %.0f: payload and a head a packet", bytes, want)
	}
	if peer.RxPackets != after.TxPackets-after.TxBroadcast-after.TxMulticast+peer.RxBroadcast+peer.RxMulticast {
		t.Logf("sent %+v, received %+v", after, peer)
	}
	if d := int64(after.TxBytes) - int64(peer.RxBytes); d < -2000 || d > 2000 {
		t.Errorf("sent %d bytes, the other received %d", after.TxBytes, peer.RxBytes)
	}
}
