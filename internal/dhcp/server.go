package dhcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Server answers on one interface. Its network may be replaced at any time.
type Server struct {
	view  atomic.Pointer[View]
	conn  *packet.Conn
	guard int // a bound UDP socket, see guardPort
	mac   net.HardwareAddr
	log   *slog.Logger
	m     *metrics
	down  func() // told when the link went down or away

	once sync.Once
	done chan struct{}
	err  error // why the loop ended; valid after done
}

// NewServer starts a server on the named interface of the calling thread's network
// namespace (see netspace.Do); its sockets stay there. The caller closes it.
func NewServer(ifname string, v *View, log *slog.Logger) (*Server, error) {
	m, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	return newServer(ifname, v, log, m, func() {})
}

func newServer(ifname string, v *View, log *slog.Logger, m *metrics, down func()) (*Server, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("serve DHCP on %s: %w", ifname, err)
	}
	filter, err := bpf.Assemble(onlyServerPort)
	if err != nil {
		return nil, fmt.Errorf("serve DHCP on %s: assemble filter: %w", ifname, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IP, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("serve DHCP on %s: %w", ifname, err)
	}
	guard, err := guardPort(ifname)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("serve DHCP on %s: %w", ifname, err)
	}
	s := &Server{conn: conn, guard: guard, mac: ifi.HardwareAddr, log: log, m: m, down: down, done: make(chan struct{})}
	s.view.Store(v)
	go s.loop()
	return s, nil
}

// Update replaces the network that is served.
func (s *Server) Update(v *View) { s.view.Store(v) }

// Done is closed when the loop has ended: after Close, or because the interface went.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the loop ended; nil after Close. Call it after Done.
func (s *Server) Err() error { return s.err }

// Close ends the loop and waits for it.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		err = errors.Join(s.conn.Close(), unix.Close(s.guard))
	})
	<-s.done
	return err
}

// onlyServerPort lets through unfragmented IPv4 UDP datagrams to port 67.
var onlyServerPort = []bpf.Instruction{
	bpf.LoadAbsolute{Off: etherLen + 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: etherLen + 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: etherLen},
	bpf.LoadIndirect{Off: etherLen + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: serverPort, SkipTrue: 1},
	bpf.RetConstant{Val: 65535},
	bpf.RetConstant{Val: 0},
}

// guardPort binds the server's UDP port and lets nothing into it. Without it the
// kernel would answer a renewing client's unicast with "port unreachable".
func guardPort(ifname string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	steps := []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifname) },
		func() error { return attachDropAll(fd) },
		func() error { return unix.Bind(fd, &unix.SockaddrInet4{Port: serverPort}) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("hold UDP port %d: %w", serverPort, err)
		}
	}
	return fd, nil
}

func attachDropAll(fd int) error {
	prog := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

func (s *Server) loop() {
	defer close(s.done)
	buf := make([]byte, 65536)
	downs := 0
	for {
		n, _, err := s.conn.ReadFrom(buf)
		switch {
		case err == nil:
			downs = 0
			s.serve(buf[:n])
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed):
			return
		case errors.Is(err, unix.ENETDOWN) && downs < 100:
			// Said once when the link goes down; the socket works again when it is up.
			// A link that is deleted says so as well, and then blocks for good: the
			// owner of the namespace notices that.
			downs++
			s.down()
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		default:
			s.err = fmt.Errorf("receive DHCP requests: %w", err)
			s.log.Error("DHCP server stops", "err", err)
			return
		}
	}
}

// serve answers one frame.
func (s *Server) serve(frame []byte) {
	a, err := parseFrame(frame)
	if errors.Is(err, errNotDHCP) {
		return
	}
	if err != nil {
		s.m.verdicts.WithLabelValues(string(Malformed)).Inc()
		s.log.Debug("malformed DHCP message", "from", net.HardwareAddr(frame[6:12]).String())
		return
	}
	v := s.view.Load()
	kind := a.req.MessageType()
	reply, verdict := Handle(v, a.req)
	s.m.requests.WithLabelValues(typeLabel(kind.String())).Inc()
	s.m.verdicts.WithLabelValues(string(verdict)).Inc()
	log := s.log.With("type", kind.String(), "mac", a.req.ClientHWAddr.String(), "verdict", string(verdict))
	if reply == nil {
		if verdict == Declined {
			log.Warn("a client found its address in use by somebody else", "address", requested(a.req))
			return
		}
		log.Debug("DHCP message not answered")
		return
	}
	mac, to, port := destination(a, reply)
	from := addr(reply.ServerIdentifier())
	out := buildFrame(s.mac, mac, from, to, port, reply.ToBytes())
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := s.conn.WriteTo(out, &packet.Addr{HardwareAddr: mac}); err != nil {
		s.m.failures.Inc()
		log.Warn("DHCP reply not sent", "err", err)
		return
	}
	log.Info("DHCP", "address", addr(reply.YourIPAddr), "relay", addr(a.req.GatewayIPAddr))
}

// typeLabel keeps made-up message types from making metrics grow.
func typeLabel(s string) string {
	switch s {
	case "DISCOVER", "REQUEST", "DECLINE", "RELEASE", "INFORM":
		return s
	default:
		return "other"
	}
}
