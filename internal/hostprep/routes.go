package hostprep

import (
	"bufio"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/pci"
)

// reach says over which devices the host is reached: proc/net/route and ipv6_route (the
// main table), proc/net/if_inet6.
type reach struct {
	defaults map[string]bool // devices of default routes
	address  map[string]bool // devices with an address or a network of their own
}

func (h Host) reach() reach {
	r := reach{map[string]bool{}, map[string]bool{}}
	for f := range fields(h.path("proc/net/route"), 8) {
		if f[0] == "Iface" || f[0] == "lo" {
			continue
		}
		r.address[f[0]] = true
		if f[1] == "00000000" && f[7] == "00000000" {
			r.defaults[f[0]] = true
		}
	}
	const reject = 0x200 // RTF_REJECT
	for f := range fields(h.path("proc/net/ipv6_route"), 10) {
		flags, err := strconv.ParseUint(f[8], 16, 32)
		if err == nil && flags&reject == 0 && f[9] != "lo" && f[1] == "00" && strings.Trim(f[0], "0") == "" {
			r.defaults[f[9]] = true
		}
	}
	for f := range fields(h.path("proc/net/if_inet6"), 6) {
		if f[3] == "00" && f[5] != "lo" { // global scope
			r.address[f[5]] = true
		}
	}
	return r
}

// fields yields the lines of a file that have at least n fields; none where it is not.
func fields(file string, n int) func(func([]string) bool) {
	return func(yield func([]string) bool) {
		f, err := os.Open(file)
		if err != nil {
			return // that family of addresses is not there
		}
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if w := strings.Fields(sc.Text()); len(w) >= n && !yield(w) {
				return
			}
		}
	}
}

// openVSwitch is the name of ovs-vswitchd's datapath, whose local port is the master of
// the NICs in it (net/openvswitch/vport-netdev.c). The bridges people know, br-ex say, are
// further internal ports: no link in sysfs leads from a NIC to them.
const openVSwitch = "ovs-system"

// stack is a device with all that sits on it ("upper_") or below it ("lower_"), directly
// or not.
func (h Host) stack(way string, names ...string) map[string]bool {
	all := map[string]bool{}
	for len(names) > 0 {
		n := names[0]
		names = names[1:]
		if all[n] {
			continue
		}
		all[n] = true
		next, err := filepath.Glob(h.path("sys/class/net", n, way+"*"))
		if err != nil {
			continue // not a name that a device has
		}
		for _, u := range next {
			names = append(names, strings.TrimPrefix(filepath.Base(u), way))
		}
	}
	return all
}

// virtual reports whether no hardware is below a device: a bridge for guests (virbr0,
// docker0), a tunnel, an internal port of Open vSwitch. Nobody reaches the host by it
// alone.
func (h Host) virtual(name string) bool {
	for n := range h.stack("lower_", name) {
		dir := h.path("sys/class/net", n)
		if _, err := os.Lstat(dir); err != nil || link(filepath.Join(dir, "device")) != "" {
			return false
		}
	}
	return true
}

// management says why the host would be cut off with the PF; "" = it would not. sysfs
// does not say which devices are internal ports of Open vSwitch: where the PF is a port
// of it, every virtual device counts as one.
func (h Host) management(p pci.PF) string {
	var names []string
	for _, d := range p.Netdevs {
		names = append(names, d.Name)
	}
	above, r := h.stack("upper_", names...), h.reach()
	ours := func(n string) bool { return above[n] || above[openVSwitch] && h.virtual(n) }
	for _, n := range slices.Sorted(maps.Keys(r.defaults)) {
		if ours(n) {
			return "the default route goes over " + n
		}
	}
	var with []string
	for _, n := range slices.Sorted(maps.Keys(r.address)) {
		switch {
		case ours(n):
			with = append(with, n)
		case !h.virtual(n):
			return ""
		}
	}
	if len(with) == 0 {
		return ""
	}
	return "the only addresses of the host are on " + strings.Join(with, ", ")
}
