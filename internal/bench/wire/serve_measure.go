package wire

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"neutrino/internal/machine"
)

// gathering is a measurement that waits for its flows.
type gathering struct {
	from  netip.Addr
	flows chan joined
}

type joined struct {
	line *line
	flow int
}

// take hands a connection over; false: nobody waits for it any more.
func (g *gathering) take(c *net.TCPConn, flow int) bool {
	if _, err := c.Write([]byte{1}); err != nil {
		return false
	}
	l, err := take(c, -1)
	if err != nil {
		return false
	}
	c.Close()
	select {
	case g.flows <- joined{l, flow}:
		return true
	default: // more flows than were asked for
		l.close()
		return true
	}
}

// gather opens the flows of a measurement: says where they are awaited, and waits.
func (s *Server) gather(c *net.TCPConn, from netip.Addr, spec Spec, stop *stopped) ([]*line, error) {
	var token [tokenSize]byte
	_, _ = rand.Read(token[:]) // never fails
	until := time.Now().Add(patience)
	if !spec.Test.stream() {
		return s.gatherUDP(c, from, spec, token, until, stop)
	}
	g := &gathering{from: from, flows: make(chan joined, spec.Flows)}
	s.mu.Lock()
	s.waiting[token] = g
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, token)
		s.mu.Unlock()
	}()
	if err := s.say(c, &message{Ready: &ready{Token: token[:]}}); err != nil {
		return nil, err
	}
	lines := make([]*line, spec.Flows)
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	for range spec.Flows {
		select {
		case j := <-g.flows:
			if j.flow >= spec.Flows || lines[j.flow] != nil {
				j.line.close()
				closeAll(lines)
				return nil, fmt.Errorf("flow %d came twice or is none: %w", j.flow, ErrProtocol)
			}
			lines[j.flow] = j.line
		case <-stop.heard:
			closeAll(lines)
			return nil, stop.early()
		case <-late.C:
			closeAll(lines)
			return nil, fmt.Errorf("the %d flows did not all come within %s", spec.Flows, patience)
		}
	}
	return lines, nil
}

func (s *Server) gatherUDP(c *net.TCPConn, from netip.Addr, spec Spec, token [tokenSize]byte, until time.Time, stop *stopped) ([]*line, error) {
	here := c.LocalAddr().(*net.TCPAddr)
	var socks []*net.UDPConn
	var ports []int
	err := s.within(func() error {
		for range spec.Flows {
			u, err := net.ListenUDP("udp", &net.UDPAddr{IP: here.IP, Zone: here.Zone})
			if err != nil {
				return fmt.Errorf("open a UDP socket: %w", err)
			}
			_ = u.SetReadDeadline(until)
			socks, ports = append(socks, u), append(ports, u.LocalAddr().(*net.UDPAddr).Port)
		}
		return nil
	})
	if err == nil {
		err = s.say(c, &message{Ready: &ready{Token: token[:], UDP: ports}})
	}
	wake := stop.wake(socks)
	defer wake()
	lines := make([]*line, spec.Flows)
	for i, u := range socks {
		if err != nil {
			u.Close()
			continue
		}
		lines[i], err = awaitUDP(u, from, token, i)
	}
	if err != nil {
		closeAll(lines)
		return nil, err
	}
	return lines, nil
}

func closeAll(lines []*line) {
	for _, l := range lines {
		if l != nil {
			l.close()
		}
	}
}

