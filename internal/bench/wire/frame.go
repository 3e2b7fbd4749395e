package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"neutrino/internal/bench"
)

// Version of the control protocol. Both ends must speak the same one: a measurement by two
// different programs would be of neither.
const Version = 1

// maxFrame bounds a frame of the control protocol.
const maxFrame = 64 << 10

// ErrProtocol: the other end does not speak the control protocol, or not rightly.
var ErrProtocol = errors.New("not the protocol of neutrino bench")

// The first bytes of a connection say what it is for.
var (
	controlMagic = [8]byte{'n', 'e', 'u', 'b', 'e', 'n', 'c', Version}
	flowMagic    = [8]byte{'n', 'e', 'u', 'f', 'l', 'o', 'w', Version}
)

// message is a frame: exactly one of its parts is set.
type message struct {
	Welcome *welcome  `json:"welcome,omitempty"` // server: the client is let in
	Refused *refused  `json:"refused,omitempty"` // server: no, and why; the end
	Begin   *begin    `json:"begin,omitempty"`   // client: measure this
	Ready   *ready    `json:"ready,omitempty"`   // server: flows are awaited
	Go      *struct{} `json:"go,omitempty"`      // server: all flows are there, loops run
	Stop    *struct{} `json:"stop,omitempty"`    // client: its loops are done
	Done    *done     `json:"done,omitempty"`    // server: its loops are done
}

type welcome struct {
	Limits      Limits            `json:"limits"`
	Environment bench.Environment `json:"environment"`
}

type refused struct {
	Why  string `json:"why"`
	Busy bool   `json:"busy,omitempty"` // later it may be possible
}

type begin struct {
	Spec Spec `json:"spec"`
	NUMA bool `json:"numa,omitempty"` // pin the loops to processors of the NIC's node
}

type ready struct {
	Token []byte `json:"token"`         // flows show it
	UDP   []int  `json:"udp,omitempty"` // the ports of the flows
}

type done struct {
	Tally tally       `json:"tally"`
	Usage bench.Usage `json:"usage"`
	CPUs  []int       `json:"cpus,omitempty"`
	Err   string      `json:"error,omitempty"`
}

// parts counts what is set.
func (m *message) parts() int {
	n := 0
	for _, set := range []bool{m.Welcome != nil, m.Refused != nil, m.Begin != nil, m.Ready != nil, m.Go != nil, m.Stop != nil, m.Done != nil} {
		if set {
			n++
		}
	}
	return n
}

// writeMessage sends a frame: its length in four bytes, then JSON.
func writeMessage(w io.Writer, m *message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode a message of the control protocol: %w", err)
	}
	if len(body) > maxFrame {
		return fmt.Errorf("a message of %d bytes is more than the control protocol's %d: %w", len(body), maxFrame, ErrProtocol)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body)))
	if _, err = w.Write(append(frame, body...)); err != nil {
		return fmt.Errorf("send on the control connection: %w", err)
	}
	return nil
}

// readMessage reads a frame, strictly. It takes no more memory than the frame has bytes.
func readMessage(r io.Reader) (*message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read from the control connection: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 2 || n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes (2 to %d are possible): %w", n, maxFrame, ErrProtocol)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read from the control connection: %w", err)
	}
	return decode(body)
}

func decode(body []byte) (*message, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	m := &message{}
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more than one value in a frame: %w", ErrProtocol)
	}
	if m.parts() != 1 {
		return nil, fmt.Errorf("a frame with %d messages instead of one: %w", m.parts(), ErrProtocol)
	}
	return m, nil
}
