package libvirt

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// ErrInvalid: the interface cannot be expressed in libvirt's XML.
var ErrInvalid = errors.New("not a valid interface")

// Kind is how a VF reaches its domain.
type Kind string

// The kinds.
const (
	Hostdev Kind = "hostdev" // <interface type='hostdev'>: VFIO passthrough of the PCI function
	// Bridge is <interface type='bridge'> with a virtualport of type openvswitch: libvirt makes
	// the tap and its port in the bridge when the domain starts.
	Bridge  Kind = "bridge"
	Macvtap Kind = "macvtap" // <interface type='direct'> in passthrough mode on the VF's netdev
)

// Interface is a port's VF as a domain is to have it.
type Interface struct {
	Kind Kind
	// Alias names the interface in its domain, see [AliasOf].
	Alias string
	// MAC of the port, unicast. libvirt makes it the VF's MAC in the PF.
	MAC string
	// VLAN is 1 to 4094, or 0 for none. It has to be the one that the VF carries: libvirt
	// writes it into the PF, and takes the VF's VLAN away where it is 0.
	VLAN int
	// PCISlot of the VF, such as 0000:03:10.2. A hostdev has one.
	PCISlot string
	// Netdev of the VF in the host: a macvtap has one. Of a Bridge: the name of the tap.
	Netdev string
	// Bridge of Open vSwitch, and the port's id, a UUID: its interfaceid there. A Bridge has them.
	Bridge, PortID string
	MTU            int // bytes; of a Bridge; 0 = the bridge's
	// Managed lets libvirt bind a hostdev to vfio-pci and give it back to its driver;
	// without it the VF has to be bound to vfio-pci already.
	Managed bool
}

// aliasPrefix marks interfaces of ours. Aliases that begin with "ua-" are the user's:
// libvirt keeps them in the configuration (since 3.9).
const aliasPrefix = "ua-neutrino-"

// AliasOf is the alias of a port's interface.
func AliasOf(portID string) string { return aliasPrefix + portID }

// PortOf is the port of an alias, or "" for an alias that is not ours.
func PortOf(alias string) string {
	port, ours := strings.CutPrefix(alias, aliasPrefix)
	if !ours {
		return ""
	}
	return port
}

// XML is the <interface> element, as libvirt's documentation of the domain XML has it
// (formatdomain, Network interfaces). Errors are ErrInvalid.
//
// There is no <driver name='vfio'/>: libvirt takes VFIO by itself.
func (i Interface) XML() (string, error) {
	if err := i.check(); err != nil {
		return "", err
	}
	x := libvirtxml.DomainInterface{
		MAC:   &libvirtxml.DomainInterfaceMAC{Address: strings.ToLower(i.MAC)},
		Alias: &libvirtxml.DomainAlias{Name: i.Alias},
	}
	if i.VLAN != 0 {
		x.VLan = &libvirtxml.DomainInterfaceVLan{Tags: []libvirtxml.DomainInterfaceVLanTag{{ID: uint(i.VLAN)}}}
	}
	switch i.Kind {
	case Bridge:
		x.Source = &libvirtxml.DomainInterfaceSource{Bridge: &libvirtxml.DomainInterfaceSourceBridge{Bridge: i.Bridge}}
		x.VirtualPort = &libvirtxml.DomainInterfaceVirtualPort{Params: &libvirtxml.DomainInterfaceVirtualPortParams{
			OpenVSwitch: &libvirtxml.DomainInterfaceVirtualPortParamsOpenVSwitch{InterfaceID: i.PortID},
		}}
		x.Target = &libvirtxml.DomainInterfaceTarget{Dev: i.Netdev}
		x.Model = &libvirtxml.DomainInterfaceModel{Type: "virtio"}
		if i.MTU > 0 {
			x.MTU = &libvirtxml.DomainInterfaceMTU{Size: uint(i.MTU)}
		}
	case Hostdev:
		address, err := addressOf(i.PCISlot)
		if err != nil {
			return "", err
		}
		x.Managed = "no"
		if i.Managed {
			x.Managed = "yes"
		}
		x.Source = &libvirtxml.DomainInterfaceSource{Hostdev: &libvirtxml.DomainInterfaceSourceHostdev{
			PCI: &libvirtxml.DomainHostdevSubsysPCISource{Address: address},
		}}
	default:
		x.Source = &libvirtxml.DomainInterfaceSource{Direct: &libvirtxml.DomainInterfaceSourceDirect{Dev: i.Netdev, Mode: "passthrough"}}
		x.Model = &libvirtxml.DomainInterfaceModel{Type: "virtio"}
	}
	out, err := x.Marshal()
	if err != nil {
		return "", fmt.Errorf("write interface %s: %w", i.Alias, err)
	}
	return emptyText.ReplaceAllString(out, "/>"), nil
}

