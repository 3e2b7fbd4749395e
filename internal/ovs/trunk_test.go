package ovs

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// tap is a socket that sees every frame that comes in on a netdev, with its VLAN tag.
func tap(t *testing.T, netns, netdev string) int {
	t.Helper()
	fd := -1
	err := netspace.Do(netns, func() error {
		all := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)))
		var err error
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all); err != nil {
			return err
		}
		l, err := net.InterfaceByName(netdev)
		if err != nil {
			return err
		}
		if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
			return err
		}
		if err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200_000}); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: l.Index})
	})
	if fd >= 0 {
		t.Cleanup(func() { _ = unix.Close(fd) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// send sends a frame from a netdev.
func send(t *testing.T, netns, netdev, frame string) {
	t.Helper()
	err := netspace.Do(netns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		l, err := net.InterfaceByName(netdev)
		if err != nil {
			return err
		}
		return unix.Sendto(fd, []byte(frame), 0, &unix.SockaddrLinklayer{Ifindex: l.Index, Halen: 6})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// frame reads one incoming frame: who sent it, and its tags, outermost first.
func frame(fd int) (from string, tags []int, ok bool) {
	buf, oob := make([]byte, 2048), make([]byte, 256)
	n, oobn, _, addr, err := unix.Recvmsg(fd, buf, oob, 0)
	if err != nil || n < 18 {
		return "", nil, false
	}
	if a, isLink := addr.(*unix.SockaddrLinklayer); isLink && a.Pkttype == unix.PACKET_OUTGOING {
		return "", nil, false
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return "", nil, false
	}
	for _, m := range msgs { // struct tpacket_auxdata
		if m.Header.Type == unix.PACKET_AUXDATA && binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
			tags = append(tags, int(binary.NativeEndian.Uint16(m.Data[16:])&0xfff))
		}
	}
	for at := 12; at+4 <= n && binary.BigEndian.Uint16(buf[at:]) == unix.ETH_P_8021Q; at += 4 {
		tags = append(tags, int(binary.BigEndian.Uint16(buf[at+2:])&0xfff))
	}
	return net.HardwareAddr(buf[6:12]).String(), tags, true
}

// Each port's frames are on the wire with exactly its network's tag, those of a flat network
// with none, and those of a port on the dead VLAN not at all.
func TestTrunkCarriesExactlyTheTagOfTheNetwork(t *testing.T) {
	r := start(t)
	a, b, flat, dead := port(1, 101), port(2, 4094), port(3, 0), port(4, 101)
	dead.Internal = false
	r.settle(a, b, flat)
	r.Vsctl("add-port", br, Name(dead.ID), "--", "set", "Interface", Name(dead.ID), "type=internal", "external_ids:iface-id="+dead.ID)
	r.settle(a, b, flat, dead)
	r.settle(a, b, flat) // it is not bound here any more
	want := map[string][]int{a.MAC: {101}, b.MAC: {4094}, flat.MAC: nil}
	fd := tap(t, r.Netns, "wire")
	for n, p := range []Port{a, b, flat, dead} {
		ns := r.station(p, fmt.Sprintf("10.0.%d.1/24", n))
		if p.ID == dead.ID {
			r.Run("ip", "-n", ns, "link", "set", Name(p.ID), "address", p.MAC)
		}
		r.Run("ip", "-n", ns, "neigh", "replace", fmt.Sprintf("10.0.%d.2", n), "lladdr", "fa:16:3e:99:99:99", "dev", Name(p.ID))
		_ = r.Try("ip", "netns", "exec", ns, "busybox", "ping", "-c", "1", "-W", "1", fmt.Sprintf("10.0.%d.2", n))
	}
	// An instance of a flat network that tags its frames itself is in no other network.
	send(t, r.Netns+"-"+Name(flat.ID), Name(flat.ID), "\xff\xff\xff\xff\xff\xff\xfa\x16\x3e\x00\x00\x03\x81\x00\x00\x65\x08\x06"+strings.Repeat("\x00", 46))
	seen := map[string]int{}
	quiet := 0 // reads in a row that found nothing
	for end := time.Now().Add(time.Minute); (len(seen) < len(want) || quiet < 5) && time.Now().Before(end); {
		from, tags, ok := frame(fd)
		if !ok {
			quiet++
			continue
		}
		quiet = 0
		expected, ours := want[from]
		if from == dead.MAC || ours && !slices.Equal(tags, expected) {
			t.Errorf("a frame of %s has tags %v, want %v", from, tags, expected)
		}
		if ours {
			seen[from]++
		}
	}
	if len(seen) < len(want) {
		t.Errorf("frames seen: %v, want some of each of %v", seen, want)
	}
}
