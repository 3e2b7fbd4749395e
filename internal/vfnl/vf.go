package vfnl

import (
	"fmt"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// MAC is an Ethernet address. The zero MAC is none.
type MAC [6]byte

// String is the canonical form: lower case, colons.
func (m MAC) String() string {
	const hex = "0123456789abcdef"
	var b [17]byte
	for i, x := range m {
		if i > 0 {
			b[i*3-1] = ':'
		}
		b[i*3], b[i*3+1] = hex[x>>4], hex[x&15]
	}
	return string(b[:])
}

// GUID is an InfiniBand GUID.
type GUID uint64

// String is the form of sysfs: eight bytes with colons.
func (g GUID) String() string {
	s := ""
	for i := 56; i >= 0; i -= 8 {
		s += fmt.Sprintf(":%02x", byte(g>>i))
	}
	return s[1:]
}

// Protocols of a VLAN tag.
const (
	Dot1Q  = 0x8100
	Dot1AD = 0x88a8
)

// VLAN is what a VF's frames are tagged with on the wire. The zero VLAN is untagged.
type VLAN struct {
	ID    int    // 0 = untagged, 1..4094; some drivers show 4095 for untagged
	QoS   int    // priority code point, 0..7
	Proto uint16 // Dot1Q or Dot1AD; 0 in a Change = Dot1Q
}

// Stats are the counters of IFLA_VF_STATS, from the VF's side.
type Stats struct {
	RxPackets, TxPackets, RxBytes, TxBytes     uint64
	Broadcast, Multicast, RxDropped, TxDropped uint64
}

// Attrs are the attributes of a VF. Read, each is Set or Unsupported; asked for, an
// Unset one is left as it is.
type Attrs struct {
	MAC        eswitch.Attr[MAC]
	VLAN       eswitch.Attr[VLAN]
	SpoofCheck eswitch.Attr[bool]
	Trust      eswitch.Attr[bool]
	LinkState  eswitch.Attr[model.LinkState]
	MinTxRate  eswitch.Attr[int] // Mbit/s, 0 = none; set together with MaxTxRate
	MaxTxRate  eswitch.Attr[int] // Mbit/s, 0 = none; set together with MinTxRate
	RSSQuery   eswitch.Attr[bool]
	NodeGUID   eswitch.Attr[GUID]
	PortGUID   eswitch.Attr[GUID]
}

// VF is a virtual function as the kernel shows it on its PF.
type VF struct {
	Index int
	Attrs
	Stats eswitch.Attr[Stats] // Unset when not asked for
}

// PF is a physical function as the kernel shows it, with its VFs.
type PF struct {
	Ifindex int
	Name    string
	Address MAC // zero for what is not Ethernet
	// Permanent is the address from the NIC's EEPROM, zero where the driver does not tell
	// (IFLA_PERM_ADDRESS, Linux 5.6).
	Permanent MAC
	MTU       int
	Up        bool // administratively; a PF that is down raises no event (see Monitor)
	Carrier   bool
	NumVFs    int  // as in sriov_numvfs
	VFs       []VF // in order of index; fewer than NumVFs when a driver would not tell of one
}

// Missing returns the indexes, below NumVFs, of VFs that the kernel left out: their
// driver gave an error when asked for them.
func (p *PF) Missing() []int {
	var out []int
	at := 0
	for i := range p.NumVFs {
		for at < len(p.VFs) && p.VFs[at].Index < i {
			at++
		}
		if at == len(p.VFs) || p.VFs[at].Index != i {
			out = append(out, i)
		}
	}
	return out
}

// Change asks for attributes of one VF.
type Change struct {
	VF int
	Attrs
}
