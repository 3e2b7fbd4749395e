package vfnltest

import (
	"encoding/binary"
	"iter"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const port = 4711

// requests is a socket for requests: each Send leaves the answer for the next Receive.
type requests struct {
	k       *Kernel
	answers []netlink.Message
}

// Close is of netlink.Socket.
func (s *requests) Close() error { return nil }

// Send carries the request out before it returns, as the kernel does.
func (s *requests) Send(m netlink.Message) error {
	body, no, text := s.k.answer(m)
	h := netlink.Header{Sequence: m.Header.Sequence, PID: m.Header.PID}
	if body != nil {
		h.Type = unix.RTM_NEWLINK
		s.answers = append(s.answers, netlink.Message{Header: h, Data: body})
		return nil
	}
	h.Type = netlink.Error
	data := binary.NativeEndian.AppendUint32(nil, uint32(-int32(no)))
	raw, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	data = append(data, raw...)
	if text != "" {
		h.Flags |= netlink.AcknowledgeTLVs
		e := netlink.NewAttributeEncoder()
		e.String(unix.NLMSGERR_ATTR_MSG, text)
		tlvs, err := e.Encode()
		if err != nil {
			return err
		}
		data = append(data, tlvs...)
	}
	s.answers = append(s.answers, netlink.Message{Header: h, Data: data})
	return nil
}

// SendMessages is of netlink.Socket.
func (s *requests) SendMessages(ms []netlink.Message) error {
	for _, m := range ms {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// Receive is of netlink.Socket.
func (s *requests) Receive() ([]netlink.Message, error) {
	a := s.answers
	s.answers = nil
	return a, nil
}

// ReceiveIter is of netlink.Socket.
func (s *requests) ReceiveIter() iter.Seq2[netlink.Message, error] { return each(s.Receive) }

func each(receive func() ([]netlink.Message, error)) iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		ms, err := receive()
		if err != nil {
			yield(netlink.Message{}, err)
			return
		}
		for _, m := range ms {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// monitor is a socket that is subscribed to RTNLGRP_LINK.
type monitor struct {
	k    *Kernel
	in   chan netlink.Message
	mu   sync.Mutex
	lost bool
	once sync.Once
	done chan struct{}
}

// put is called with the kernel's lock held.
func (m *monitor) put(msg netlink.Message) {
	select {
	case m.in <- msg:
	default:
		m.overflow()
	}
}

func (m *monitor) overflow() {
	m.mu.Lock()
	m.lost = true
	m.mu.Unlock()
	select {
	case m.in <- netlink.Message{Header: netlink.Header{Type: netlink.Noop}}: // to wake the reader
	default:
	}
}

// Close is of netlink.Socket.
func (m *monitor) Close() error {
	m.once.Do(func() {
		close(m.done)
		m.k.mu.Lock()
		delete(m.k.monitors, m)
		m.k.mu.Unlock()
	})
	return nil
}

// Send is of netlink.Socket.
func (m *monitor) Send(netlink.Message) error { return os.ErrInvalid }

// SendMessages is of netlink.Socket.
func (m *monitor) SendMessages([]netlink.Message) error { return os.ErrInvalid }

// Receive is of netlink.Socket.
func (m *monitor) Receive() ([]netlink.Message, error) {
	select {
	case <-m.done:
		return nil, os.ErrClosed
	case msg := <-m.in:
		m.mu.Lock()
		lost := m.lost
		m.lost = false
		m.mu.Unlock()
		if lost {
			return nil, unix.ENOBUFS
		}
		return []netlink.Message{msg}, nil
	}
}

// ReceiveIter is of netlink.Socket.
func (m *monitor) ReceiveIter() iter.Seq2[netlink.Message, error] { return each(m.Receive) }
