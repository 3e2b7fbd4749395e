package trunk

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// MaxVLAN is the highest VLAN id there is; 4095 is reserved (IEEE 802.1Q).
const MaxVLAN = 4094

// VLANs is a set of VLAN ids 1..4094. The zero value is empty.
type VLANs struct{ words [64]uint64 }

// ParseVLANs reads "100-200,300"; "" is the empty set. Ranges may overlap and come in
// any order.
func ParseVLANs(s string) (VLANs, error) {
	var v VLANs
	if strings.TrimSpace(s) == "" {
		return v, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, ranged := strings.Cut(part, "-")
		first, err := vlanID(lo)
		if err != nil {
			return VLANs{}, err
		}
		last := first
		if ranged {
			if last, err = vlanID(hi); err != nil {
				return VLANs{}, err
			}
		}
		if last < first {
			return VLANs{}, fmt.Errorf("VLANs %q: the range ends before it starts", strings.TrimSpace(part))
		}
		for id := first; id <= last; id++ {
			v.Add(id)
		}
	}
	return v, nil
}

func vlanID(s string) (int, error) {
	s = strings.TrimSpace(s)
	id, err := strconv.Atoi(s)
	if err != nil || id < 1 || id > MaxVLAN || s[0] == '+' {
		return 0, fmt.Errorf("VLAN %.20q is not a number from 1 to %d", s, MaxVLAN)
	}
	return id, nil
}

// Add puts id into the set; one that is no VLAN id is ignored.
func (v *VLANs) Add(id int) {
	if id >= 1 && id <= MaxVLAN {
		v.words[id/64] |= 1 << (id % 64)
	}
}

// Has reports whether id is in the set.
func (v *VLANs) Has(id int) bool {
	return id >= 1 && id <= MaxVLAN && v.words[id/64]&(1<<(id%64)) != 0
}

// Len returns how many there are.
func (v *VLANs) Len() int {
	n := 0
	for _, w := range v.words {
		n += bits.OnesCount64(w)
	}
	return n
}

// IDs returns them in ascending order.
func (v *VLANs) IDs() []int {
	out := make([]int, 0, v.Len())
	for i, w := range v.words {
		for ; w != 0; w &= w - 1 {
			out = append(out, i*64+bits.TrailingZeros64(w))
		}
	}
	return out
}

// Or returns what is in either set.
func (v VLANs) Or(o VLANs) VLANs { return v.with(o, func(a, b uint64) uint64 { return a | b }) }

// And returns what is in both sets.
func (v VLANs) And(o VLANs) VLANs { return v.with(o, func(a, b uint64) uint64 { return a & b }) }

// Less returns what is in v and not in o.
func (v VLANs) Less(o VLANs) VLANs { return v.with(o, func(a, b uint64) uint64 { return a &^ b }) }

func (v VLANs) with(o VLANs, f func(a, b uint64) uint64) VLANs {
	for i := range v.words {
		v.words[i] = f(v.words[i], o.words[i])
	}
	return v
}

// String is the shortest text that ParseVLANs reads: "100-200,300".
func (v VLANs) String() string {
	var b strings.Builder
	ids := v.IDs()
	for i := 0; i < len(ids); {
		j := i
		for j+1 < len(ids) && ids[j+1] == ids[j]+1 {
			j++
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(ids[i]))
		if j > i {
			b.WriteByte('-')
			b.WriteString(strconv.Itoa(ids[j]))
		}
		i = j + 1
	}
	return b.String()
}

// MarshalText writes the set as String does.
func (v VLANs) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *VLANs) UnmarshalText(text []byte) error {
	got, err := ParseVLANs(string(text))
	if err != nil {
		return err
	}
	*v = got
	return nil
}
