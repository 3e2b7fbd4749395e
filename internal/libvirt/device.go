package libvirt

import (
	"fmt"
	"strings"

	"libvirt.org/go/libvirtxml"
)

// Device is a device of the host that a domain has, be it of neutrino's making or not: a
// PCI function (as an interface or as a plain hostdev) or a netdev under a macvtap.
type Device struct {
	Kind Kind
	// Alias is "" where nobody has given one, as in most configurations; PortOf it is ""
	// for what is not of our making.
	Alias   string
	MAC     string // in lower case; "" = a plain hostdev
	VLAN    int    // 0 = none, or a trunk
	PCISlot string // of the host's function
	Netdev  string // under a macvtap, of any mode; of an interface in a bridge: the tap
	// Live: the running domain has it. Config: its configuration has it.
	Live, Config bool
}

// is reports whether the device is the interface: by alias, else by the MAC together
// with the device of the host. Only these fields of the interface matter.
func (d Device) is(i Interface) bool {
	if i.Alias != "" && i.Alias == d.Alias {
		return true
	}
	return d.MAC != "" && strings.EqualFold(i.MAC, d.MAC) && d.sits(i)
}

// sits reports whether both are on the same device of the host.
func (d Device) sits(i Interface) bool {
	return d.PCISlot != "" && strings.EqualFold(i.PCISlot, d.PCISlot) || d.Netdev != "" && i.Netdev == d.Netdev
}

// same reports whether the device is as the interface says in everything that a guest or
// the embedded switch sees.
func (d Device) same(i Interface) bool {
	return d.Kind == i.Kind && d.sits(i) && strings.EqualFold(d.MAC, i.MAC) && d.VLAN == i.VLAN
}

// String says it in words.
func (d Device) String() string {
	s := string(d.Kind) + " " + d.PCISlot + d.Netdev
	if d.Alias != "" {
		s += " (" + d.Alias + ")"
	}
	if d.MAC != "" {
		s += fmt.Sprintf(" with MAC %s, VLAN %d", d.MAC, d.VLAN)
	}
	return s
}

// element is a device with the element that stands for it; nil for a plain hostdev.
type element struct {
	Device
	xml *libvirtxml.DomainInterface
}

// readDevices picks the devices of the host out of a domain's XML.
func readDevices(text string) ([]element, error) {
	var d libvirtxml.Domain
	if err := d.Unmarshal(text); err != nil {
		return nil, fmt.Errorf("libvirt's XML of a domain: %w", err)
	}
	if d.Devices == nil {
		return nil, nil
	}
	var out []element
	for n := range d.Devices.Interfaces {
		x := &d.Devices.Interfaces[n]
		if dev, ok := deviceOf(x); ok {
			out = append(out, element{dev, x})
		}
	}
	for _, x := range d.Devices.Hostdevs {
		if x.SubsysPCI == nil || x.SubsysPCI.Source == nil {
			continue
		}
		dev := Device{Kind: Hostdev, PCISlot: slotOf(x.SubsysPCI.Source.Address)}
		if x.Alias != nil {
			dev.Alias = x.Alias.Name
		}
		out = append(out, element{Device: dev})
	}
	return out, nil
}

// deviceOf reads an interface; ok is false for one that sits on no device of the host.
func deviceOf(x *libvirtxml.DomainInterface) (d Device, ok bool) {
	if x.Source == nil {
		return d, false
	}
	switch src := x.Source; {
	case src.Hostdev != nil && src.Hostdev.PCI != nil:
		d.Kind, d.PCISlot = Hostdev, slotOf(src.Hostdev.PCI.Address)
	case src.Direct != nil && src.Direct.Dev != "":
		d.Kind, d.Netdev = Macvtap, src.Direct.Dev
	case src.Bridge != nil && x.VirtualPort != nil && x.VirtualPort.Params != nil && x.VirtualPort.Params.OpenVSwitch != nil:
		d.Kind = Bridge
		if x.Target != nil {
			d.Netdev = x.Target.Dev
		}
	default:
		return d, false
	}
	if x.MAC != nil {
		d.MAC = strings.ToLower(x.MAC.Address)
	}
	if x.Alias != nil {
		d.Alias = x.Alias.Name
	}
	if v := x.VLan; v != nil && len(v.Tags) == 1 && v.Trunk != "yes" {
		d.VLAN = int(v.Tags[0].ID)
	}
	return d, true
}

// merge makes one list of what the running domain and its configuration have. While a
// domain runs libvirt gives an alias to everything, also to what has none configured.
func merge(live, config []element) []Device {
	var out []Device
	for _, e := range live {
		e.Live = true
		out = append(out, e.Device)
	}
	running := len(out)
	for _, e := range config {
		both := false
		for i := range out[:running] {
			o := &out[i]
			alike := o.PCISlot == e.PCISlot && o.Netdev == e.Netdev && o.MAC == e.MAC && o.VLAN == e.VLAN
			if alike && !o.Config && (e.Alias == "" || e.Alias == o.Alias) {
				o.Config, both = true, true
				break
			}
		}
		if !both {
			e.Config = true
			out = append(out, e.Device)
		}
	}
	return out
}
