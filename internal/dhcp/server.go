package dhcp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"neutrino/internal/ra"
)

// Server answers on one interface, DHCPv4 and DHCPv6. Its network may be replaced at any time.
type Server struct {
	view  atomic.Pointer[View]
	ends  []*end
	mac   net.HardwareAddr
	local netip.Addr // link-local, from which DHCPv6 is answered
	log   *slog.Logger
	m     *metrics
	down  func() // told when the link went down or away

	once    sync.Once
	closing atomic.Bool
	done    chan struct{} // closed when the loops have ended, or one has failed

	mu  sync.Mutex
	err error // why a loop ended
	wg  sync.WaitGroup
}

// end is where one of the protocols is spoken.
type end struct {
	conn  *packet.Conn
	guard int // a bound UDP socket, see guardPort
	serve func(frame []byte)
}

func (e *end) close() error { return errors.Join(e.conn.Close(), unix.Close(e.guard)) }

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
	s := &Server{mac: ifi.HardwareAddr, local: ra.LinkLocal(ifi), log: log, m: m, down: down, done: make(chan struct{})}
	s.view.Store(v)
	four, err := open(ifi, unix.ETH_P_IP, onlyServerPort, guardPort, s.serve)
	if err != nil {
		return nil, fmt.Errorf("serve DHCP on %s: %w", ifname, err)
	}
	s.ends = append(s.ends, four)
	six, err := open(ifi, unix.ETH_P_IPV6, onlyServerPort6, guardPort6, s.serve6)
	switch {
	case err == nil:
		s.ends = append(s.ends, six)
	case v.six != nil:
		log.Warn("DHCPv6 is not served: IPv6 seems to be switched off on this machine", "err", err)
	}
	s.wg.Add(len(s.ends))
	for _, e := range s.ends {
		go s.loop(e)
	}
	return s, nil
}

// open makes the sockets of one protocol.
func open(ifi *net.Interface, proto int, only []bpf.Instruction, guard func(*net.Interface) (int, error), serve func([]byte)) (*end, error) {
	filter, err := bpf.Assemble(only)
	if err != nil {
		return nil, fmt.Errorf("assemble filter: %w", err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, proto, &packet.Config{Filter: filter})
	if err != nil {
		return nil, err
	}
	held, err := guard(ifi)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &end{conn: conn, guard: held, serve: serve}, nil
}

// Update replaces the network that is served.
func (s *Server) Update(v *View) { s.view.Store(v) }

// Done is closed when the loop has ended: after Close, or because the interface went.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err says why the server ended; nil after Close. Call it after Done.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the loops and waits for them.
func (s *Server) Close() error {
	var errs []error
	s.once.Do(func() {
		s.closing.Store(true)
		for _, e := range s.ends {
			errs = append(errs, e.close())
		}
	})
	s.wg.Wait()
	s.ended(nil)
	return errors.Join(errs...)
}

// ended notes that a loop has failed, or (nil) that all have ended.
func (s *Server) ended(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		s.err = err
		close(s.done)
	}
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
func guardPort(ifi *net.Interface) (int, error) {
	return bindGuard(unix.AF_INET, ifi.Name, &unix.SockaddrInet4{Port: serverPort}, func(int) error { return nil })
}

// guardPort6 does so for DHCPv6, and has the NIC hand up what is sent to all servers.
func guardPort6(ifi *net.Interface) (int, error) {
	return bindGuard(unix.AF_INET6, ifi.Name, &unix.SockaddrInet6{Port: serverPort6}, func(fd int) error {
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: allServers.As16(), Interface: uint32(ifi.Index)})
	})
}

func bindGuard(family int, ifname string, to unix.Sockaddr, more func(fd int) error) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	steps := []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) },
		func() error { return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, ifname) },
		func() error { return attachDropAll(fd) },
		func() error { return unix.Bind(fd, to) },
		func() error { return more(fd) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			_ = unix.Close(fd)
			return -1, fmt.Errorf("hold the server's UDP port: %w", err)
		}
	}
	return fd, nil
}

func attachDropAll(fd int) error {
	prog := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}

func (s *Server) loop(e *end) {
	defer s.wg.Done()
	buf := make([]byte, 65536)
	downs := 0
	for {
		n, _, err := e.conn.ReadFrom(buf)
		switch {
		case err == nil:
			downs = 0
			e.serve(buf[:n])
		case s.closing.Load(): // a read that is cut off by Close says so in several ways
			return
		case errors.Is(err, unix.ENETDOWN) && downs < 100:
			// Said once when the link goes down; the socket works again when it is up.
			// A link that is deleted says so as well, and then blocks for good: the
			// owner of the namespace notices that.
			downs++
			s.down()
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		default:
			s.ended(fmt.Errorf("receive DHCP requests: %w", err))
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
	if err := s.ends[0].send(out, mac); err != nil {
		s.m.failures.Inc()
		log.Warn("DHCP reply not sent", "err", err)
		return
	}
	log.Info("DHCP", "address", addr(reply.YourIPAddr), "relay", addr(a.req.GatewayIPAddr))
}

func (e *end) send(frame []byte, to net.HardwareAddr) error {
	if err := e.conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err := e.conn.WriteTo(frame, &packet.Addr{HardwareAddr: to})
	return err
}

// typeLabel keeps made-up message types from making metrics grow.
func typeLabel(s string) string {
	switch s {
	case "DISCOVER", "REQUEST", "DECLINE", "RELEASE", "INFORM",
		"SOLICIT", "CONFIRM", "RENEW", "REBIND", "INFORMATION-REQUEST":
		return s
	default:
		return "other"
	}
}
