package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Limits of RFC 4861, 10, and our own on unicast answers.
const (
	initialInterval  = 16 * time.Second       // MAX_INITIAL_RTR_ADVERT_INTERVAL
	initialCount     = 3                      // MAX_INITIAL_RTR_ADVERTISEMENTS
	betweenMulticast = 3 * time.Second        // MIN_DELAY_BETWEEN_RAS
	answerDelay      = 500 * time.Millisecond // MAX_RA_DELAY_TIME
	unicastBurst     = 64
	unicastEvery     = 50 * time.Millisecond // one more is allowed each
)

// Server advertises on one interface. It is safe for concurrent use.
type Server struct {
	conn *packet.Conn
	mac  net.HardwareAddr
	src  netip.Addr
	log  *slog.Logger

	asked   chan ask
	updated chan Config
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
	closing atomic.Bool
	err     error
	done    chan struct{} // closed when it hears nothing more

	mu     sync.Mutex
	config Config
}

// ask is one solicitation.
type ask struct {
	mac net.HardwareAddr
	src netip.Addr
}

// NewServer starts to advertise on the named interface of the calling thread's network
// namespace (see netspace.Do); its socket stays there. The interface must be Ethernet, and
// up. The caller closes it.
func NewServer(ifname string, c Config, log *slog.Logger) (*Server, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("advertise on %s: %w", ifname, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("advertise on %s: it is not Ethernet", ifname)
	}
	filter, err := bpf.Assemble(onlySolicitations)
	if err != nil {
		return nil, fmt.Errorf("advertise on %s: assemble filter: %w", ifname, err)
	}
	conn, err := packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("advertise on %s: %w", ifname, err)
	}
	if err := hearRouters(conn, ifi.Index); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("advertise on %s: join all routers: %w", ifname, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		conn: conn, mac: ifi.HardwareAddr, src: LinkLocal(ifi), log: log, config: c, cancel: cancel,
		asked: make(chan ask, unicastBurst), updated: make(chan Config, 1), done: make(chan struct{}),
	}
	s.wg.Add(2)
	go s.listen()
	go s.tell(ctx, c)
	return s, nil
}

// hearRouters makes the NIC hand up what is sent to all routers.
func hearRouters(conn *packet.Conn, index int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var joined error
	err = raw.Control(func(fd uintptr) {
		m := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_MULTICAST, Alen: 6}
		copy(m.Address[:], allRouters[:])
		joined = unix.SetsockoptPacketMreq(int(fd), unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &m)
	})
	return errors.Join(err, joined)
}

// Update changes what is told; hosts hear of a difference at once, within the limits.
func (s *Server) Update(c Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.Equal(c) {
		return
	}
	s.config = c
	select {
	case <-s.updated: // nobody has seen it
	default:
	}
	s.updated <- c
}

// Done is closed when the server hears nothing more: after Close, or because its socket failed.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends it silently and waits: hosts go on with what they know, so that one who starts
// again interrupts nothing.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.closing.Store(true)
		s.cancel()
		s.err = s.conn.Close()
	})
	s.wg.Wait()
	return s.err
}

// Withdraw closes the server and tells hosts that it is no router any more (RFC 4861, 6.2.5).
func (s *Server) Withdraw() error {
	s.mu.Lock()
	last := s.config
	s.mu.Unlock()
	last.RouterLifetime = 0
	return errors.Join(s.send(last, allNodesMAC, allNodes), s.Close())
}

// listen hands on solicitations; those that come faster than they can be looked at are lost.
func (s *Server) listen() {
	defer s.wg.Done()
	defer close(s.done)
	buf := make([]byte, 65536)
	for downs := 0; ; {
		n, _, err := s.conn.ReadFrom(buf)
		switch {
		case err == nil:
			downs = 0
			if mac, src, ok := parse(buf[:n]); ok {
				select {
				case s.asked <- ask{mac, src}:
				default:
				}
			}
		case s.closing.Load(): // a read that is cut off by Close says so in several ways
			return
		case errors.Is(err, unix.ENETDOWN) && downs < 100:
			downs++ // said once a time that the link goes down; the socket works again when it is up
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		default:
			s.log.Error("router solicitations are not heard any more", "err", err)
			return
		}
	}
}

// tell sends advertisements until the context ends.
func (s *Server) tell(ctx context.Context, c Config) {
	defer s.wg.Done()
	p := newPace(time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c = <-s.updated:
			p.restart(time.Now())
		case a := <-s.asked:
			now := time.Now()
			if !a.src.IsUnspecified() && p.unicast(now) {
				s.try(c, a.mac, a.src)
				continue
			}
			p.asked(now, rand.N(answerDelay))
		case now := <-timer.C:
			if p.due(now) {
				s.try(c, allNodesMAC, allNodes)
				least, most := c.intervals()
				p.sent(time.Now(), least+rand.N(most-least+1))
			}
		}
		timer.Reset(time.Until(p.next))
	}
}

// try sends one; a link that is down gets the next.
func (s *Server) try(c Config, mac net.HardwareAddr, to netip.Addr) {
	if err := s.send(c, mac, to); err != nil && !s.closing.Load() && !errors.Is(err, unix.ENETDOWN) {
		s.log.Warn("router advertisement not sent", "to", to, "err", err)
	}
}

func (s *Server) send(c Config, mac net.HardwareAddr, to netip.Addr) error {
	body, err := marshal(c, s.mac, s.src, to)
	if err != nil {
		return err
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return fmt.Errorf("advertise to %s: %w", to, err)
	}
	if _, err := s.conn.WriteTo(build(s.mac, mac, s.src, to, body), &packet.Addr{HardwareAddr: mac}); err != nil {
		return fmt.Errorf("advertise to %s: %w", to, err)
	}
	return nil
}
