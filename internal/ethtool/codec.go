package ethtool

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// decode reads the answer of a group of numbers.
func (g group) decode(body []byte) (Settings, error) {
	values := map[uint16]uint32{}
	ad, err := netlink.NewAttributeDecoder(body)
	if err != nil {
		return nil, err
	}
	for ad.Next() {
		switch len(ad.Bytes()) {
		case 1:
			values[ad.Type()] = uint32(ad.Uint8())
		case 4:
			values[ad.Type()] = ad.Uint32()
		}
	}
	if err = ad.Err(); err != nil {
		return nil, err
	}
	out := Settings{}
	for _, a := range g.attrs {
		v, ok := values[a.typ]
		if !ok {
			continue
		}
		s := Setting{Value: v}
		if a.most != 0 {
			if s.Max = values[a.most]; s.Max == 0 {
				continue // it has none of these
			}
		}
		out[a.key] = s
	}
	return out, nil
}

// setter is the request that sets keys of one group.
func setter(name string, keys []Key, want map[Key]uint32) (uint8, func(*netlink.AttributeEncoder), error) {
	if name == Feature {
		return unix.ETHTOOL_MSG_FEATURES_SET, func(ae *netlink.AttributeEncoder) { encodeFeatures(ae, keys, want) }, nil
	}
	g, ok := groupOf(name)
	if !ok {
		return 0, nil, fmt.Errorf("%q: %w", name, ErrUnsupported)
	}
	for _, k := range keys {
		if a, known := g.attr(k); !known || a.bool && want[k] > 1 {
			return 0, nil, fmt.Errorf("%s to %d: %w", k, want[k], ErrUnsupported)
		}
	}
	return g.set, func(ae *netlink.AttributeEncoder) {
		for _, k := range keys {
			a, _ := g.attr(k)
			if a.bool {
				ae.Uint8(a.typ, uint8(want[k]))
			} else {
				ae.Uint32(a.typ, want[k])
			}
		}
	}, nil
}

// decodeFeatures reads offloads: whether each is on, and whether it can be changed. What
// is asked for counts, not what is in force: generic offloads may wait for others.
func decodeFeatures(body []byte) (Settings, error) {
	sets := map[uint16]map[string]bool{}
	ad, err := netlink.NewAttributeDecoder(body)
	if err != nil {
		return nil, err
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.ETHTOOL_A_FEATURES_HW, unix.ETHTOOL_A_FEATURES_ACTIVE, unix.ETHTOOL_A_FEATURES_NOCHANGE:
			bits := map[string]bool{}
			ad.Nested(func(nad *netlink.AttributeDecoder) error { return decodeBitset(nad, bits) })
			sets[ad.Type()] = bits
		}
	}
	if err = ad.Err(); err != nil {
		return nil, err
	}
	out := Settings{}
	active, fixed := sets[unix.ETHTOOL_A_FEATURES_ACTIVE], sets[unix.ETHTOOL_A_FEATURES_NOCHANGE]
	for name := range sets[unix.ETHTOOL_A_FEATURES_HW] {
		out[Key(Feature+" "+name)] = Setting{Value: number(active[name]), Fixed: fixed[name]}
	}
	for name := range active {
		if k := Key(Feature + " " + name); !out.has(k) {
			out[k] = Setting{Value: 1, Fixed: true}
		}
	}
	return out, nil
}

func (s Settings) has(k Key) bool {
	_, ok := s[k]
	return ok
}

func number(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// decodeBitset reads the verbose form: a list of bits by name. In a list without a mask
// a bit that is there is set.
func decodeBitset(ad *netlink.AttributeDecoder, to map[string]bool) error {
	for ad.Next() {
		if ad.Type() != unix.ETHTOOL_A_BITSET_BITS {
			continue
		}
		ad.Nested(func(bits *netlink.AttributeDecoder) error {
			for bits.Next() {
				if bits.Type() != unix.ETHTOOL_A_BITSET_BITS_BIT {
					continue
				}
				bits.Nested(func(bit *netlink.AttributeDecoder) error {
					for bit.Next() {
						if bit.Type() == unix.ETHTOOL_A_BITSET_BIT_NAME {
							to[bit.String()] = true
						}
					}
					return nil
				})
			}
			return nil
		})
	}
	return nil
}

// encodeFeatures asks for offloads by name; a bit with a value is on.
func encodeFeatures(ae *netlink.AttributeEncoder, keys []Key, want map[Key]uint32) {
	ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(set *netlink.AttributeEncoder) error {
		set.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
			for _, k := range keys {
				bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
					bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, k.Name())
					if want[k] != 0 {
						bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, true)
					}
					return nil
				})
			}
			return nil
		})
		return nil
	})
}
