package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// Ping is one cell of the matrix.
type Ping struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Known: the sender was told the target's MAC, so that not only the broadcast of
	// its ARP request but also unicast is tried.
	Known    bool          `json:"mac_known"`
	Expected bool          `json:"expected"` // an answer
	Answered bool          `json:"answered"`
	RTT      time.Duration `json:"rtt_ns,omitempty"`
	Err      string        `json:"error,omitempty"` // of the attempt itself
}

// OK reports whether it was as it ought to be.
func (p Ping) OK() bool { return p.Answered == p.Expected && p.Err == "" }

// What is waited for an answer: long where one is due, short enough where none is.
const (
	dueWait   = 3 * time.Second
	undueWait = 700 * time.Millisecond
	pingEvery = 100 * time.Millisecond
)

var pingID atomic.Uint32

// pingMatrix pings between all pairs: once as a guest does, and between networks once
// more with the target's MAC known.
func pingMatrix(ctx context.Context, n Names, in []*Instance) []Ping {
	var asGuest, known []Ping
	for _, a := range in {
		for _, b := range in {
			if a == b {
				continue
			}
			same := a.NetworkID == b.NetworkID
			asGuest = append(asGuest, Ping{From: a.Name, To: b.Name, Expected: same})
			if !same {
				known = append(known, Ping{From: a.Name, To: b.Name, Known: true})
			}
		}
	}
	byName := map[string]*Instance{}
	for _, x := range in {
		byName[x.Name] = x
	}
	for _, round := range [][]Ping{asGuest, known} {
		var wg sync.WaitGroup
		for i := range round {
			p := &round[i]
			wg.Go(func() {
				if err := p.do(ctx, n, byName[p.From], byName[p.To]); err != nil {
					p.Err = err.Error()
				}
			})
		}
		wg.Wait()
	}
	return append(asGuest, known...)
}

func (p *Ping) do(ctx context.Context, n Names, from, to *Instance) error {
	dst, err := netip.ParsePrefix(to.Address)
	if err != nil {
		return fmt.Errorf("ping %s: it has no address: %w", to.Name, err)
	}
	ns := n.Namespace(from.Name)
	if p.Known {
		forget, teachErr := teachMAC(ns, dst.Addr(), to.MAC)
		if teachErr != nil {
			return teachErr
		}
		defer forget()
	}
	wait := undueWait
	if p.Expected {
		wait = dueWait
	}
	p.RTT, p.Answered, err = ping(ctx, ns, dst.Addr(), wait)
	return err
}

// teachMAC makes a permanent neighbour entry on eth0.
func teachMAC(ns string, ip netip.Addr, mac string) (forget func(), err error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	var entry *netlink.Neigh
	err = netspace.Do(ns, func() error {
		l, linkErr := netlink.LinkByName("eth0")
		if linkErr != nil {
			return linkErr
		}
		entry = &netlink.Neigh{
			LinkIndex: l.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT,
			IP: ip.AsSlice(), HardwareAddr: hw,
		}
		return netlink.NeighSet(entry)
	})
	if err != nil {
		return nil, fmt.Errorf("set neighbour %s in %s: %w", ip, ns, err)
	}
	return func() {
		_ = netspace.Do(ns, func() error { return netlink.NeighDel(entry) })
	}, nil
}

// ping sends echo requests from the namespace until one is answered or wait is over.
func ping(ctx context.Context, ns string, to netip.Addr, wait time.Duration) (rtt time.Duration, answered bool, err error) {
	var c *icmp.PacketConn
	err = netspace.Do(ns, func() (err error) {
		c, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return 0, false, fmt.Errorf("ping from %s: %w", ns, err)
	}
	defer func() { _ = c.Close() }()
	id := int(pingID.Add(1))%0xffff + 1
	sent := map[int]time.Time{}
	deadline := time.Now().Add(wait)
	buf := make([]byte, 1500)
	for seq := 1; ctx.Err() == nil && time.Now().Before(deadline); seq++ {
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("neutrino lab")}}
		b, err := m.Marshal(nil)
		if err != nil {
			return 0, false, err
		}
		sent[seq] = time.Now()
		if _, err := c.WriteTo(b, &net.IPAddr{IP: to.AsSlice()}); err != nil && !unreachable(err) {
			return 0, false, fmt.Errorf("ping %s from %s: %w", to, ns, err)
		}
		_ = c.SetReadDeadline(time.Now().Add(pingEvery))
		for {
			n, _, err := c.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if unreachable(err) {
				continue
			}
			if err != nil {
				return 0, false, fmt.Errorf("ping %s from %s: %w", to, ns, err)
			}
			if at, ok := echoOf(buf[:n], id, sent); ok {
				return time.Since(at), true, nil
			}
		}
	}
	return 0, false, ctx.Err()
}

// unreachable is what a socket says when a neighbour does not answer ARP: that is the
// result, not a failure.
func unreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}

func echoOf(b []byte, id int, sent map[int]time.Time) (time.Time, bool) {
	m, err := icmp.ParseMessage(1, b)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
		return time.Time{}, false
	}
	e, ok := m.Body.(*icmp.Echo)
	if !ok || e.ID != id {
		return time.Time{}, false
	}
	at, ok := sent[e.Seq]
	return at, ok
}
