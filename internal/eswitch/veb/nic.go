package veb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// Flags as in bpf/veb.h.
const (
	vfActive  = 1 << 0
	vfSpoof   = 1 << 1
	vfIPCheck = 1 << 2
	vfExtra   = 1 << 3
	vfTrust   = 1 << 4
	vfPeer    = 1 << 5
	vfShape   = 1 << 6
	vfLearn   = 1 << 7
	vfTrunk   = 1 << 8
	vfPrio    = 1 << 9

	nicPeer   = 1 << 0
	nicLearn  = 1 << 1
	nicTrust  = 1 << 2
	nicTrunks = 1 << 3

	sourceFixedBits = 96
	ethHeader       = 14
)

// nic is one open NIC. All its state is in the kernel.
type nic struct {
	home  home
	rec   *record
	spec  Spec
	ns    *namespace
	links *links
	o     *swObjects

	mu   sync.Mutex // orders changes, and guards seen
	seen map[int]seen
}

// seen is what of VF i's devices (-1: the uplink's) was known last, so that a change
// by somebody else is told from our own.
type seen struct {
	index     int
	up        bool
	mtu       int
	elsewhere bool
}

// release closes what Create or open opened, not the namespace.
func (n *nic) release() {
	n.links.Close()
	_ = n.o.Close()
}

func (n *nic) vf(i int) (swVf, error) {
	var v swVf
	if err := n.o.Vfs.Lookup(uint32(i), &v); err != nil {
		return v, fmt.Errorf("read record of VF %d of %s: %w", i, n.spec.Name, err)
	}
	return v, nil
}

func (n *nic) putVF(i int, v swVf) error {
	if err := n.o.Vfs.Put(uint32(i), v); err != nil {
		return fmt.Errorf("write record of VF %d of %s: %w", i, n.spec.Name, err)
	}
	return nil
}

// vfs reads the records of all VFs.
func (n *nic) vfs() ([]swVf, error) {
	if n.spec.VFs == 0 {
		return nil, nil
	}
	keys, out := make([]uint32, n.spec.VFs), make([]swVf, n.spec.VFs)
	var cur ebpf.MapBatchCursor
	got, err := n.o.Vfs.BatchLookup(&cur, keys, out, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read records of %s: %w", n.spec.Name, err)
	}
	if got != n.spec.VFs {
		return nil, fmt.Errorf("read records of %s: %d of %d VFs: %w", n.spec.Name, got, n.spec.VFs, ErrIncomplete)
	}
	return out, nil
}

func (n *nic) card() (swNic, error) {
	var k swNic
	if err := n.o.Nics.Lookup(uint32(0), &k); err != nil {
		return k, fmt.Errorf("read record of %s: %w", n.spec.Name, err)
	}
	return k, nil
}

func (n *nic) putNIC(k swNic) error {
	if err := n.o.Nics.Put(uint32(0), k); err != nil {
		return fmt.Errorf("write record of %s: %w", n.spec.Name, err)
	}
	return nil
}

// setAttrs changes a record as far as the attributes are in it: all but rates, MTU of
// the device, and Allowed.
func setAttrs(v *swVf, a eswitch.Attrs) {
	if s, ok := a.MAC.Get(); ok {
		mac, _ := parseMAC(s)
		v.Mac = mac
	}
	if x, ok := a.VLAN.Get(); ok {
		v.Vlan = uint16(x)
	}
	if x, ok := a.SpoofCheck.Get(); ok {
		setFlag(&v.Flags, vfSpoof, x)
	}
	if x, ok := a.Trust.Get(); ok {
		setFlag(&v.Flags, vfTrust, x)
	}
	if x, ok := a.LinkState.Get(); ok {
		v.Link = uint16(x)
	}
	if x, ok := a.MaxTxRate.Get(); ok {
		setFlag(&v.Flags, vfShape, x > 0)
	}
	if x, ok := a.MinTxRate.Get(); ok {
		setFlag(&v.Flags, vfPrio, x > 0)
	}
	if x, ok := a.MTU.Get(); ok {
		v.Maxlen = uint32(x) + ethHeader
	}
	derive(v)
}

// derive sets the flags that follow from others.
func derive(v *swVf) {
	trusted := v.Flags&vfTrust != 0
	setFlag(&v.Flags, vfTrunk, trusted && v.Vlan == 0)
	setFlag(&v.Flags, vfLearn, v.Flags&(vfExtra|vfTrunk) != 0 || trusted && v.Flags&vfSpoof == 0)
}

func setFlag(f *uint16, bit uint16, on bool) {
	if on {
		*f |= bit
	} else {
		*f &^= bit
	}
}

// setAllowed puts into the record what follows from the allowed sources and the MAC.
func setAllowed(v *swVf, allowed []model.AllowedSource) {
	v.Ip4, v.Ip6 = [2]uint32{}, [16]uint8{}
	setFlag(&v.Flags, vfIPCheck, len(allowed) > 0)
	setFlag(&v.Flags, vfExtra, false)
	n4, has6 := 0, false
	for _, a := range allowed {
		mac, err := parseMAC(a.MAC)
		if err != nil {
			continue
		}
		if mac != v.Mac {
			setFlag(&v.Flags, vfExtra, true)
			continue
		}
		addr := a.Prefix.Addr()
		switch {
		case a.Prefix.Bits() != addr.BitLen():
		case addr.Is4() && n4 < len(v.Ip4):
			b := addr.As4()
			v.Ip4[n4] = binary.NativeEndian.Uint32(b[:])
			n4++
		case addr.Is6() && !has6:
			v.Ip6, has6 = addr.As16(), true
		}
	}
	derive(v)
}

// linkUp says whether a VF's link is up, given the link state asked for and the
// uplink's carrier.
func linkUp(link uint16, carrier bool) bool {
	switch model.LinkState(link) {
	case model.LinkEnable:
		return true
	case model.LinkAuto:
		return carrier
	default:
		return false
	}
}

// parseMAC accepts what can be a station's address, or none (all zero).
func parseMAC(s string) ([6]uint8, error) {
	var out [6]uint8
	hw, err := net.ParseMAC(s)
	if err != nil {
		return out, err
	}
	if len(hw) != 6 {
		return out, fmt.Errorf("address %s: want 6 bytes", s)
	}
	if hw[0]&1 != 0 {
		return out, fmt.Errorf("address %s: is a group address", s)
	}
	copy(out[:], hw)
	return out, nil
}

func macString(m [6]uint8) string { return net.HardwareAddr(m[:]).String() }

// sourceKey is how the programs look an allowed source up.
func sourceKey(i int, mac [6]uint8, p netip.Prefix) swSourceKey {
	k := swSourceKey{Slot: uint32(i), Mac: mac, Family: 6, Prefixlen: uint32(sourceFixedBits + p.Bits())}
	if p.Addr().Is4() {
		k.Family = 4
		b := p.Addr().As4()
		copy(k.Addr[:], b[:])
		return k
	}
	k.Addr = p.Addr().As16()
	return k
}

func sourceOf(k swSourceKey) model.AllowedSource {
	a := netip.AddrFrom16(k.Addr)
	if k.Family == 4 {
		a = netip.AddrFrom4([4]byte(k.Addr[:4]))
	}
	return model.AllowedSource{MAC: macString(k.Mac), Prefix: netip.PrefixFrom(a, int(k.Prefixlen)-sourceFixedBits)}
}
