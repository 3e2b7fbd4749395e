package mgmt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"neutrino/internal/openflow"
)

// ErrProtocol: the other side says what OpenFlow does not.
var ErrProtocol = errors.New("not OpenFlow")

// Versions.
const (
	version10 = 1
	version14 = 5
)

// Types of messages. Those of 1.0 have their version in the name.
const (
	typeHello        = 0
	typeError        = 1
	typeEchoRequest  = 2
	typeEchoReply    = 3
	typeFlowMod      = 14
	type10PortMod    = 15
	type10StatsAsk   = 16
	type10StatsReply = 17
	typeMultipart    = 18
	typeMultiReply   = 19
	type10BarrierAsk = 18
	type10Barrier    = 19
	typeBundle       = 33
	typeBundleAdd    = 34
)

const (
	headerLen  = 8
	maxMessage = 1<<16 - 1

	bundleOpen   = 0
	bundleCommit = 4
	bundleFlags  = 3 // atomic, ordered

	flowAdd    = 0
	flowDelete = 3

	multipartFlow = 1
	statsPort10   = 13 // OFPST_PORT_DESC, an extension that Open vSwitch has in 1.0
	replyMore     = 1

	none32     = 0xffffffff // any port, any group, no buffer
	allTables  = 0xff
	portNormal = 0xfffffffa
	noFlood10  = 1 << 4 // OFPPC_NO_FLOOD

	nicira            = 0x00002320
	experimenterError = 0xffff
)

type header struct {
	version, kind uint8
	length        uint16
	xid           uint32
}

func parseHeader(b []byte) (header, error) {
	if len(b) < headerLen {
		return header{}, fmt.Errorf("%w: a header of %d bytes", ErrProtocol, len(b))
	}
	h := header{b[0], b[1], binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint32(b[4:])}
	if h.length < headerLen {
		return header{}, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, h.length)
	}
	return h, nil
}

// message returns one whole message.
func message(version, kind uint8, xid uint32, body []byte) ([]byte, error) {
	n := headerLen + len(body)
	if n > maxMessage {
		return nil, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, n)
	}
	b := make([]byte, 0, n)
	b = append(b, version, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(n)) //nolint:gosec // checked
	b = binary.BigEndian.AppendUint32(b, xid)
	return append(b, body...), nil
}

