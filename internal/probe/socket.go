package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"neutrino/internal/trunk"
)

const (
	receiveBuffer = 8 << 20 // bytes: a second of large frames at the highest rate
	headerSize    = 14
	doubleTagged  = trunk.MaxVLAN + 1 // reported for a frame with two tags

	auxStatusVLANValid = 1 << 4 // TP_STATUS_VLAN_VALID
)

// socket is a packet socket on one uplink, in promiscuous mode while it is open.
type socket struct {
	file *os.File
	raw  syscall.RawConn
	mac  [6]byte
	mtu  int
}

// filter accepts probes, untagged, with one tag or with two, and LLDP. Of the outer tag
// the kernel shows nothing here: it is in the auxiliary data.
var filter = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: trunk.EtherType, SkipTrue: 5},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: trunk.EtherTypeLLDP, SkipTrue: 4},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: trunk.EtherTypeVLAN, SkipFalse: 2},
	bpf.LoadAbsolute{Off: 16, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: trunk.EtherType, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
	bpf.RetConstant{Val: 1 << 16},
}

// openSocket opens one in the calling thread's namespace.
func openSocket(name string) (*socket, error) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("find uplink %s: %w", name, err)
	}
	switch {
	case nic.Flags&net.FlagUp == 0:
		return nil, fmt.Errorf("uplink %s is down", name)
	case len(nic.HardwareAddr) != 6:
		return nil, fmt.Errorf("uplink %s is no Ethernet device", name)
	}
	// Protocol 0: nothing is received before the filter is there and it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", name, err)
	}
	s := &socket{file: os.NewFile(uintptr(fd), "packet:"+name), mac: [6]byte(nic.HardwareAddr), mtu: nic.MTU}
	if err = s.set(fd, nic.Index); err == nil {
		s.raw, err = s.file.SyscallConn()
	}
	if err != nil {
		_ = s.file.Close()
		return nil, fmt.Errorf("set up the packet socket on %s: %w", name, err)
	}
	return s, nil
}

func (s *socket) set(fd, index int) error {
	code, err := bpf.Assemble(filter)
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	prog := make([]unix.SockFilter, len(code))
	for i, c := range code {
		prog[i] = unix.SockFilter{Code: c.Op, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("ask for VLAN tags: %w", err)
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("leave out what is sent: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) // drops are counted and told
	if err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}); err != nil {
		return fmt.Errorf("make it promiscuous: %w", err)
	}
	return nil
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}

// read gives every frame to hear until the socket is shut: the EtherType, the VLAN (0 =
// untagged) and what stands behind the EtherType.
func (s *socket) read(hear func(etherType, vlan int, b []byte)) error {
	buf, oob := make([]byte, 1<<16), make([]byte, 256)
	for {
		n, oobn := 0, 0
		var failed error
		err := s.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err != nil:
			return nil //nolint:nilerr // the deadline that shut sets, or close: the end that was asked for
		case errors.Is(failed, unix.EINTR):
		case failed != nil: // ENETDOWN: the uplink went down or away
			return fmt.Errorf("listen: %w", failed)
		default:
			if etherType, vlan, b, ok := split(buf[:n], oob[:oobn]); ok {
				hear(etherType, vlan, b)
			}
		}
	}
}

// split takes a frame apart as the kernel delivers it.
func split(b, oob []byte) (etherType, vlan int, payload []byte, ok bool) {
	if len(b) < headerSize {
		return 0, 0, nil, false
	}
	vlan = auxVLAN(oob)
	etherType, payload = int(binary.BigEndian.Uint16(b[12:])), b[headerSize:]
	if etherType == trunk.EtherTypeVLAN {
		if len(payload) < 4 {
			return 0, 0, nil, false
		}
		inner := int(binary.BigEndian.Uint16(payload)) & 0xfff
		etherType, payload = int(binary.BigEndian.Uint16(payload[2:])), payload[4:]
		if vlan == 0 {
			vlan = inner
		} else {
			vlan = doubleTagged
		}
	}
	return etherType, vlan, payload, true
}

// auxVLAN reads struct tpacket_auxdata: status, len, snaplen (32 bits each), mac, net,
// vlan_tci, vlan_tpid (16 bits each). A priority tag (VLAN 0) is no tag.
func auxVLAN(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 &&
			binary.NativeEndian.Uint32(m.Data)&auxStatusVLANValid != 0 {
			return int(binary.NativeEndian.Uint16(m.Data[16:])) & 0xfff
		}
	}
	return 0
}

// send puts one frame on the wire. A full queue is waited for until the deadline that
// the caller has set.
func (s *socket) send(frame []byte) error {
	var failed error
	err := s.raw.Write(func(fd uintptr) bool {
		_, failed = unix.Write(int(fd), frame)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err != nil {
		return err
	}
	return failed
}

// shut makes read return.
func (s *socket) shut() { _ = s.file.SetReadDeadline(time.Unix(1, 0)) }

// dropped returns how many frames the kernel had no room for.
func (s *socket) dropped() (n uint32) {
	_ = s.raw.Control(func(fd uintptr) {
		if st, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n = st.Drops
		}
	})
	return n
}

func (s *socket) close() { _ = s.file.Close() }
