package plug

import (
	"context"

	"neutrino/internal/libvirt"
)

// LibvirtDomains is Domains of a hypervisor.
type LibvirtDomains struct{ Client *libvirt.Client }

var _ Domains = LibvirtDomains{}

// Find implements Domains.
func (d LibvirtDomains) Find(ctx context.Context, domain string) (string, error) {
	_, id, err := d.Client.Find(ctx, domain)
	return id, err
}

// Attach implements Domains.
func (d LibvirtDomains) Attach(ctx context.Context, v VIF) error {
	return d.Client.Attach(ctx, v.DomainUUID, interfaceOf(v))
}

// Detach implements Domains.
func (d LibvirtDomains) Detach(ctx context.Context, v VIF) error {
	ctx, cancel := context.WithTimeout(ctx, guestDeadline)
	defer cancel()
	return d.Client.Detach(ctx, v.DomainUUID, interfaceOf(v))
}

// Has implements Domains.
func (d LibvirtDomains) Has(ctx context.Context, v VIF) (bool, error) {
	return d.Client.Has(ctx, v.DomainUUID, interfaceOf(v))
}

// Watch implements Domains.
func (d LibvirtDomains) Watch(ctx context.Context, changed func()) { d.Client.Watch(ctx, changed) }

// InterfaceXML is the libvirt interface of a VIF, for people and tools that attach it
// themselves.
func InterfaceXML(v VIF) (string, error) { return interfaceOf(v).XML() }

// interfaceOf says what libvirt has to know. The MAC and VLAN are those that the VF
// carries already; libvirt sets them again to the same.
func interfaceOf(v VIF) libvirt.Interface {
	i := libvirt.Interface{Kind: libvirt.Hostdev, Alias: libvirt.AliasOf(v.PortID), MAC: v.MAC, VLAN: v.VLAN, PCISlot: v.PCISlot}
	if v.Bridge != "" {
		return libvirt.Interface{
			Kind: libvirt.Bridge, Alias: libvirt.AliasOf(v.PortID), MAC: v.MAC, VLAN: v.VLAN, MTU: v.MTU,
			Bridge: v.Bridge, PortID: v.PortID, Netdev: v.Netdev,
		}
	}
	if v.Kind == Macvtap {
		i.Kind, i.Netdev = libvirt.Macvtap, v.Netdev
	}
	return i
}
