package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"neutrino/internal/bench"
	"neutrino/internal/machine"
)

// DefaultPort is where servers listen.
const DefaultPort = 9698

// Errors of a client.
var (
	ErrRefused = errors.New("the server refuses")
	ErrBusy    = errors.New("the server is measuring with somebody else")
	ErrSilent  = errors.New("no answer")
)

// Client measures to one peer. Its fields are set before Dial and not changed after. It serves one
// caller at a time.
type Client struct {
	// Processors of the loops; empty = any.
	CPUs machine.CPUList
	// The server is to use processors of its NIC's node.
	NUMA bool
	// How long the machine is listened to before each measurement; 0 = 300 ms.
	Listen time.Duration
	// Within runs what makes sockets, for a client in another network namespace; nil = here.
	Within func(func() error) error

	peer   netip.AddrPort
	local  netip.Addr
	conn   net.Conn
	Limits Limits // what the server allows
	// What the server says of its machine, and nil without one.
	Remote *bench.Environment
}

// Dial finds the server at peer. Without one, DialNobody measures what needs none.
func (c *Client) Dial(ctx context.Context, peer netip.AddrPort) error {
	err := c.within(func() (err error) {
		d := net.Dialer{Timeout: patience}
		c.conn, err = d.DialContext(ctx, "tcp", peer.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("reach the bench server: %w; does `neutrino bench serve` run there?", err)
	}
	c.peer, c.local = peer, c.conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if _, err = c.conn.Write(controlMagic[:]); err != nil {
		c.Close()
		return fmt.Errorf("greet the bench server: %w", err)
	}
	m, err := c.hear()
	if err == nil && m.Welcome == nil {
		err = fmt.Errorf("something else than a welcome: %w", ErrProtocol)
	}
	if err != nil {
		c.Close()
		return fmt.Errorf("bench server %s: %w", peer, err)
	}
	_ = c.conn.SetDeadline(time.Time{})
	c.Limits, c.Remote = m.Welcome.Limits, &m.Welcome.Environment
	return nil
}

// DialNobody is for a peer without a server, to which only ICMP can be measured.
func (c *Client) DialNobody(ctx context.Context, peer netip.Addr) error {
	c.peer, c.Limits = netip.AddrPortFrom(peer, 0), DefaultLimits
	return c.within(func() error { // a UDP socket sends nothing by itself; it says which way it would go
		d := net.Dialer{}
		u, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(peer, 9).String())
		if err != nil {
			return fmt.Errorf("find the way to %s: %w", peer, err)
		}
		c.local = u.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		return u.Close()
	})
}

// Local is the address from which is measured.
func (c *Client) Local() netip.Addr { return c.local }

// Close ends the session.
func (c *Client) Close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

func (c *Client) within(fn func() error) error {
	if c.Within == nil {
		return fn()
	}
	return c.Within(fn)
}

// hear reads a message; a refusal is an error.
func (c *Client) hear() (*message, error) {
	m, err := readMessage(c.conn)
	if err != nil {
		return nil, err
	}
	if m.Refused != nil {
		if m.Refused.Busy {
			return nil, fmt.Errorf("%w: %s", ErrBusy, m.Refused.Why)
		}
		return nil, fmt.Errorf("%w: %s", ErrRefused, m.Refused.Why)
	}
	return m, nil
}

// Measure carries out one measurement. After an error the session is of no more use.
func (c *Client) Measure(ctx context.Context, spec Spec) (*bench.Run, error) {
	if err := spec.Check(c.Limits); err != nil {
		return nil, err
	}
	if spec.Test != ICMP && c.conn == nil {
		return nil, fmt.Errorf("%s %w without a server", spec.Test, ErrSpec)
	}
	before, err := quietness(ctx, cmp.Or(c.Listen, listen))
	if err != nil {
		return nil, err
	}
	sample := &bench.Run{Start: time.Now(), LocalCPUs: c.CPUs}
	if spec.Test == ICMP {
		err = c.echoes(ctx, spec, sample)
	} else {
		stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
		err = c.converse(ctx, spec, sample)
		stop()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("measure %s: %w", spec.Test, ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", spec.Test, err)
	}
	sample.Noise = during(before, sample.LocalUsage)
	return sample, nil
}

// echoes measures ICMP, where the peer's kernel is the other end.
func (c *Client) echoes(ctx context.Context, spec Spec, sample *bench.Run) error {
	r := newRun(spec)
	err := c.within(func() error {
		for range spec.Flows {
			l, e, err := dialICMP(c.peer.Addr())
			if err != nil {
				return err
			}
			r.add(l, e)
		}
		return nil
	})
	defer closeAll(r.lines)
	if err != nil {
		return err
	}
	return r.measure(ctx, c.CPUs, sample, nil)
}

// converse measures with the server.
func (c *Client) converse(ctx context.Context, spec Spec, sample *bench.Run) error {
	expect := func(what string) (*message, error) {
		_ = c.conn.SetDeadline(time.Now().Add(3 * patience))
		m, err := c.hear()
		if err != nil {
			return nil, fmt.Errorf("wait for the server %s: %w", what, err)
		}
		return m, nil
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	if err := writeMessage(c.conn, &message{Begin: &begin{Spec: spec, NUMA: c.NUMA}}); err != nil {
		return err
	}
	m, err := expect("to make ready")
	if err != nil {
		return err
	}
	if m.Ready == nil || len(m.Ready.Token) != tokenSize || !spec.Test.stream() && len(m.Ready.UDP) != spec.Flows {
		return fmt.Errorf("the server is not ready as agreed: %w", ErrProtocol)
	}
	r := newRun(spec)
	defer func() { closeAll(r.lines) }()
	if err = c.attach(r, m.Ready); err != nil {
		return err
	}
	if m, err = expect("to begin"); err != nil {
		return err
	}
	if m.Go == nil {
		return fmt.Errorf("the server does not begin as agreed: %w", ErrProtocol)
	}
	remote := &remote{conn: c.conn, done: make(chan struct{})}
	_ = c.conn.SetDeadline(time.Now().Add(spec.Warmup + spec.Duration + 4*patience))
	go remote.await(c)
	err = r.measure(ctx, c.CPUs, sample, remote)
	if wrote := writeMessage(c.conn, &message{Stop: &struct{}{}}); err == nil {
		err = wrote
	}
	if err != nil {
		_ = c.conn.SetDeadline(time.Now().Add(patience))
	}
	<-remote.done
	if err != nil {
		return errors.Join(err, remote.err)
	}
	return remote.fill(spec, sample)
}

// attach opens the flows.
func (c *Client) attach(r *run, at *ready) error {
	return c.within(func() error {
		d := net.Dialer{LocalAddr: nil}
		for i := range r.spec.Flows {
			var l *line
			var err error
			if r.spec.Test.stream() {
				l, err = attachTCP(d, c.peer, at.Token, i)
			} else if at.UDP[i] < 1 || at.UDP[i] > 65535 {
				err = fmt.Errorf("the server names UDP port %d: %w", at.UDP[i], ErrProtocol)
			} else {
				l, err = attachUDP(d, netip.AddrPortFrom(c.peer.Addr(), uint16(at.UDP[i])), at.Token, i)
			}
			if err != nil {
				return err
			}
			r.add(l, nil)
		}
		return nil
	})
}

// remote is the server's part of a measurement while it is awaited.
type remote struct {
	conn net.Conn
	done chan struct{}
	got  *done
	err  error
}

func (r *remote) await(c *Client) {
	defer close(r.done)
	m, err := c.hear()
	switch {
	case err != nil:
		r.err = fmt.Errorf("wait for the server's figures: %w", err)
	case m.Done == nil:
		r.err = fmt.Errorf("something else than the server's figures: %w", ErrProtocol)
	case m.Done.Err != "":
		r.err = fmt.Errorf("on the server: %s", m.Done.Err)
	default:
		r.got = m.Done
	}
}

// fill puts the server's part into a run.
func (r *remote) fill(spec Spec, run *bench.Run) error {
	if r.err != nil {
		return r.err
	}
	run.RemoteUsage, run.RemoteCPUs = &r.got.Usage, r.got.CPUs
	if !spec.Test.Latency() && !spec.Reverse {
		r.got.Tally.into(run)
	}
	if run.Messages == 0 && run.Bytes == 0 {
		return fmt.Errorf("nothing arrived within %s: %w", spec.Warmup+spec.Duration, ErrSilent)
	}
	return nil
}

// run is the client's end of one measurement.
type run struct {
	spec  Spec
	lines []*line
	trips map[*line]*trips
}

func newRun(s Spec) *run { return &run{spec: s, trips: map[*line]*trips{}} }

func (r *run) add(l *line, e *echo) {
	r.lines = append(r.lines, l)
	if r.spec.Test.Latency() {
		r.trips[l] = newTrips(l, r.spec, e)
	}
}

func (r *run) end() {
	for _, l := range r.lines {
		l.end()
	}
}
