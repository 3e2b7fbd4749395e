package plug

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"neutrino/internal/model"
)

// Errors for errors.Is.
var (
	// ErrNoPort: the port is not bound to this host.
	ErrNoPort = errors.New("port is not bound to this host")
	// ErrNotReady: the port has no VF, or its VF is not as asked yet.
	ErrNotReady = errors.New("port is not ready")
	// ErrPlugged: the port is plugged already, elsewhere.
	ErrPlugged = errors.New("port is plugged already")
	// ErrNotPlugged: the port is not plugged.
	ErrNotPlugged = errors.New("port is not plugged")
	// ErrFenced: the release belongs to an earlier assignment.
	ErrFenced = errors.New("release comes too late")
	// ErrRefused: the request cannot be carried out on this host, and never will be.
	ErrRefused = errors.New("refused")
)

// Kind is how a VF reaches its instance.
type Kind string

// The kinds.
const (
	Hostdev Kind = "hostdev" // VFIO passthrough of the PCI function
	Macvtap Kind = "macvtap" // the VF's netdev under a macvtap of the domain
	Netns   Kind = "netns"   // the VF's netdev, or an interface of a bridge, in a network namespace
	Tap     Kind = "tap"     // an interface of an Open vSwitch bridge, which the hypervisor makes
)

// Target is where a port is to be plugged. Exactly one of Domain, Netns and External.
type Target struct {
	// Domain of libvirt, by name or UUID.
	Domain string `json:"domain,omitempty"`
	// Netns is a named network namespace (ip-netns(8)).
	Netns string `json:"netns,omitempty"`
	// Ifname of the netdev inside the namespace; "" = eth0.
	Ifname string `json:"ifname,omitempty"`
	// External: prepare the VF; a tool of the operator's own does the rest.
	External bool `json:"external,omitempty"`
}

// String says it in words.
func (t Target) String() string {
	switch {
	case t.Domain != "":
		return "domain " + t.Domain
	case t.Netns != "":
		return "namespace " + t.Netns
	default:
		return "a tool of its own"
	}
}

func (t *Target) check() error {
	n := 0
	for _, set := range []bool{t.Domain != "", t.Netns != "", t.External} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return fmt.Errorf("%w: name a domain, a namespace, or ask for the XML: one of them", ErrRefused)
	case t.Ifname != "" && t.Netns == "":
		return fmt.Errorf("%w: an interface name goes with a namespace", ErrRefused)
	case strings.ContainsAny(t.Netns, "/\x00") || t.Netns == "." || t.Netns == "..":
		return fmt.Errorf("%w: %q is not the name of a network namespace", ErrRefused, t.Netns)
	case len(t.Ifname) > 15 || strings.ContainsAny(t.Ifname, "/ \t\n:\x00"):
		return fmt.Errorf("%w: %q is not a device name", ErrRefused, t.Ifname)
	}
	if t.Netns != "" && t.Ifname == "" {
		t.Ifname = "eth0"
	}
	return nil
}

// VIF is one plugged port, as recorded.
type VIF struct {
	PortID     string    `json:"port_id"`
	NetworkID  string    `json:"network_id"`
	PF         string    `json:"pf"`
	Index      int       `json:"index"`
	PCISlot    string    `json:"pci_slot"` // of a port of a bridge: the name of its interface
	Bridge     string    `json:"bridge,omitempty"`
	Generation uint64    `json:"generation"`
	Kind       Kind      `json:"kind"`
	Target     Target    `json:"target"`
	DomainUUID string    `json:"domain_uuid,omitempty"`
	MAC        string    `json:"mac"`
	VLAN       int       `json:"vlan"`
	MTU        int       `json:"mtu"`
	Netdev     string    `json:"netdev,omitempty"` // of the VF in the host's namespace; hostdev: before it went
	Driver     string    `json:"driver,omitempty"` // of the VF before; "" = none
	PluggedAt  time.Time `json:"plugged_at"`
}

// kindOf chooses how a port reaches its target.
func kindOf(att *model.Attachment, t Target) Kind {
	switch {
	case t.Netns != "":
		return Netns
	case att.Kind == model.AttachOVS:
		return Tap
	case att.VnicType == model.VnicMacvtap:
		return Macvtap
	default:
		return Hostdev
	}
}

// deadline of what an instance has to agree to.
const guestDeadline = 60 * time.Second
