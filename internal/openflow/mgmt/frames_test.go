package mgmt

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
	"neutrino/internal/openflow"
)

func ifindex() (int, error) {
	l, err := net.InterfaceByName("eth0")
	if err != nil {
		return 0, err
	}
	return l.Index, nil
}

func ether(src, dst openflow.MAC, kind uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	b = append(binary.BigEndian.AppendUint16(b, kind), payload...)
	for len(b) < 60 {
		b = append(b, 0)
	}
	return b
}

func arp(src, dst, sha openflow.MAC, spa netip.Addr) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, sha[:]...), spa.AsSlice()...)
	b = append(append(b, 0, 0, 0, 0, 0, 0), 10, 0, 0, 250)
	return ether(src, dst, 0x806, b)
}

func sum(b []byte, start uint32) uint16 {
	n := start
	for i := 0; i+1 < len(b); i += 2 {
		n += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

func udp(src, dst openflow.MAC, from, to netip.Addr, sport, dport uint16) []byte {
	u := binary.BigEndian.AppendUint16(nil, sport)
	u = binary.BigEndian.AppendUint16(u, dport)
	u = append(u, 0, 12, 0, 0, 'd', 'a', 't', 'a') // no checksum
	h := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], sum(h, 0))
	return ether(src, dst, 0x800, append(h, u...))
}

// advertisement is a router's, from the link-local address of the MAC.
func advertisement(src openflow.MAC) []byte {
	from, to := netip.MustParseAddr("fe80::f816:3eff:fe00:1"), netip.MustParseAddr("ff02::1")
	ra := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	pseudo := append(append([]byte{}, from.AsSlice()...), to.AsSlice()...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(ra)), 0, 0, 0, 58)
	binary.BigEndian.PutUint16(ra[2:], sum(append(pseudo, ra...), 0))
	h := []byte{0x60, 0, 0, 0, 0, byte(len(ra)), 58, 255}
	h = append(append(h, from.AsSlice()...), to.AsSlice()...)
	return ether(src, openflow.MAC{0x33, 0x33, 0, 0, 0, 1}, 0x86dd, append(h, ra...))
}

func tag(vlan uint16, f []byte) []byte {
	b := append([]byte{}, f[:12]...)
	b = append(b, 0x81, 0)
	b = binary.BigEndian.AppendUint16(b, vlan)
	return append(b, f[12:]...)
}

// strip takes a tag off.
func strip(f []byte) []byte {
	if f[12] != 0x81 || f[13] != 0 {
		return f
	}
	return append(append([]byte{}, f[:12]...), f[16:]...)
}

// ear hears what comes to a guest's interface.
type ear struct {
	t  testing.TB
	fd int
}

func (g *guest) hear(t testing.TB) *ear {
	t.Helper()
	e := &ear{t: t}
	err := netspace.Do(g.netns, func() (err error) {
		index, err := ifindex()
		if err != nil {
			return err
		}
		const everything = 0x0300 // ETH_P_ALL in network order
		if e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything); err != nil {
			return err
		}
		if err = unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: index}); err != nil {
			return err
		}
		mreq := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		return unix.SetsockoptPacketMreq(e.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(e.fd) })
	return e
}

// until returns what has come up to a frame.
func (e *ear) until(last []byte) map[string]bool {
	e.t.Helper()
	got := map[string]bool{}
	buf := make([]byte, 2048)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}, 200); n == 0 || err != nil {
			continue
		}
		n, _, err := unix.Recvfrom(e.fd, buf, 0)
		if err != nil {
			e.t.Fatal(err)
		}
		got[string(buf[:n])] = true
		if string(buf[:n]) == string(last) {
			return got
		}
	}
	e.t.Fatal("what a port may send does not come either")
	return nil
}
