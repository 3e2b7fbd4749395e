package mgmt

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// ErrUnavailable: the bridge's socket does not answer.
var ErrUnavailable = errors.New("the bridge's management socket does not answer")

// deadline bounds one exchange with a bridge.
const deadline = 20 * time.Second

// conn is a connection in one version of OpenFlow. One exchange goes on at a time; a goroutine
// reads, so that the bridge's echoes are answered and its end is noticed at any time.
type conn struct {
	net     net.Conn
	version uint8
	done    chan struct{} // closed when the reader has ended
	err     error         // why; read after done

	wmu sync.Mutex
	xid uint32

	mu sync.Mutex
	on func(header, []byte) // takes what comes; nil = nobody asks
}

// dial connects. The socket of a bridge that is being made may not be there yet: that is
// ErrUnavailable like any other failure.
func dial(ctx context.Context, socket string, version uint8) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var d net.Dialer
	n, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c := &conn{net: n, version: version, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, func() { n.Close() })
	defer stop()
	if err = c.hello(); err != nil {
		n.Close()
		return nil, fmt.Errorf("%w: greet %s in OpenFlow version %d: %w", ErrUnavailable, socket, version, err)
	}
	go c.read()
	return c, nil
}

func (c *conn) hello() error {
	hello, err := message(c.version, typeHello, 0, nil)
	if err != nil {
		return err
	}
	if _, err = c.net.Write(hello); err != nil {
		return err
	}
	h, body, err := next(c.net)
	switch {
	case err != nil:
		return err
	case h.kind == typeError:
		return parseError(body)
	case h.kind != typeHello:
		return fmt.Errorf("%w: message %d in place of a greeting", ErrProtocol, h.kind)
	case h.version < c.version:
		return fmt.Errorf("%w: it speaks version %d at most; look at column protocols of the bridge", ErrProtocol, h.version)
	}
	return nil
}

// next reads one message.
func next(r io.Reader) (header, []byte, error) {
	var head [headerLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return header{}, nil, err
	}
	h, err := parseHeader(head[:])
	if err != nil {
		return header{}, nil, err
	}
	body := make([]byte, int(h.length)-headerLen)
	_, err = io.ReadFull(r, body)
	return h, body, err
}

func (c *conn) read() {
	defer close(c.done)
	r := bufio.NewReaderSize(c.net, 1<<16)
	for {
		h, body, err := next(r)
		if err != nil {
			c.err = err
			c.net.Close()
			return
		}
		if h.kind == typeEchoRequest {
			reply, err := message(c.version, typeEchoReply, h.xid, body)
			if err == nil {
				_ = c.write(reply) // one that is lost ends the connection
			}
			continue
		}
		c.mu.Lock()
		if c.on != nil {
			c.on(h, body)
		}
		c.mu.Unlock()
	}
}

func (c *conn) write(b []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_, err := c.net.Write(b)
	return err
}

// id returns the next number of a message. One exchange at a time asks.
func (c *conn) id() uint32 {
	c.xid++
	return c.xid
}

// answer is what came in an exchange.
type answer struct {
	header
	body []byte
}

// exchange writes messages and reads until take says that it has all, or fails.
func (c *conn) exchange(ctx context.Context, messages []byte, take func(answer) (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	result := make(chan error, 1)
	finished := false
	c.mu.Lock()
	c.on = func(h header, body []byte) {
		if finished {
			return
		}
		if done, err := take(answer{h, body}); done || err != nil {
			finished = true
			result <- err
		}
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.on = nil
		c.mu.Unlock()
	}()
	stop := context.AfterFunc(ctx, func() { c.net.Close() })
	defer stop()
	werr := c.write(messages)
	select {
	case err := <-result:
		return err
	case <-c.done:
		select {
		case err := <-result: // both happened
			return err
		default:
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		return fmt.Errorf("%w: %w", ErrUnavailable, errors.Join(werr, c.err))
	}
}

func (c *conn) close() {
	c.net.Close()
	<-c.done
}

// ended reports whether the other side is gone.
func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// flows asks for our flows.
func (c *conn) flows(ctx context.Context) (map[flowID]int, error) {
	xid := c.id()
	ask, err := message(c.version, typeMultipart, xid, askFlows())
	if err != nil {
		return nil, err
	}
	out := map[flowID]int{}
	err = c.exchange(ctx, ask, func(a answer) (bool, error) {
		if a.xid != xid {
			return false, nil
		}
		if a.kind == typeError {
			return false, parseError(a.body)
		}
		if a.kind != typeMultiReply {
			return false, fmt.Errorf("%w: message %d answers the question for flows", ErrProtocol, a.kind)
		}
		more, perr := parseFlows(a.body, func(id flowID) { out[id]++ })
		return !more, perr
	})
	if err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	return out, nil
}

// bundle carries out changes, each the body of a flow mod, in one step.
func (c *conn) bundle(ctx context.Context, mods [][]byte) error {
	var out []byte
	put := func(xid uint32, kind uint8, body []byte) error {
		b, err := message(c.version, kind, xid, body)
		out = append(out, b...)
		return err
	}
	control := func(kind uint16) []byte {
		b := binary.BigEndian.AppendUint32(nil, 1)
		b = binary.BigEndian.AppendUint16(b, kind)
		return binary.BigEndian.AppendUint16(b, bundleFlags)
	}
	first := c.xid + 1
	if err := put(c.id(), typeBundle, control(bundleOpen)); err != nil {
		return err
	}
	for _, mod := range mods {
		xid := c.id()
		inner, err := message(c.version, typeFlowMod, xid, mod)
		if err != nil {
			return err
		}
		if err = put(xid, typeBundleAdd, append([]byte{0, 0, 0, 1, 0, 0, 0, bundleFlags}, inner...)); err != nil {
			return err
		}
	}
	last := c.id()
	if err := put(last, typeBundle, control(bundleCommit)); err != nil {
		return err
	}
	return c.exchange(ctx, out, func(a answer) (bool, error) {
		switch {
		case a.xid < first || a.xid > last:
			return false, nil
		case a.kind == typeError:
			return false, parseError(a.body)
		}
		return a.xid == last && a.kind == typeBundle, nil
	})
}
