package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"neutrino/internal/bench"
	"neutrino/internal/machine"
)

// Server answers measurements. Its fields are set before Serve and not changed after.
type Server struct {
	Limits Limits
	// Who may measure; empty = who is on a network of one of this host's interfaces.
	Allow []netip.Prefix
	// How many may measure at the same time; more would measure each other.
	Sessions int
	// Processors of the loops; empty = any, or those of the NIC's node where the client asks for it.
	CPUs machine.CPUList
	// What is said of this machine, given the interface through which the client comes; nil = nothing.
	Environment func(link string) bench.Environment
	Log         *slog.Logger
	// Within runs what makes sockets, for a server in another network namespace; nil = here.
	Within func(func() error) error

	mu      sync.Mutex
	waiting map[[tokenSize]byte]*gathering
	busy    int
}

// Idle is how long a client may think between two measurements.
const idle = 2 * time.Minute

// strangers is how many connections may be open before they have said what they are.
const strangers = 64

// Serve answers on a listener until ctx ends, which also ends what is being measured, and returns when
// everything of it is over.
func (s *Server) Serve(ctx context.Context, l *net.TCPListener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	s.waiting = map[[tokenSize]byte]*gathering{}
	room := make(chan struct{}, strangers)
	for {
		c, err := l.AcceptTCP()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept connections: %w", err)
			}
			s.Log.Warn("Accept a connection", "error", err)
			select { // out of descriptors, or a connection gone: not in a tight loop
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		select {
		case room <- struct{}{}:
		default:
			c.Close()
			continue
		}
		all.Go(func() {
			known := sync.OnceFunc(func() { <-room })
			defer known()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			s.meet(ctx, c, known)
		})
	}
}

// meet finds out what a connection is for.
func (s *Server) meet(ctx context.Context, c *net.TCPConn, known func()) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	log := s.Log.With("client", from)
	if !s.allowed(from) {
		log.Warn("Client is not among those who may measure")
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_ = writeMessage(c, &message{Refused: &refused{Why: fmt.Sprintf("%s is not among those who may measure here: start the server with --allow", from)}})
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	word := make([]byte, attachSize)
	_, err := io.ReadFull(c, word[:8])
	switch {
	case err != nil:
	case bytes.Equal(word[:8], controlMagic[:]):
		known()
		_ = c.SetDeadline(time.Time{})
		s.control(ctx, c, from, log)
	case bytes.Equal(word[:7], controlMagic[:7]):
		_ = writeMessage(c, &message{Refused: &refused{Why: fmt.Sprintf("this server speaks version %d of the protocol, the client version %d: use the same neutrino on both ends", Version, word[7])}})
	case bytes.Equal(word[:8], flowMagic[:]):
		if _, err = io.ReadFull(c, word[8:]); err == nil && s.join(c, word, from) {
			return
		}
	default:
		log.Debug("Connection that is neither a client nor a flow")
	}
	c.Close()
}

// join hands a flow to the measurement that waits for it.
func (s *Server) join(c *net.TCPConn, word []byte, from netip.Addr) bool {
	token, flow, err := parseAttach(word)
	if err != nil {
		return false
	}
	s.mu.Lock()
	g := s.waiting[token]
	s.mu.Unlock()
	return g != nil && g.from == from && g.take(c, flow)
}

func (s *Server) allowed(a netip.Addr) bool {
	for _, p := range s.Allow {
		if p.Contains(a.WithZone("")) {
			return true
		}
	}
	return len(s.Allow) == 0 && s.near(a)
}

// near says whether an address is on a network of one of this host's interfaces.
func (s *Server) near(a netip.Addr) bool {
	var addrs []net.Addr
	err := s.within(func() (err error) { addrs, err = net.InterfaceAddrs(); return err })
	for _, n := range addrs {
		if p, e := netip.ParsePrefix(n.String()); e == nil && p.Contains(a.WithZone("")) {
			return err == nil
		}
	}
	return false
}

func (s *Server) within(fn func() error) error {
	if s.Within == nil {
		return fn()
	}
	return s.Within(fn)
}

// enter takes one of the places of those who measure.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy >= max(s.Sessions, 1) {
		return false
	}
	s.busy++
	return true
}

func (s *Server) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
}

// control speaks with a client until it goes.
func (s *Server) control(ctx context.Context, c *net.TCPConn, from netip.Addr, log *slog.Logger) {
	if !s.enter() {
		_ = c.SetDeadline(time.Now().Add(patience))
		_ = writeMessage(c, &message{Refused: &refused{Busy: true, Why: "somebody else is measuring with this server: try again later"}})
		return
	}
	defer s.leave()
	log.Info("Client has come")
	n := 0
	err := s.answer(ctx, c, from, &n)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		log.Info("Client has gone", "measurements", n)
	default:
		log.Warn("Client was sent away", "measurements", n, "error", err)
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_ = writeMessage(c, &message{Refused: &refused{Why: err.Error()}})
	}
}

// answer carries out what the client asks for; it ends with an error, io.EOF when the client has all it wants.
func (s *Server) answer(ctx context.Context, c *net.TCPConn, from netip.Addr, n *int) error {
	if err := s.say(c, &message{Welcome: &welcome{Limits: s.Limits, Environment: s.environment(c)}}); err != nil {
		return err
	}
	for {
		_ = c.SetReadDeadline(time.Now().Add(idle))
		m, err := readMessage(c)
		if err != nil {
			return err
		}
		if m.Begin == nil {
			return fmt.Errorf("something else where a measurement begins: %w", ErrProtocol)
		}
		if err = s.measure(ctx, c, from, *m.Begin); err != nil {
			return err
		}
		*n++
	}
}

// environment is this machine, with the interface that a client comes through.
func (s *Server) environment(c *net.TCPConn) (e bench.Environment) {
	if s.Environment == nil {
		return e
	}
	_ = s.within(func() error {
		link, err := Link(c.LocalAddr().(*net.TCPAddr).AddrPort().Addr())
		e = s.Environment(link)
		return err
	})
	return e
}

// say sends a message, within patience.
func (s *Server) say(c net.Conn, m *message) error {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	return writeMessage(c, m)
}
