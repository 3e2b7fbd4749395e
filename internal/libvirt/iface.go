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

// ErrInvalid: an interface that cannot be written.
var ErrInvalid = errors.New("invalid interface")

// Kind of an interface.
type Kind int

// The kinds.
const (
	Hostdev Kind = iota // <interface type='hostdev'>: VFIO passthrough
	Macvtap             // <interface type='direct'> in passthrough mode on the VF's netdev
)

// Interface is what a domain gets for a port.
type Interface struct {
	Kind    Kind
	Alias   string // names the device in the domain; see AliasOf
	MAC     string
	VLAN    int    // 1..4094; 0 = untagged
	PCISlot string // hostdev: "dddd:bb:ss.f"
	Netdev  string // macvtap: the VF's netdev
	// Managed has libvirt bind vfio-pci and give the VF back; else whoever attaches has
	// done so.
	Managed bool
}

// AliasOf is the alias of a port's interface. libvirt lets users choose those that
// begin with "ua-".
func AliasOf(portID string) string { return "ua-neutrino-" + portID }

var (
	slotText   = regexp.MustCompile(`^([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$`)
	aliasText  = regexp.MustCompile(`^ua-[A-Za-z0-9_-]{1,120}$`)
	netdevText = regexp.MustCompile(`^[^/\s:]{1,15}$`)
)

// XML writes the interface as libvirt's formatdomain says.
func (i Interface) XML() (string, error) {
	d, err := i.device()
	if err != nil {
		return "", err
	}
	out, err := d.Marshal()
	if err != nil {
		return "", fmt.Errorf("write interface %s: %w", i.Alias, err)
	}
	return strings.TrimSpace(out), nil
}

func (i Interface) device() (*libvirtxml.DomainInterface, error) {
	mac, err := net.ParseMAC(i.MAC)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("%w: MAC %.40q", ErrInvalid, i.MAC)
	case !aliasText.MatchString(i.Alias):
		return nil, fmt.Errorf("%w: alias %.40q", ErrInvalid, i.Alias)
	case i.VLAN < 0 || i.VLAN > 4094:
		return nil, fmt.Errorf("%w: VLAN %d", ErrInvalid, i.VLAN)
	}
	d := &libvirtxml.DomainInterface{
		MAC:   &libvirtxml.DomainInterfaceMAC{Address: mac.String()},
		Alias: &libvirtxml.DomainAlias{Name: i.Alias},
	}
	if i.VLAN != 0 {
		d.VLan = &libvirtxml.DomainInterfaceVLan{Tags: []libvirtxml.DomainInterfaceVLanTag{{ID: uint(i.VLAN)}}}
	}
	switch i.Kind {
	case Hostdev:
		m := slotText.FindStringSubmatch(i.PCISlot)
		if m == nil {
			return nil, fmt.Errorf("%w: PCI address %.40q", ErrInvalid, i.PCISlot)
		}
		var part [4]*uint
		for n := range part {
			v, perr := strconv.ParseUint(m[n+1], 16, 32)
			if perr != nil {
				return nil, fmt.Errorf("%w: PCI address %.40q", ErrInvalid, i.PCISlot)
			}
			u := uint(v)
			part[n] = &u
		}
		d.Managed = "no"
		if i.Managed {
			d.Managed = "yes"
		}
		d.Source = &libvirtxml.DomainInterfaceSource{Hostdev: &libvirtxml.DomainInterfaceSourceHostdev{
			PCI: &libvirtxml.DomainHostdevSubsysPCISource{
				Address: &libvirtxml.DomainAddressPCI{Domain: part[0], Bus: part[1], Slot: part[2], Function: part[3]},
			},
		}}
	case Macvtap:
		if !netdevText.MatchString(i.Netdev) {
			return nil, fmt.Errorf("%w: netdev %.40q", ErrInvalid, i.Netdev)
		}
		d.Source = &libvirtxml.DomainInterfaceSource{Direct: &libvirtxml.DomainInterfaceSourceDirect{Dev: i.Netdev, Mode: "passthrough"}}
		d.Model = &libvirtxml.DomainInterfaceModel{Type: "virtio"}
	default:
		return nil, fmt.Errorf("%w: kind %d", ErrInvalid, i.Kind)
	}
	return d, nil
}

// Domain is a domain with the devices that concern VFs.
type Domain struct {
	Name, UUID string
	Running    bool // or paused
	Persistent bool
	Devices    []Device
}

// Device of a domain.
type Device struct {
	Alias   string
	MAC     string
	PCISlot string // of the host's function
	Netdev  string // under a macvtap
	Live    bool   // the running domain has it
	Config  bool   // the configuration has it
}

// devicesOf reads the devices of a domain's XML that are, or sit on, functions of the
// host.
func devicesOf(text string) ([]Device, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("read domain XML: %w", err)
	}
	if d.Devices == nil {
		return nil, nil
	}
	var out []Device
	for n := range d.Devices.Interfaces {
		i := &d.Devices.Interfaces[n]
		if i.Source == nil {
			continue
		}
		var dev Device
		switch {
		case i.Source.Hostdev != nil && i.Source.Hostdev.PCI != nil:
			dev.PCISlot = slotOf(i.Source.Hostdev.PCI.Address)
		case i.Source.Direct != nil:
			dev.Netdev = i.Source.Direct.Dev
		default:
			continue
		}
		if i.MAC != nil {
			dev.MAC = strings.ToLower(i.MAC.Address)
		}
		if i.Alias != nil {
			dev.Alias = i.Alias.Name
		}
		out = append(out, dev)
	}
	for n := range d.Devices.Hostdevs {
		h := &d.Devices.Hostdevs[n]
		if h.SubsysPCI == nil || h.SubsysPCI.Source == nil {
			continue
		}
		dev := Device{PCISlot: slotOf(h.SubsysPCI.Source.Address)}
		if h.Alias != nil {
			dev.Alias = h.Alias.Name
		}
		out = append(out, dev)
	}
	return out, nil
}

func slotOf(a *libvirtxml.DomainAddressPCI) string {
	if a == nil || a.Bus == nil || a.Slot == nil || a.Function == nil {
		return ""
	}
	domain := uint(0)
	if a.Domain != nil {
		domain = *a.Domain
	}
	return fmt.Sprintf("%04x:%02x:%02x.%x", domain, *a.Bus, *a.Slot, *a.Function)
}
