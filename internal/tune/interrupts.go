package tune

import (
	"regexp"
	"strconv"
	"strings"
)

// trigger ends what the kernel says of an interrupt before the names of its handlers:
// "0-edge", "524288-edge" or, on Arm, "524288 Edge".
var trigger = regexp.MustCompile(`^(?:[0-9]+-(?:edge|level|fasteoi|percpu.*)|Edge|Level)$`)

// parseInterrupts reads proc/interrupts: the handlers of each numbered interrupt.
func parseInterrupts(text string) map[int]string {
	out := map[int]string{}
	lines := strings.Split(text, "\n")
	columns := len(strings.Fields(lines[0]))
	for _, line := range lines[1:] {
		head, rest, ok := strings.Cut(line, ":")
		n, err := strconv.Atoi(strings.TrimSpace(head))
		if !ok || err != nil || n < 0 {
			continue
		}
		f := strings.Fields(rest)
		if len(f) <= columns {
			continue
		}
		f = f[columns:]
		for i, w := range f {
			if trigger.MatchString(w) {
				f = f[i+1:]
				break
			}
		}
		if name := strings.Join(f, " "); name != "" {
			out[n] = name
		}
	}
	return out
}
