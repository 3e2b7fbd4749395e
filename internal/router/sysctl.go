package router

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctl is a path below /proc/sys/net and its value.
type sysctl struct{ path, value string }

// namespaceSysctls make a namespace forward, and links that come to it behave. The
// order counts: changing ip_forward resets what stands in conf (net/ipv4/devinet.c).
func namespaceSysctls() []sysctl {
	out := []sysctl{{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"}, {"ipv6/conf/default/forwarding", "1"}}
	for _, conf := range []string{"all", "default"} {
		out = append(out, linkSysctls(conf)...)
	}
	return out
}

// linkSysctls are those of one link. Packets whose source would not be answered over the link
// they came by are dropped (rp_filter); the router learns nothing from others' router
// advertisements and redirects, and sends no redirects; it answers ARP for an address on its
// own link only, as Neutron's routers do. Duplicate address detection is off: an address
// that moves here may still be on the host it comes from.
func linkSysctls(conf string) []sysctl {
	v4, v6 := "ipv4/conf/"+conf+"/", "ipv6/conf/"+conf+"/"
	return []sysctl{
		{v4 + "rp_filter", "1"},
		{v4 + "accept_redirects", "0"},
		{v4 + "send_redirects", "0"},
		{v4 + "arp_ignore", "1"},
		{v4 + "arp_announce", "2"},
		{v4 + "promote_secondaries", "1"},
		{v6 + "accept_ra", "0"},
		{v6 + "accept_redirects", "0"},
		{v6 + "accept_dad", "0"},
	}
}

// ensureSysctls writes those that differ; it is to be called inside the namespace. What IPv6
// is asked for is left out on a machine without IPv6.
func ensureSysctls(all []sysctl) (changed bool, err error) {
	for _, s := range all {
		path := filepath.Join("/proc/sys/net", s.path)
		have, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && strings.HasPrefix(s.path, "ipv6/") {
			continue
		}
		if err != nil {
			return changed, fmt.Errorf("read sysctl: %w", err)
		}
		if strings.TrimSpace(string(have)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
			return changed, fmt.Errorf("set sysctl to %s: %w", s.value, err)
		}
		changed = true
	}
	return changed, nil
}
