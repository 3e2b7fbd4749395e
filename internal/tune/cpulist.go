package tune

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// parseCPUs reads a list of CPUs as the kernel writes it: "0-3,8", "0-15:2/4".
func parseCPUs(text string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		span, group, grouped := strings.Cut(part, ":")
		lo, hi, ranged := strings.Cut(span, "-")
		a, aerr := strconv.Atoi(lo)
		b, berr := a, error(nil)
		if ranged {
			b, berr = strconv.Atoi(hi)
		}
		used, of := 1, 1
		var gerr error
		if grouped {
			u, o, ok := strings.Cut(group, "/")
			var uerr, oerr error
			used, uerr = strconv.Atoi(u)
			of, oerr = strconv.Atoi(o)
			if !ok || uerr != nil || oerr != nil || used < 1 || of < used {
				gerr = strconv.ErrSyntax
			}
		}
		if aerr != nil || berr != nil || gerr != nil || a < 0 || b < a || b >= 1<<16 {
			return nil, fmt.Errorf("%.40q is no list of CPUs like 0-3,8", part)
		}
		for i := a; i <= b; i++ {
			if (i-a)%of < used {
				out = append(out, i)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// formatCPUs writes a list of CPUs as the kernel does.
func formatCPUs(cpus []int) string {
	s := slices.Compact(slices.Sorted(slices.Values(cpus)))
	var parts []string
	for i := 0; i < len(s); {
		j := i
		for j+1 < len(s) && s[j+1] == s[j]+1 {
			j++
		}
		if i == j {
			parts = append(parts, strconv.Itoa(s[i]))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", s[i], s[j]))
		}
		i = j + 1
	}
	return strings.Join(parts, ",")
}