// emptyText is an element without content as encoding/xml writes it. A ">" within an
// attribute is written as an entity.
var emptyText = regexp.MustCompile(`></[A-Za-z]+>`)

// maxVLAN is the last VLAN id that IEEE 802.1Q gives out.
const maxVLAN = 4094

// aliasText: the characters that libvirt allows (virDomainDeviceAliasIsUserAlias), and a
// length that QEMU's names derived from it survive.
var aliasText = regexp.MustCompile(`^ua-[A-Za-z0-9_-]{1,120}$`)

func (i Interface) check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %.140q: %s", ErrInvalid, i.Alias, fmt.Sprintf(format, a...))
	}
	mac, err := net.ParseMAC(i.MAC)
	switch {
	case !aliasText.MatchString(i.Alias):
		return bad("the alias is not ua- followed by 1 to 120 letters, digits, '_', '-'")
	case err != nil || len(mac) != 6 || strings.Count(i.MAC, ":") != 5:
		return bad("%.40q is not a MAC address like fa:16:3e:00:00:01", i.MAC)
	case mac[0]&1 != 0:
		return bad("MAC %s is a group's, not a station's", mac)
	case mac.String() == "00:00:00:00:00:00":
		return bad("the MAC is all zero")
	case i.VLAN < 0 || i.VLAN > maxVLAN:
		return bad("VLAN %d is not within 0 to %d", i.VLAN, maxVLAN)
	}
	switch i.Kind {
	case Hostdev:
		_, err = addressOf(i.PCISlot)
		return err
	case Bridge:
		switch {
		case !isNetdev(i.Bridge):
			return bad("%.40q is not the name of a bridge", i.Bridge)
		case !isNetdev(i.Netdev):
			return bad("%.40q is not a name for the tap", i.Netdev)
		case !uuidText.MatchString(i.PortID):
			return bad("port id %.60q is not a UUID, which libvirt wants for an interfaceid", i.PortID)
		case i.MTU < 0 || i.MTU > 65535:
			return bad("MTU %d is not within 0 to 65535", i.MTU)
		case i.Managed:
			return bad("managed goes with hostdev, not with a bridge")
		}
		return nil
	case Macvtap:
		if !isNetdev(i.Netdev) {
			return bad("%.40q is not the name of a network device: macvtap needs the VF's", i.Netdev)
		}
		if i.Managed {
			return bad("managed goes with hostdev, not with macvtap")
		}
		return nil
	default:
		return bad("kind %.20q is none of %s, %s, %s", i.Kind, Hostdev, Macvtap, Bridge)
	}
}

// isNetdev follows dev_valid_name (net/core/dev.c), and keeps to printable ASCII.
func isNetdev(name string) bool {
	if name == "" || len(name) > 15 || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' })
}

var uuidText = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

var slotText = regexp.MustCompile(`^([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])$`)

// addressOf reads a PCI slot as the kernel writes it: domain:bus:device.function.
func addressOf(slot string) (*libvirtxml.DomainAddressPCI, error) {
	m := slotText.FindStringSubmatch(slot)
	if m == nil {
		return nil, fmt.Errorf("%w: %.40q is not a PCI slot like 0000:03:10.2", ErrInvalid, slot)
	}
	var n [4]*uint
	for k, s := range m[1:] {
		x, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: PCI slot %q: %w", ErrInvalid, slot, err)
		}
		u := uint(x)
		n[k] = &u
	}
	return &libvirtxml.DomainAddressPCI{Domain: n[0], Bus: n[1], Slot: n[2], Function: n[3]}, nil
}

// slotOf is the way back. libvirt prints all four; what is absent is 0 to it.
func slotOf(a *libvirtxml.DomainAddressPCI) string {
	if a == nil {
		return ""
	}
	n := func(p *uint) uint {
		if p == nil {
			return 0
		}
		return *p
	}
	return fmt.Sprintf("%04x:%02x:%02x.%x", n(a.Domain), n(a.Bus), n(a.Slot), n(a.Function))
}
