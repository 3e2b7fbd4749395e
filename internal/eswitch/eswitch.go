package eswitch

import (
	"context"
	"errors"
	"net/netip"

	"neutrino/internal/model"
)

// Errors that a Switch's results are checked for with errors.Is.
var (
	// ErrUnsupported: the driver has no such attribute.
	ErrUnsupported = errors.New("not supported by the driver")
	// ErrNoVF: the VF named by a change does not exist (any more).
	ErrNoVF = errors.New("no such VF")
	// ErrBusy: the VF is in a state in which it cannot be changed; try again.
	ErrBusy = errors.New("VF is busy")
)

// Switch is one host's embedded switches.
//
// Implementations are safe for concurrent use. Observe and Apply honour the
// context's deadline: a driver that hangs must not hang the agent.
type Switch interface {
	// Observe reads the state of every PF and VF from the device, never from memory
	// of what was asked.
	Observe(ctx context.Context) (State, error)
	// Apply carries out the changes, each independent of the others, and returns one
	// Result per change in the same order. A failed change may be half done; the
	// caller observes again.
	Apply(ctx context.Context, changes []Change) []Result
	// Events receives after something may have changed that Apply did not do. It
	// carries no truth, only a reason to Observe; sends are coalesced. The channel
	// is never closed while the Switch is open.
	Events() <-chan struct{}
	// Capabilities says what the PF's driver was found able to do.
	Capabilities(pf string) Capabilities
	// Close releases the handle. Traffic goes on.
	Close() error
}

// State is what was observed at one moment.
type State struct {
	PFs []PF
}

// PF is a physical function: one uplink and its VFs.
type PF struct {
	Name     string // netdev name, e.g. "eth6"
	PCISlot  string
	Driver   string
	NUMANode int // -1 = none
	MTU      int
	Carrier  bool
	TotalVFs int
	VFs      []VF
}

// VFID names a VF on this host.
type VFID struct {
	PF    string
	Index int
}

// VF is a virtual function as observed.
type VF struct {
	ID       VFID
	PCISlot  string // "dddd:bb:ss.f"
	Netdev   string // name in the host's namespace; "" when passed on to a guest
	Driver   string
	Attrs    Attrs
	Counters Counters
	// Baseline is what this VF carries when it belongs to nobody, where that differs
	// from [Baseline]: a driver that shows the VF's own address as the administrative
	// one never reads back 00:00:00:00:00:00. Zero = [Baseline]; see BaselineAttrs.
	Baseline Attrs
}

// BaselineAttrs is what the VF carries when it belongs to nobody.
func (v *VF) BaselineAttrs() Attrs {
	if v.Baseline.Empty() {
		return Baseline()
	}
	return v.Baseline
}

// Attrs are the attributes of a VF. As an observation every attribute is Set,
// Unsupported, or Unset where what is there cannot be said by this type or is not in
// force as a whole; in a Change an Unset attribute is left as it is.
type Attrs struct {
	MAC        Attr[string] // canonical; "00:00:00:00:00:00" = none
	VLAN       Attr[int]    // 0 = untagged, 1..4094
	SpoofCheck Attr[bool]
	Trust      Attr[bool]
	LinkState  Attr[model.LinkState]
	MinTxRate  Attr[int] // Mbit/s, 0 = none
	MaxTxRate  Attr[int] // Mbit/s, 0 = none
	MTU        Attr[int] // bytes; the largest frame's payload that the VF may send
	// Allowed is the list of sources checked while SpoofCheck is on. A NIC without
	// IP checks reports Unsupported. Sorted; see SortAllowed.
	Allowed Attr[[]model.AllowedSource]
}

// Counting is a Switch whose Observe leaves the counters out, because the NIC asks its
// firmware for each of them.
type Counting interface {
	// Counters reads the counters of every VF that has some. A PF that cannot be read
	// is left out and named in the error; the others are returned beside it.
	Counters(ctx context.Context) (map[VFID]Counters, error)
}

// Change asks for attributes of one VF.
type Change struct {
	VF    VFID
	Attrs Attrs
}

// Result of one Change. Err is nil when everything was accepted, else it wraps what
// went wrong and names the attribute.
type Result struct {
	VF  VFID
	Err error
}

// Counters as a NIC keeps them, from the VF's side: Rx is what the VF received.
type Counters struct {
	RxPackets, RxBytes, RxBroadcast, RxMulticast, RxDropped uint64
	TxPackets, TxBytes, TxBroadcast, TxMulticast, TxDropped uint64
	TxSpoofed                                               uint64
}

// Capabilities of a PF's driver, probed and not listed.
type Capabilities struct {
	MAC, VLAN, SpoofCheck, Trust, LinkState, MinTxRate, MaxTxRate, MTU, Allowed bool
}

// Baseline is what a VF that belongs to nobody carries.
func Baseline() Attrs {
	return Attrs{
		MAC:        Set("00:00:00:00:00:00"),
		VLAN:       Set(0),
		SpoofCheck: Set(true),
		Trust:      Set(false),
		LinkState:  Set(model.LinkDisable),
		MinTxRate:  Set(0),
		MaxTxRate:  Set(0),
		Allowed:    Set([]model.AllowedSource(nil)),
	}
}

// SortAllowed returns sources in canonical order without repetitions.
func SortAllowed(in []model.AllowedSource) []model.AllowedSource {
	return sortAllowed(in)
}

// HostPrefix is the prefix that holds one address only.
func HostPrefix(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, a.BitLen())
}
