package machine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// CPUList is a set of CPUs, ascending and without doubles.
type CPUList []int

// ErrBadList: not a list of CPUs as the kernel writes or takes it.
var ErrBadList = errors.New("not a list of CPUs like 0-3,8")

// mostCPUs is more than any kernel is built for (CONFIG_NR_CPUS is 8192 at most).
const mostCPUs = 8192

// ParseCPUList reads a list of CPUs as the kernel does (lib/bitmap-str.c,
// bitmap_parselist): "0-3,8", regions apart by commas or blanks, "0-15:2/4" for the
// first 2 of each 4, "all", and "N" for the last CPU. n is how many CPUs there can be;
// with 0 that is not known, and "all" and "N" are errors.
func ParseCPUList(text string, n int) (CPUList, error) {
	limit := n
	if n <= 0 || n > mostCPUs {
		limit = mostCPUs
	}
	in := make([]bool, limit)
	blank := func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' || r == '\v' || r == '\f'
	}
	for _, region := range strings.FieldsFunc(text, blank) {
		r, err := parseRegion(region, n)
		if err != nil {
			return nil, fmt.Errorf("CPU list %.60q: %.30q: %w", text, region, err)
		}
		if r.last >= limit {
			return nil, fmt.Errorf("CPU list %.60q: CPU %d: only 0 to %d can be: %w", text, r.last, limit-1, ErrBadList)
		}
		for start := r.first; start <= r.last; start += r.group {
			for cpu := start; cpu < start+r.used && cpu <= r.last; cpu++ {
				in[cpu] = true
			}
		}
	}
	var out CPUList
	for cpu, has := range in {
		if has {
			out = append(out, cpu)
		}
	}
	return out, nil
}

// region is "first-last:used/group".
type region struct{ first, last, used, group int }

func parseRegion(text string, n int) (region, error) {
	span, pattern, strided := strings.Cut(text, ":")
	r := region{}
	var err error
	if strings.EqualFold(span, "all") {
		if n <= 0 {
			return r, fmt.Errorf("how many CPUs there are is not known here: %w", ErrBadList)
		}
		r.last = n - 1
	} else {
		first, last, isSpan := strings.Cut(span, "-")
		if strided && !isSpan { // bitmap_parse_region takes a pattern after a span only
			return r, ErrBadList
		}
		if r.first, err = parseCPU(first, n); err != nil {
			return r, err
		}
		r.last = r.first
		if isSpan {
			r.last, err = parseCPU(last, n)
		}
		if err != nil || r.last < r.first {
			return r, errors.Join(err, ErrBadList)
		}
	}
	r.used, r.group = r.last+1, r.last+1
	if !strided {
		return r, nil
	}
	used, group, both := strings.Cut(pattern, "/")
	if r.used, err = parseCPU(used, n); err == nil {
		r.group, err = parseCPU(group, n)
	}
	if err != nil || !both || r.group == 0 || r.used > r.group {
		return r, errors.Join(err, ErrBadList)
	}
	return r, nil
}

func parseCPU(text string, n int) (int, error) {
	if text == "N" && n > 0 {
		return n - 1, nil
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, ErrBadList
	}
	cpu, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadList, err)
	}
	return int(cpu), nil
}

// NewCPUList makes a list of CPUs in any order; negative ones are left out.
func NewCPUList(cpus ...int) CPUList {
	out := slices.Sorted(slices.Values(cpus))
	out = slices.Compact(out)
	for len(out) > 0 && out[0] < 0 {
		out = out[1:]
	}
	return out
}

// String is the list as the kernel writes it: "0-3,8".
func (l CPUList) String() string {
	var out []string
	for i := 0; i < len(l); {
		end := i
		for end+1 < len(l) && l[end+1] == l[end]+1 {
			end++
		}
		if end == i {
			out = append(out, strconv.Itoa(l[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", l[i], l[end]))
		}
		i = end + 1
	}
	return strings.Join(out, ",")
}

// Has reports whether a CPU is in the list.
func (l CPUList) Has(cpu int) bool {
	_, ok := slices.BinarySearch(l, cpu)
	return ok
}

// And is what is in both lists.
func (l CPUList) And(o CPUList) CPUList { return l.keep(o.Has) }

// Without is what is not in the other list.
func (l CPUList) Without(o CPUList) CPUList {
	return l.keep(func(cpu int) bool { return !o.Has(cpu) })
}

// Or is what is in either list.
func (l CPUList) Or(o CPUList) CPUList {
	return NewCPUList(slices.Concat(l, o)...)
}

func (l CPUList) keep(good func(int) bool) CPUList {
	var out CPUList
	for _, cpu := range l {
		if good(cpu) {
			out = append(out, cpu)
		}
	}
	return out
}

// Mask is the list as the kernel writes masks (smp_affinity, xps_cpus): groups of 32
// bits in hexadecimal, the highest first, as many as n CPUs need.
func (l CPUList) Mask(n int) string {
	if len(l) > 0 {
		n = max(n, l[len(l)-1]+1)
	}
	words := make([]uint32, max((n+31)/32, 1))
	for _, cpu := range l {
		if cpu >= 0 {
			words[cpu/32] |= 1 << (cpu % 32)
		}
	}
	width := min(max((n+3)/4, 1), 8)
	if len(words) > 1 {
		if width = (n%32 + 3) / 4; width == 0 {
			width = 8
		}
	}
	out := make([]string, 0, len(words))
	for i := len(words) - 1; i >= 0; i-- {
		out = append(out, fmt.Sprintf("%0*x", width, words[i]))
		width = 8
	}
	return strings.Join(out, ",")
}

// ParseCPUMask reads a mask of CPUs as the kernel writes it.
func ParseCPUMask(text string) (CPUList, error) {
	text = strings.TrimSpace(text)
	bad := fmt.Errorf("CPU mask %.60q: %w", text, ErrBadList)
	words := strings.Split(text, ",")
	if len(words) > mostCPUs/32 {
		return nil, bad
	}
	var out CPUList
	for i := range words {
		word := words[len(words)-1-i]
		if len(word) > 8 {
			return nil, bad
		}
		v, err := strconv.ParseUint(word, 16, 32)
		if err != nil || strings.ContainsAny(word, "+-_") {
			return nil, bad
		}
		for bit := range 32 {
			if v>>bit&1 != 0 {
				out = append(out, i*32+bit)
			}
		}
	}
	return out, nil
}