func pad8(b []byte, from int) []byte {
	for (len(b)-from)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendMatch appends an ofp_match of OXM fields.
func appendMatch(b []byte, conds []openflow.Cond) []byte {
	from := len(b)
	b = append(b, 0, 1, 0, 0)
	for _, c := range conds {
		class, code := c.Field.OXM()
		w := c.Field.Width()
		length, masked := w, byte(0)
		if !c.Exact() {
			length, masked = 2*w, 1
		}
		b = binary.BigEndian.AppendUint16(b, class)
		b = append(b, code<<1|masked, byte(length))
		b = append(b, c.Value[:w]...)
		if masked != 0 {
			b = append(b, c.Mask[:w]...)
		}
	}
	binary.BigEndian.PutUint16(b[from+2:], uint16(len(b)-from)) //nolint:gosec // a match is short
	return pad8(b, from)
}

// experimenter appends the head of one of Nicira's actions; end puts in its length.
func experimenter(b []byte, subtype uint16) []byte {
	b = append(b, 0xff, 0xff, 0, 0)
	b = binary.BigEndian.AppendUint32(b, nicira)
	return binary.BigEndian.AppendUint16(b, subtype)
}

func end(b []byte, from int) []byte {
	b = pad8(b, from)
	binary.BigEndian.PutUint16(b[from+2:], uint16(len(b)-from)) //nolint:gosec // an action is short
	return b
}

// Headers of fields as Nicira's actions name them.
const (
	nxmEthSrc = 0x80000806
	nxmEthDst = 0x80000606
	nxmReg0   = 0x00010004 // the next are 0x200 apart
	nxmMark   = 0x0001d604
)

func nxmReg(n uint8) uint32 { return nxmReg0 + uint32(n)<<9 }

// appendMove appends a copy of bits from the start of one field to those from bit dst of another.
func appendMove(b []byte, bits, dst uint16, source, dest uint32) []byte {
	from := len(b)
	b = experimenter(b, 6)
	b = binary.BigEndian.AppendUint16(b, bits)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint32(b, source)
	b = binary.BigEndian.AppendUint32(b, dest)
	return end(b, from)
}

func appendNormal(b []byte) []byte {
	b = append(b, 0, 0, 0, 16)
	b = binary.BigEndian.AppendUint32(b, portNormal)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// appendCT appends conntrack in the zone that reg6 says.
func appendCT(b []byte, flags uint16, table uint8) []byte {
	b = experimenter(b, 35)
	b = binary.BigEndian.AppendUint16(b, flags)
	b = binary.BigEndian.AppendUint32(b, nxmReg(6))
	b = binary.BigEndian.AppendUint16(b, 15) // offset 0, 16 bits
	return append(b, table, 0, 0, 0, 0, 0)
}

func appendAction(b []byte, a openflow.Action) ([]byte, error) {
	from := len(b)
	switch a.Kind {
	case openflow.Normal:
		return appendNormal(b), nil
	case openflow.Output:
		b = experimenter(b, 15)
		b = binary.BigEndian.AppendUint16(b, 31) // offset 0, 32 bits
		b = binary.BigEndian.AppendUint32(b, nxmReg(4))
		return end(append(b, 0, 0, 0, 0, 0, 0, 0, 0), from), nil
	case openflow.SetReg:
		b = append(b, 0, 25, 0, 0)
		b = binary.BigEndian.AppendUint32(b, nxmReg(a.Reg))
		return end(binary.BigEndian.AppendUint32(b, a.Value), from), nil
	case openflow.Resubmit:
		b = experimenter(b, 14)
		return end(append(b, 0xff, 0xf8, a.Table, 0, 0, 0), from), nil
	case openflow.Track:
		return end(appendCT(b, 0, a.Table), from), nil
	case openflow.Commit:
		b = appendCT(b, 1, 0xff)
		b = appendMove(b, 1, 0, nxmReg(0), nxmMark)
		return end(appendMove(b, 1, 1, nxmReg(1), nxmMark), from), nil
	case openflow.PopVLAN:
		return append(b, 0, 18, 0, 8, 0, 0, 0, 0), nil
	case openflow.Learn:
		b = append(experimenter(b, 42), 0, 0, 0, 0, 0, 0)
		b = appendMove(b, 48, 0, nxmEthSrc, nxmEthDst)
		return end(appendNormal(b), from), nil
	case openflow.Conjunction:
		b = append(experimenter(b, 34), a.K-1, a.N)
		return end(binary.BigEndian.AppendUint32(b, a.Value), from), nil
	}
	return nil, fmt.Errorf("%w: action %d", ErrProtocol, a.Kind)
}

// flowMod is the body of a message that changes flows.
func flowMod(command uint8, cookie, mask uint64, table uint8, priority uint16) []byte {
	b := make([]byte, 0, 256)
	b = binary.BigEndian.AppendUint64(b, cookie)
	b = binary.BigEndian.AppendUint64(b, mask)
	b = append(b, table, command, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, priority)
	for range 3 {
		b = binary.BigEndian.AppendUint32(b, none32)
	}
	return append(b, 0, 0, 0, 0)
}

// addFlow is the body of the message that adds a flow.
func addFlow(f openflow.Flow) ([]byte, error) {
	b := appendMatch(flowMod(flowAdd, f.Cookie(), 0, f.Table, f.Priority), f.Match)
	if len(f.Actions) == 0 {
		return b, nil
	}
	from := len(b)
	b = append(b, 0, 4, 0, 0, 0, 0, 0, 0)
	var err error
	for _, a := range f.Actions {
		if b, err = appendAction(b, a); err != nil {
			return nil, err
		}
	}
	if len(b) > maxMessage {
		return nil, fmt.Errorf("%w: a flow of %d actions", ErrProtocol, len(f.Actions))
	}
	binary.BigEndian.PutUint16(b[from+2:], uint16(len(b)-from)) //nolint:gosec // checked
	return b, nil
}

// deleteFlow is the body of the message that deletes the flows of a table with this cookie.
func deleteFlow(id flowID) []byte {
	return appendMatch(flowMod(flowDelete, id.cookie, ^uint64(0), id.table, 0), nil)
}

// askFlows is the body of the question for our flows.
func askFlows() []byte {
	b := []byte{0, multipartFlow, 0, 0, 0, 0, 0, 0, allTables, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, none32)
	b = binary.BigEndian.AppendUint32(b, none32)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, openflow.Mark<<48)
	b = binary.BigEndian.AppendUint64(b, openflow.MarkMask)
	return appendMatch(b, nil)
}

// flowID is what a flow is recognized by.
type flowID struct {
	cookie   uint64
	table    uint8
	priority uint16
}

func idOf(f openflow.Flow) flowID { return flowID{f.Cookie(), f.Table, f.Priority} }

// parseFlows reads the body of an answer to askFlows; more says that another one follows.
func parseFlows(b []byte, each func(flowID)) (more bool, err error) {
	if len(b) < 8 || binary.BigEndian.Uint16(b) != multipartFlow {
		return false, fmt.Errorf("%w: %d bytes that are no answer about flows", ErrProtocol, len(b))
	}
	more = binary.BigEndian.Uint16(b[2:])&replyMore != 0
	for b = b[8:]; len(b) > 0; {
		if len(b) < 56 {
			return false, fmt.Errorf("%w: a flow of %d bytes", ErrProtocol, len(b))
		}
		n := int(binary.BigEndian.Uint16(b))
		if n < 56 || n > len(b) {
			return false, fmt.Errorf("%w: a flow of %d bytes in %d", ErrProtocol, n, len(b))
		}
		each(flowID{cookie: binary.BigEndian.Uint64(b[24:]), table: b[2], priority: binary.BigEndian.Uint16(b[12:])})
		b = b[n:]
	}
	return more, nil
}

// portState is what OpenFlow 1.0 says of a port.
type portState struct {
	number  uint16
	mac     [6]byte
	noFlood bool
}

// parsePorts reads the body of an answer to the question for ports, of OpenFlow 1.0.
func parsePorts(b []byte, each func(portState)) (more bool, err error) {
	const size = 48
	if len(b) < 4 || binary.BigEndian.Uint16(b) != statsPort10 || (len(b)-4)%size != 0 {
		return false, fmt.Errorf("%w: %d bytes that are no answer about ports", ErrProtocol, len(b))
	}
	more = binary.BigEndian.Uint16(b[2:])&replyMore != 0
	for b = b[4:]; len(b) > 0; b = b[size:] {
		each(portState{binary.BigEndian.Uint16(b), [6]byte(b[2:8]), binary.BigEndian.Uint32(b[24:])&noFlood10 != 0})
	}
	return more, nil
}

// modPort is the body of the OpenFlow 1.0 message that sets whether a port is flooded to.
func modPort(p portState, noFlood bool) []byte {
	b := binary.BigEndian.AppendUint16(nil, p.number)
	b = append(b, p.mac[:]...)
	config := uint32(0)
	if noFlood {
		config = noFlood10
	}
	b = binary.BigEndian.AppendUint32(b, config)
	b = binary.BigEndian.AppendUint32(b, noFlood10)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// errorNames are OpenFlow's types of errors.
var errorNames = []string{
	"hello failed", "bad request", "bad action", "bad instruction", "bad match", "flow mod failed", "group mod failed",
	"port mod failed", "table mod failed", "queue op failed", "switch config failed", "role request failed", "meter mod failed",
	"table features failed", "bad property", "async config failed", "flow monitor failed", "bundle failed",
}

// SwitchError is what the bridge answers to what it does not take.
type SwitchError struct{ Type, Code uint16 }

func (e *SwitchError) Error() string {
	name := fmt.Sprintf("error type %d", e.Type)
	if int(e.Type) < len(errorNames) {
		name = errorNames[e.Type]
	}
	return fmt.Sprintf("Open vSwitch answers: %s (code %d)", name, e.Code)
}

// unsupported reports whether the error is that the datapath lacks an action (OFPBAC_BAD_TYPE) or a
// field (OFPBMC_BAD_FIELD, OFPBMC_BAD_MASK).
func (e *SwitchError) unsupported() bool {
	const noAction, noField = 42, 43 // NXBAC_CT_DATAPATH_SUPPORT, NXBMC_CT_DATAPATH_SUPPORT
	return *e == SwitchError{experimenterError, noAction} || *e == SwitchError{experimenterError, noField} || *e == SwitchError{2, 0} || *e == SwitchError{4, 6} || *e == SwitchError{4, 8}
}

func parseError(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%w: an error of %d bytes", ErrProtocol, len(b))
	}
	return &SwitchError{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}
}
