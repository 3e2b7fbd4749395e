package portspace

import (
	"fmt"
	"strconv"
	"strings"
)

// Mark says what a netdev in a namespace is there for, and what it was before.
type Mark struct {
	Port string // the port's id
	VF          // where it came from
	MAC  string // before
	MTU  int    // before
}

// Bridged: it is an interface of an Open vSwitch bridge, not a VF. Its name is how Open
// vSwitch knows it, in whichever namespace: renamed, it would be made anew.
func (m Mark) Bridged() bool { return m.Index < 0 }

func (m Mark) text(head string) string {
	return fmt.Sprintf("%s port=%s pf=%s vf=%d name=%s mac=%s mtu=%d", head, m.Port, m.PF, m.Index, m.Netdev, m.MAC, m.MTU)
}

// parseMark reads a mark of this head; ok is false for everything else.
func parseMark(head, s string) (Mark, bool) {
	f, ok := fields(head, s)
	if !ok {
		return Mark{}, false
	}
	index, err1 := strconv.Atoi(f["vf"])
	mtu, err2 := strconv.Atoi(f["mtu"])
	m := Mark{Port: f["port"], VF: VF{PF: f["pf"], Index: index, Netdev: f["name"]}, MAC: f["mac"], MTU: mtu}
	return m, err1 == nil && err2 == nil && m.Port != "" && m.Netdev != ""
}

// mark is what a namespace's loopback says: whose it is.
func (k Kind) mark(host, owner string) string {
	return fmt.Sprintf("%s host=%s %s=%s", k.Head, host, k.Key, owner)
}

func (k Kind) parse(s string) (host, owner string) {
	f, _ := fields(k.Head, s)
	if f["host"] == "" || f[k.Key] == "" {
		return "", ""
	}
	return f["host"], f[k.Key]
}

// fields reads "head key=value ...".
func fields(head, s string) (map[string]string, bool) {
	parts := strings.Fields(s)
	if len(parts) == 0 || parts[0] != head {
		return nil, false
	}
	out := map[string]string{}
	for _, p := range parts[1:] {
		if k, v, ok := strings.Cut(p, "="); ok {
			out[k] = v
		}
	}
	return out, true
}
