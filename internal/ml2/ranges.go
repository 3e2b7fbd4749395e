package ml2

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of segmentation ids.
const (
	minVLAN, maxVLAN = 1, 4094
	minVNI, maxVNI   = 1, 1<<24 - 1
)

// idRange is an inclusive range of segmentation ids.
type idRange struct{ min, max int }

func (r idRange) size() int { return r.max - r.min + 1 }

// vlanRanges is network_vlan_ranges: the physical networks in the order of the file,
// each with the ids that may be given to tenants.
type vlanRanges struct {
	names  []string
	ranges map[string][]idRange
}

// parseVLANRanges reads entries "phys" (all ids) and "phys:min:max". A physical
// network may come again to add a range; after a bare name later ranges of it add
// nothing.
func parseVLANRanges(entries []string) (vlanRanges, error) {
	v := vlanRanges{ranges: make(map[string][]idRange)}
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		name, rest, hasRange := strings.Cut(entry, ":")
		name = strings.TrimSpace(name)
		if name == "" {
			if hasRange {
				return v, fmt.Errorf("%q: Empty physical network name.", entry) //nolint:staticcheck // Neutron's text
			}
			return v, fmt.Errorf("Empty physical network name.") //nolint:staticcheck // Neutron's text
		}
		r := idRange{minVLAN, maxVLAN}
		if hasRange {
			var err error
			if r, err = parseRange(rest, minVLAN, maxVLAN); err != nil {
				return v, fmt.Errorf("Invalid network VLAN range: '%s' - '%w'.", entry, err) //nolint:staticcheck // Neutron's text
			}
		}
		if _, ok := v.ranges[name]; !ok {
			v.names = append(v.names, name)
		}
		v.ranges[name] = merge(v.ranges[name], r)
	}
	return v, nil
}

// parseVNIRanges reads entries "min:max".
func parseVNIRanges(entries []string) ([]idRange, error) {
	var all []idRange
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		r, err := parseRange(entry, minVNI, maxVNI)
		if err != nil {
			return nil, fmt.Errorf("Invalid network tunnel range: '%s' - %w.", entry, err) //nolint:staticcheck // Neutron's text
		}
		all = merge(all, r)
	}
	return all, nil
}

func parseRange(s string, lowest, highest int) (idRange, error) {
	first, last, ok := strings.Cut(s, ":")
	if !ok || strings.Contains(last, ":") {
		return idRange{}, fmt.Errorf("need exactly two values, min:max")
	}
	var r idRange
	for _, end := range []struct {
		text string
		to   *int
	}{{first, &r.min}, {last, &r.max}} {
		n, err := strconv.Atoi(strings.TrimSpace(end.text))
		if err != nil {
			return idRange{}, fmt.Errorf("%q is not a number", strings.TrimSpace(end.text))
		}
		if n < lowest || n > highest {
			return idRange{}, fmt.Errorf("%d is not between %d and %d", n, lowest, highest)
		}
		*end.to = n
	}
	if r.max < r.min {
		return idRange{}, fmt.Errorf("end of range is less than start of range")
	}
	return r, nil
}

// merge adds a range to disjoint ones and keeps them disjoint, so that a free id is
// as likely as any other however often the file names it.
func merge(have []idRange, r idRange) []idRange {
	out := have[:0:0]
	for _, h := range have {
		if h.max+1 < r.min || r.max+1 < h.min {
			out = append(out, h)
			continue
		}
		r = idRange{min(h.min, r.min), max(h.max, r.max)}
	}
	return append(out, r)
}
