package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// Spoof is one kind of frame that an instance sends by hand.
type Spoof struct {
	What     string `json:"what"`
	From     string `json:"from"`
	To       string `json:"to"`
	Expected bool   `json:"expected"` // to arrive
	Arrived  int    `json:"arrived"`
	Sent     int    `json:"sent"`
	Err      string `json:"error,omitempty"`
}

// OK reports whether it was as it ought to be.
func (s Spoof) OK() bool {
	return s.Err == "" && (s.Arrived > 0) == s.Expected
}

const (
	spoofTimes = 5
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherVLAN  = 0x8100
)

// station is one end of a forged conversation.
type station struct {
	mac net.HardwareAddr
	ip  netip.Addr
}

func (in *Instance) station() (station, error) {
	mac, err1 := net.ParseMAC(in.MAC)
	p, err2 := netip.ParsePrefix(in.Address)
	return station{mac, p.Addr()}, errors.Join(err1, err2)
}

// forgery is a frame and the instance at which it must not, or must, be seen.
type forgery struct {
	what     string
	to       *Instance
	expected bool
	frame    func(mark []byte) []byte
}

// spoofTests sends forged frames from one instance: none may arrive. True ones sent
// after them must; they show that the way was open.
func spoofTests(ctx context.Context, n Names, from, to, other *Instance, otherVLAN string) []Spoof {
	list, err := forgeries(from, to, other, otherVLAN)
	if err != nil {
		return []Spoof{{What: "forged frames", From: from.Name, To: to.Name, Err: err.Error()}}
	}
	out := make([]Spoof, len(list))
	for i, f := range list {
		out[i] = Spoof{What: f.what, From: from.Name, To: f.to.Name, Expected: f.expected}
		if err := out[i].try(ctx, n, f, i); err != nil {
			out[i].Err = err.Error()
		}
	}
	return out
}

func forgeries(from, to, other *Instance, otherVLAN string) ([]forgery, error) {
	me, err1 := from.station()
	peer, err2 := to.station()
	foreign, err3 := other.station()
	vlan, err4 := strconv.ParseUint(otherVLAN, 10, 12)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	badMAC := net.HardwareAddr{0x02, 0, 0, 0xba, 0xd0, 0x01}
	badIP := netip.AddrFrom4([4]byte{10, 0, 0, 251})
	data := func(src station, dst station) func([]byte) []byte {
		return func(mark []byte) []byte { return udpFrame(src, dst, mark) }
	}
	return []forgery{
		{"source MAC of nobody", to, false, data(station{badMAC, me.ip}, peer)},
		{"source MAC of a neighbour", to, false, data(station{foreign.mac, me.ip}, peer)},
		{"source IP of somebody else", to, false, data(station{me.mac, badIP}, peer)},
		{"ARP in the gateway's name", to, false, func(mark []byte) []byte {
			return arpFrame(me.mac, station{me.mac, netip.AddrFrom4([4]byte{10, 0, 0, 1})}, peer, mark)
		}},
		{"own 802.1Q tag of the other VLAN", other, false, func(mark []byte) []byte {
			return tagged(udpFrame(me, foreign, mark), uint16(vlan))
		}},
		{"true source", to, true, data(me, peer)},
	}, nil
}

// try sends the frame and listens at the target.
func (s *Spoof) try(ctx context.Context, n Names, f forgery, i int) error {
	rx, err := rawSocket(n.Namespace(s.To))
	if err != nil {
		return err
	}
	defer func() { _ = rx.Close() }()
	tx, err := rawSocket(n.Namespace(s.From))
	if err != nil {
		return err
	}
	defer func() { _ = tx.Close() }()
	mark := fmt.Appendf(nil, "neutrino-lab-forgery-%d-%d", i, time.Now().UnixNano())
	frame := f.frame(mark)
	for range spoofTimes {
		if _, err := tx.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("send from %s: %w", s.From, err)
		}
		s.Sent++
	}
	// The lab's wire carries a frame within the sending call, so this is ample.
	if err := rx.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		return err
	}
	buf := make([]byte, 2048)
	for ctx.Err() == nil && s.Arrived < s.Sent {
		k, _, err := rx.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listen at %s: %w", s.To, err)
		}
		if bytes.Contains(buf[:k], mark) {
			s.Arrived++
		}
	}
	return ctx.Err()
}

func rawSocket(namespace string) (*packet.Conn, error) {
	var c *packet.Conn
	err := netspace.Do(namespace, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		c, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a raw socket in %s: %w", namespace, err)
	}
	return c, nil
}

func etherFrame(dst, src net.HardwareAddr, kind uint16, payload []byte) []byte {
	f := append(append(make([]byte, 0, 14+len(payload)), dst...), src...)
	return append(binary.BigEndian.AppendUint16(f, kind), payload...)
}

// udpFrame is a datagram to the discard port that carries mark.
func udpFrame(src, dst station, mark []byte) []byte {
	ip := make([]byte, 28, 28+len(mark))
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(ip[2:], uint16(28+len(mark)))
	copy(ip[12:], src.ip.AsSlice())
	copy(ip[16:], dst.ip.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:20]))
	binary.BigEndian.PutUint16(ip[20:], 40000)
	binary.BigEndian.PutUint16(ip[22:], 9)
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(mark)))
	return etherFrame(dst.mac, src.mac, etherIPv4, append(ip, mark...))
}

// arpFrame is a reply that claims sender's address, sent by mac; mark stands in the
// padding.
func arpFrame(mac net.HardwareAddr, sender, target station, mark []byte) []byte {
	a := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	a = append(append(a, sender.mac...), sender.ip.AsSlice()...)
	a = append(append(a, target.mac...), target.ip.AsSlice()...)
	return etherFrame(target.mac, mac, etherARP, append(a, mark...))
}

func tagged(frame []byte, vlan uint16) []byte {
	out := append(make([]byte, 0, len(frame)+4), frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, etherVLAN)
	out = binary.BigEndian.AppendUint16(out, vlan)
	return append(out, frame[12:]...)
}

func checksum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
