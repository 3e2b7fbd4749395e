package trunk

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// EtherTypes on the wire.
const (
	EtherType     = 0x88B5 // IEEE Std 802 local experimental EtherType 1
	EtherTypeLLDP = 0x88CC
	EtherTypeVLAN = 0x8100
)

// Where probes go, one copy after the other: two locally administered addresses that nobody
// has, so that switches flood them within the VLAN and no station's network stack takes them,
// and everybody. There are NICs that hand over no foreign groups of other VLANs (QEMU's igb),
// switches that do not flood unknown stations, and NICs whose PF hears nothing else than
// broadcasts in the VLANs of its VFs (igb again).
var (
	Group     = [6]byte{0x0f, 'n', 't', 'r', 'n', 0x01}
	Station   = [6]byte{0x0e, 'n', 't', 'r', 'n', 0x01}
	Broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// destinations are those of the rounds, in turn.
var destinations = [...][6]byte{Group, Station, Broadcast}

// DefaultRounds has every frame sent to each destination once.
const DefaultRounds = len(destinations)

// Sizes, in bytes behind the VLAN tag: what an interface calls its MTU.
const (
	MinSize = 64
	MaxSize = 9216
)

// MaxRounds is how often one frame may be sent.
const MaxRounds = 8

// ErrNotProbe: the bytes are no probe frame of this run.
var ErrNotProbe = errors.New("not a probe frame of this run")

const (
	frameMagic   = 0x6e74726e // "ntrn"
	frameVersion = 1
	macSize      = 8
	frameSize    = 4 + 1 + 1 + 16 + 2 + 1 + 1 + 2 + 2 + macSize
)

// ID names a run.
type ID [16]byte

// Frame is one probe.
type Frame struct {
	Run    ID
	Host   int // sender: its place in Run.Hosts
	Uplink int // of the sender: its place in Result.Uplinks
	VLAN   int // it was sent in
	Size   int // bytes behind the VLAN tag
	Round  int // 0..MaxRounds-1
}

// Append appends the Ethernet frame: destination the round's, source src, an 802.1Q tag with
// priority 0, and the probe padded to its size. It is signed with key.
func (f Frame) Append(b []byte, src [6]byte, key []byte) []byte {
	to := &destinations[f.Round%len(destinations)]
	b = append(b, to[:]...)
	b = append(b, src[:]...)
	b = binary.BigEndian.AppendUint16(b, EtherTypeVLAN)
	b = binary.BigEndian.AppendUint16(b, uint16(f.VLAN))
	b = binary.BigEndian.AppendUint16(b, EtherType)
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, frameMagic)
	b = append(b, frameVersion, byte(f.Round))
	b = append(b, f.Run[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(f.Host))
	b = append(b, byte(f.Uplink), 0)
	b = binary.BigEndian.AppendUint16(b, uint16(f.VLAN))
	b = binary.BigEndian.AppendUint16(b, uint16(f.Size))
	b = append(b, sign(b[start:], key)...)
	for len(b)-start < f.Size {
		b = append(b, byte(f.Round))
	}
	return b
}

func sign(head, key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(head)
	return m.Sum(nil)[:macSize]
}

// Parse reads what stands behind the EtherType. Every field is checked, the length is
// the size that the frame names, and the signature is the key's.
func Parse(b, key []byte) (Frame, error) {
	if len(b) < frameSize {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrNotProbe, len(b))
	}
	if binary.BigEndian.Uint32(b) != frameMagic {
		return Frame{}, fmt.Errorf("%w: another protocol", ErrNotProbe)
	}
	if b[4] != frameVersion {
		return Frame{}, fmt.Errorf("%w: version %d", ErrNotProbe, b[4])
	}
	signed := frameSize - macSize
	if !hmac.Equal(sign(b[:signed], key), b[signed:frameSize]) {
		return Frame{}, fmt.Errorf("%w: wrong signature", ErrNotProbe)
	}
	f := Frame{
		Round: int(b[5]), Run: ID(b[6:22]), Host: int(binary.BigEndian.Uint16(b[22:])), Uplink: int(b[24]),
		VLAN: int(binary.BigEndian.Uint16(b[26:])), Size: int(binary.BigEndian.Uint16(b[28:])),
	}
	switch {
	case f.Round >= MaxRounds, b[25] != 0, f.VLAN < 1, f.VLAN > MaxVLAN, f.Size < MinSize, f.Size > MaxSize:
		return Frame{}, fmt.Errorf("%w: a field is out of range", ErrNotProbe)
	case len(b) != f.Size:
		return Frame{}, fmt.Errorf("%w: %d bytes of %d", ErrNotProbe, len(b), f.Size)
	}
	return f, nil
}

// String is the id as a UUID is written.
func (id ID) String() string {
	s := hex.EncodeToString(id[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

// ParseID reads what String wrote, and nothing else.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err == nil && copy(id[:], b) == len(id) && id.String() == s {
		return id, nil
	}
	return ID{}, fmt.Errorf("%.60q is not the id of a run", s)
}

// MarshalText writes the id as String does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(text []byte) error {
	got, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = got
	return nil
}
