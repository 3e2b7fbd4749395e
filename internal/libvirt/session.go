package libvirt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
)

const (
	// openTimeout bounds connecting, authentication included. A daemon that is started by
	// its socket asks QEMU what it can do before it answers.
	openTimeout = 30 * time.Second
	// closeTimeout bounds taking leave; the socket is closed afterwards in any case.
	closeTimeout = 2 * time.Second
)

// session is one connection. Its calls are made by one goroutine at a time, never by one
// that hands on events: go-libvirt's reader must not wait for itself.
type session struct {
	*rpc.Libvirt
	ctx  context.Context
	conn *frames
	stop func() bool // of closing at the end of ctx
	subs []func()    // end subscriptions
}

// open connects. Every call of the session ends, with an error, once ctx has ended.
// Errors are ErrUnavailable, or the end of ctx.
func (e endpoint) connect(ctx context.Context) (*session, error) {
	octx, cancel := context.WithTimeoutCause(ctx, openTimeout, errTimeout)
	defer cancel()
	conn, err := e.dial(octx)
	if err != nil {
		return nil, err
	}
	s := &session{Libvirt: rpc.NewWithDialer(conn), ctx: ctx, conn: conn}
	abort := context.AfterFunc(octx, conn.cut)
	err = s.ConnectToURI(e.open)
	if !abort() && err == nil {
		err = context.Cause(octx)
	}
	if err != nil {
		conn.cut()
		if octx.Err() != nil {
			return nil, fmt.Errorf("connect to libvirt at %s: %w", conn.path, context.Cause(octx))
		}
		return nil, fmt.Errorf("%w: open %s at %s: %w", ErrUnavailable, e.open, conn.path, err)
	}
	s.stop = context.AfterFunc(ctx, conn.cut)
	return s, nil
}

// dial connects to the first socket that answers.
func (e endpoint) dial(ctx context.Context) (*frames, error) {
	var d net.Dialer
	var whys []string
	hint := "start it: systemctl start virtqemud.socket, or libvirtd.socket"
	for _, path := range e.sockets {
		c, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			return &frames{Conn: c, path: path}, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("connect to libvirt at %s: %w", path, context.Cause(ctx))
		}
		if errors.Is(err, fs.ErrPermission) {
			hint = "run as root, or join the socket's group"
		}
		whys = append(whys, err.Error())
	}
	return nil, fmt.Errorf("%w: %s (%s)", ErrUnavailable, strings.Join(whys, "; "), hint)
}

// close takes leave and waits for what the session has started.
func (s *session) close() {
	s.stop()
	guard := time.AfterFunc(closeTimeout, s.conn.cut)
	defer guard.Stop()
	if s.ctx.Err() != nil {
		s.conn.cut()
	}
	for _, end := range s.subs {
		end()
	}
	if err := s.Disconnect(); err != nil { // no answer to the farewell: then without
		s.conn.cut()
		select {
		case <-s.Disconnected():
		case <-time.After(closeTimeout):
		}
	}
}

// subscribe returns a channel of events of one kind, of all domains. It is closed when
// the connection ends.
func (s *session) subscribe(id rpc.DomainEventID) (<-chan any, error) {
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := s.SubscribeEvents(ctx, id, nil)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("subscribe to %s: %w", id, reply(s.ctx, err))
	}
	s.subs = append(s.subs, func() {
		cancel()
		for range ch { // the sender does not look at its context while it sends
			continue
		}
	})
	return ch, nil
}

// frames is a connection on which only packets of possible lengths are read. go-libvirt
// allocates what a packet announces, and does not survive one shorter than its header.
type frames struct {
	net.Conn
	path string
	once sync.Once

	head [4]byte // read by one goroutine
	have int     // bytes of head
	left uint32  // of the packet's rest
}

// A packet is its length, a header of 24 bytes and what goes with it; the limits are
// VIR_NET_MESSAGE_HEADER_MAX and VIR_NET_MESSAGE_MAX.
const (
	minPacket = 4 + 24
	maxPacket = 32<<20 + 4
)

// Dial implements go-libvirt's dialer: the connection is there already.
func (f *frames) Dial() (net.Conn, error) { return f, nil }

// Read implements net.Conn.
func (f *frames) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if f.left > 0 {
			k := min(int(f.left), len(b))
			f.left -= uint32(k)
			b = b[k:]
			continue
		}
		k := copy(f.head[f.have:], b)
		f.have += k
		b = b[k:]
		if f.have < len(f.head) {
			continue
		}
		f.have = 0
		size := binary.BigEndian.Uint32(f.head[:])
		if size < minPacket || size > maxPacket {
			return 0, fmt.Errorf("packet of %d bytes: this is not libvirt's protocol", size)
		}
		f.left = size - uint32(len(f.head))
	}
	return n, err
}

// Close implements net.Conn; it may be repeated.
func (f *frames) Close() error {
	f.cut()
	return nil
}

func (f *frames) cut() { f.once.Do(func() { f.Conn.Close() }) }
