package hostprep

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/pci"
)

// ErrBadOption: an option of a module that it does not take.
var ErrBadOption = errors.New("not an option of the driver's module")

// mlx4Counts is a value of num_vfs or probe_vf: one number (VFs with all ports), or three (on port 1, on
// port 2, on both).
type mlx4Counts []int

func (c mlx4Counts) text(sep string) string {
	var out []string
	for _, n := range c {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, sep)
}

// total is how many VFs there are, or are driven.
func (c mlx4Counts) total() int {
	n := 0
	for _, v := range c {
		n += v
	}
	return n
}

// check holds numbers of VFs against the limits of the driver and the card.
func (c mlx4Counts) check() error {
	for _, n := range c {
		if n < 0 {
			return fmt.Errorf("%s: %w: a number is negative", c.text(","), ErrBadOption)
		}
	}
	perPort := c.total()
	switch len(c) {
	case 1:
	case 2:
		perPort = max(c[0], c[1])
	case 3:
		perPort = max(c[0], c[1]) + c[2]
	default:
		return fmt.Errorf("%s: %w: want one number, or three (port 1, port 2, both)", c.text(","), ErrBadOption)
	}
	if c.total() > mlx4Functions || perPort > mlx4PerPort {
		return fmt.Errorf("%s VFs: %w: mlx4 has %d in all, %d per port", c.text(","), ErrTooMany, mlx4Functions, mlx4PerPort)
	}
	return nil
}

// covers reports whether probe_vf c is within num_vfs: the driver does not start with more.
func (c mlx4Counts) covers(probe mlx4Counts) bool {
	if len(c) != len(probe) {
		return false
	}
	for i := range c {
		if probe[i] > c[i] {
			return false
		}
	}
	return true
}

// mlx4Value is what num_vfs or probe_vf is given: for all cards, or, which only the vendor's driver takes,
// for each by its PCI address.
type mlx4Value struct {
	all mlx4Counts
	of  map[string]mlx4Counts
}

// parseMLX4 reads "8", "4,4,0" and "0000:04:00.0-8,0000:05:00.0-1;2;3". Addresses may lack the domain.
func parseMLX4(text string) (mlx4Value, error) {
	bad := func(part string) (mlx4Value, error) {
		return mlx4Value{}, fmt.Errorf("%.60q in %.60q: %w: want N, A,B,C, or PCI-N,PCI-A;B;C", part, text, ErrBadOption)
	}
	if !strings.Contains(text, "-") {
		c, err := parseCounts(text, ",")
		if err != nil {
			return bad(text)
		}
		return mlx4Value{all: c}, nil
	}
	v := mlx4Value{of: map[string]mlx4Counts{}}
	for part := range strings.SplitSeq(text, ",") {
		slot, numbers, ok := strings.Cut(part, "-")
		slot = strings.ToLower(slot)
		if strings.Count(slot, ":") == 1 {
			slot = "0000:" + slot
		}
		c, err := parseCounts(numbers, ";")
		if _, twice := v.of[slot]; !ok || twice || err != nil || pci.CheckSlot(slot) != nil {
			return bad(part)
		}
		v.of[slot] = c
	}
	return v, nil
}

func parseCounts(text, sep string) (mlx4Counts, error) {
	var c mlx4Counts
	for part := range strings.SplitSeq(text, sep) {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 7)
		if err != nil || len(c) == 3 {
			return nil, ErrBadOption
		}
		c = append(c, int(n))
	}
	return c, nil
}

func (v mlx4Value) String() string {
	if v.of == nil {
		return v.all.text(",")
	}
	var out []string
	for _, slot := range slices.Sorted(maps.Keys(v.of)) {
		out = append(out, slot+"-"+v.of[slot].text(";"))
	}
	return strings.Join(out, ",")
}

// card is the value for one card.
func (v mlx4Value) card(slot string) mlx4Counts {
	if v.of != nil {
		return v.of[slot]
	}
	return v.all
}

// with gives one card of several its own value, and leaves the others theirs.
func (v mlx4Value) with(slot string, c mlx4Counts, cards []string) mlx4Value {
	out := mlx4Value{of: map[string]mlx4Counts{}}
	for _, s := range cards {
		if old := v.card(s); len(old) > 0 {
			out.of[s] = old
		}
	}
	out.of[slot] = c
	return out
}

// mlx4Options are the other options of mlx4_core that may be asked for, with what they take
// (drivers/net/ethernet/mellanox/mlx4/main.c; the vendor's driver has more flags).
var mlx4Options = map[string]struct {
	takes string
	good  func(string) bool
}{
	"port_type_array":        {"1 (InfiniBand) or 2 (Ethernet) for each port: 2,2", portTypes},
	"log_num_mgm_entry_size": {"7 to 12, or -1 to -127 (flow steering)", func(s string) bool { return inRange(s, 7, 12) || inRange(s, -127, -1) }},
	"enable_64b_cqe_eqe":     {"1, or 0 for guests with old drivers", isBool},
	"enable_4k_uar":          {"1, or 0 for guests with old drivers", isBool},
	"msi_x":                  {"0 to 128", func(s string) bool { return inRange(s, 0, 128) }},
	"log_num_mac":            {"0 to 7", func(s string) bool { return inRange(s, 0, 7) }},
	"log_mtts_per_seg":       {"1 to 7", func(s string) bool { return inRange(s, 1, 7) }},
	"debug_level":            {"0 or 1", func(s string) bool { return inRange(s, 0, 1) }},
}

// checkMLX4Option says what is wrong with an option that is asked for.
func checkMLX4Option(name, value string) error {
	if name == "num_vfs" || name == "probe_vf" {
		return fmt.Errorf("%s: %w that is given so: ask for the number of VFs, and of those that the host drives", name, ErrBadOption)
	}
	o, known := mlx4Options[name]
	if !known {
		return fmt.Errorf("%.40s: %w: there are %s", name, ErrBadOption, strings.Join(slices.Sorted(maps.Keys(mlx4Options)), ", "))
	}
	if !o.good(value) {
		return fmt.Errorf("%s=%.40s: %w: it takes %s", name, value, ErrBadOption, o.takes)
	}
	return nil
}

func inRange(s string, from, to int) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= from && n <= to
}

func isBool(s string) bool { return slices.Contains([]string{"0", "1", "Y", "N", "y", "n"}, s) }

func portTypes(s string) bool {
	parts := strings.Split(s, ",")
	return len(parts) <= 2 && !slices.ContainsFunc(parts, func(p string) bool { return !inRange(p, 1, 2) })
}

// sameOption compares a value with what the kernel shows of it.
func sameOption(a, b string) bool {
	fold := strings.NewReplacer("Y", "1", "y", "1", "N", "0", "n", "0")
	return a == b || fold.Replace(a) == fold.Replace(b)
}