// cpus are the processors of the loops.
func (s *Server) cpus(c *net.TCPConn, b begin) (machine.CPUList, error) {
	if !b.NUMA || len(s.CPUs) > 0 {
		return s.CPUs, nil
	}
	var out machine.CPUList
	err := s.within(func() (err error) {
		out, err = NodeCPUs("/", c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		return err
	})
	if errors.Is(err, ErrNoNode) {
		return nil, nil
	}
	return out, err
}

// measure carries out one measurement. An error ends the client's session.
func (s *Server) measure(ctx context.Context, c *net.TCPConn, from netip.Addr, b begin) error {
	if err := b.Spec.Check(s.Limits); err != nil {
		return err
	}
	if b.Spec.Test == ICMP {
		return fmt.Errorf("the kernel answers ICMP echo, the server has no part in it: %w", ErrProtocol)
	}
	cpus, err := s.cpus(c, b)
	if err != nil {
		return err
	}
	stop := listenForStop(c, b.Spec)
	defer stop.end(c)
	lines, err := s.gather(c, from, b.Spec, stop)
	if err != nil {
		return err
	}
	defer closeAll(lines)
	loud, err := quiet(cpus, len(lines))
	if err != nil {
		return err
	}
	defer loud()
	if err = s.say(c, &message{Go: &struct{}{}}); err != nil {
		return err
	}
	m := startMeter()
	over := make(chan outcome, 1)
	go func() { over <- runLoops(lines, cpus, serverLoop(b.Spec)) }()
	result, err := attend(ctx, b.Spec, lines, stop, over)
	if err != nil {
		return err
	}
	d := &done{Tally: result.tally, Usage: m.stop(), CPUs: cpus}
	if result.err != nil {
		d.Err = result.err.Error()
	}
	if err = s.say(c, &message{Done: d}); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(2 * patience))
	<-stop.heard
	return stop.err
}

// stopped is the client's word that its loops are done, while it is awaited.
type stopped struct {
	heard chan struct{}
	err   error // once heard
}

// listenForStop waits for the client's word beside a measurement, as long as that can last.
func listenForStop(c *net.TCPConn, spec Spec) *stopped {
	s := &stopped{heard: make(chan struct{})}
	_ = c.SetReadDeadline(time.Now().Add(spec.Warmup + spec.Duration + 3*patience))
	go func() {
		defer close(s.heard)
		s.err = expectStop(readMessage(c))
	}()
	return s
}

// early is what it means that the word has come, or the client gone, before anything was measured.
func (s *stopped) early() error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("the end of a measurement before its beginning: %w", ErrProtocol)
}

// wake ends the wait on sockets when the client goes. The returned function ends that, and waits for it.
func (s *stopped) wake(socks []*net.UDPConn) func() {
	gathered, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-s.heard:
			for _, u := range socks {
				_ = u.SetReadDeadline(time.Unix(1, 0)) // one that is closed already is no loss
			}
		case <-gathered:
		}
	}()
	return func() {
		close(gathered)
		<-over
	}
}

// end stops waiting, where the word has not come.
func (s *stopped) end(c *net.TCPConn) {
	_ = c.SetReadDeadline(time.Unix(1, 0))
	<-s.heard
}

// attend waits until the loops are done, and ends them when the client is, or goes, or takes too long.
// It never returns before they have ended.
func attend(ctx context.Context, spec Spec, lines []*line, stop *stopped, over chan outcome) (outcome, error) {
	end := func() outcome {
		for _, l := range lines {
			l.end()
		}
		return <-over
	}
	select {
	case result := <-over:
		return result, nil
	case <-ctx.Done():
		return end(), ctx.Err()
	case <-stop.heard:
		if stop.err != nil {
			return end(), stop.err
		}
	}
	if !spec.Test.stream() {
		return end(), nil
	}
	select { // a connection's end comes after all that was sent on it
	case result := <-over:
		return result, nil
	case <-ctx.Done():
		return end(), ctx.Err()
	case <-time.After(patience):
		return end(), nil
	}
}

// expectStop takes the word that the client's loops are done.
func expectStop(m *message, err error) error {
	if err != nil {
		return err
	}
	if m.Stop == nil {
		return fmt.Errorf("something else during a measurement: %w", ErrProtocol)
	}
	return nil
}

// serverLoop is the server's part in a test.
func serverLoop(spec Spec) func(*line) (tally, error) {
	return func(l *line) (tally, error) {
		switch {
		case spec.Test == TCP:
			return tally{}, echoStream(l, spec.Size)
		case spec.Test == UDP:
			return tally{}, echoDatagrams(l, spec.Size)
		case spec.Reverse:
			return tally{}, sender(l, spec)
		default:
			return receiver(l, spec)
		}
	}
}
