package dhcp

import (
	"fmt"
	"strconv"
	"strings"
)

// Marks are kept where they cannot outlive what they speak of: in the kernel's alias
// of a link. The namespace's mark is on its loopback, the VF's on the VF.
const (
	nsMarkHead = "neutrino-dhcp"
	vfMarkHead = "neutrino-dhcp-vf"
)

// nsMark says whose a namespace is.
type nsMark struct {
	host    string // identity of the host's own namespace, so that hosts on one machine do not take each other's
	network string
}

func (m nsMark) String() string {
	return fmt.Sprintf("%s host=%s net=%s", nsMarkHead, m.host, m.network)
}

func parseNSMark(s string) (nsMark, bool) {
	f, ok := fields(nsMarkHead, s)
	m := nsMark{host: f["host"], network: f["net"]}
	return m, ok && m.host != "" && m.network != ""
}

// vfMark says what a VF in a namespace is there for, and what it was before.
type vfMark struct {
	port   string
	pf     string
	index  int
	netdev string
	mac    string
	mtu    int
}

// bridged: it is an interface of an Open vSwitch bridge, not a VF. Its name is how Open
// vSwitch knows it, in whichever namespace: renamed, it would be made anew.
func (m vfMark) bridged() bool { return m.index < 0 }

func (m vfMark) String() string {
	return fmt.Sprintf("%s port=%s pf=%s vf=%d name=%s mac=%s mtu=%d", vfMarkHead, m.port, m.pf, m.index, m.netdev, m.mac, m.mtu)
}

func parseVFMark(s string) (vfMark, bool) {
	f, ok := fields(vfMarkHead, s)
	if !ok {
		return vfMark{}, false
	}
	index, err1 := strconv.Atoi(f["vf"])
	mtu, err2 := strconv.Atoi(f["mtu"])
	m := vfMark{port: f["port"], pf: f["pf"], index: index, netdev: f["name"], mac: f["mac"], mtu: mtu}
	return m, err1 == nil && err2 == nil && m.port != "" && m.netdev != ""
}

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
