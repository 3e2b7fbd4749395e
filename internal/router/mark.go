package router

import (
	"fmt"
	"strconv"
	"strings"
)

// Marks are kept where they cannot outlive what they speak of: in the kernel's alias of a
// link. The namespace's mark is on its loopback, a port's on its netdev.
const (
	nsMarkHead   = "neutrino-router"
	portMarkHead = "neutrino-router-port"
)

// nsMark says whose a namespace is.
type nsMark struct {
	host   string // identity of the host's own namespace, so that hosts on one machine do not take each other's
	router string
}

func (m nsMark) String() string {
	return fmt.Sprintf("%s host=%s router=%s", nsMarkHead, m.host, m.router)
}

func parseNSMark(s string) (nsMark, bool) {
	f, ok := fields(nsMarkHead, s)
	m := nsMark{host: f["host"], router: f["router"]}
	return m, ok && m.host != "" && m.router != ""
}

// portMark says what a netdev in a namespace is there for, and what it was before.
type portMark struct {
	port   string
	pf     string
	index  int
	netdev string
	mac    string
	mtu    int
}

// bridged: it is an interface of an Open vSwitch bridge, not a VF. Its name is how Open
// vSwitch knows it, in whichever namespace: renamed, it would be made anew.
func (m portMark) bridged() bool { return m.index < 0 }

func (m portMark) String() string {
	return fmt.Sprintf("%s port=%s pf=%s vf=%d name=%s mac=%s mtu=%d", portMarkHead, m.port, m.pf, m.index, m.netdev, m.mac, m.mtu)
}

func parsePortMark(s string) (portMark, bool) {
	f, ok := fields(portMarkHead, s)
	if !ok {
		return portMark{}, false
	}
	index, err1 := strconv.Atoi(f["vf"])
	mtu, err2 := strconv.Atoi(f["mtu"])
	m := portMark{port: f["port"], pf: f["pf"], index: index, netdev: f["name"], mac: f["mac"], mtu: mtu}
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
