package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/netspace"
)

// bootIn is how long an instance may take until it has its address.
const bootIn = 20 * time.Second

// ErrNoVF: every VF of the host is taken.
var ErrNoVF = errors.New("no free VF")

// BootOptions say what an instance is to be.
type BootOptions struct {
	Name    string
	Host    string
	Network string // id or name
	PortID  string // an existing port; "" = the lab makes one
	NoDHCP  bool   // leave eth0 without an address

	// What it is told by metadata.
	PublicKeys []string // OpenSSH
	UserData   string
}

// profile is the key "instance" of binding:profile; nil = nothing is to be told.
func (o BootOptions) profile() map[string]any {
	if len(o.PublicKeys) == 0 && o.UserData == "" {
		return nil
	}
	return map[string]any{"hostname": o.Name, "public_keys": o.PublicKeys, "user_data": o.UserData}
}

// Boot starts an instance: a namespace whose eth0 is a VF, plugged and programmed the
// way Nova has it done. It returns when the instance has its address.
func Boot(ctx context.Context, n Names, o BootOptions) (*Instance, error) {
	unlock, err := n.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := n.live()
	if err != nil {
		return nil, err
	}
	return boot(ctx, n, s, o)
}

// live reads the state of a lab that is up.
func (n Names) live() (*State, error) {
	s, err := Read(n)
	if err == nil && !s.Ready {
		err = fmt.Errorf("lab %s: %w: it was cut short", n.Lab, ErrDown)
	}
	return s, err
}

func boot(ctx context.Context, n Names, s *State, o BootOptions) (*Instance, error) {
	if err := checkPart("instance", o.Name); err != nil {
		return nil, err
	}
	h, ok := s.Host(o.Host)
	_, clash := s.Host(o.Name)
	switch {
	case !ok:
		return nil, fmt.Errorf("boot %s: lab %s has no host %q", o.Name, n.Lab, o.Host)
	case clash || s.Instance(o.Name) != nil:
		return nil, fmt.Errorf("boot %s: lab %s has something of that name already", o.Name, n.Lab)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootIn, fmt.Errorf("not there after %s", bootIn))
	defer cancel()
	b := &booting{n: n, s: s, h: h, api: NewAPI(s.API), o: o, in: &Instance{Name: o.Name, Host: o.Host, BootedAt: time.Now().UTC()}}
	if err := b.all(ctx); err != nil {
		clean, stop := context.WithTimeout(context.WithoutCancel(ctx), bootIn)
		defer stop()
		return nil, errors.Join(fmt.Errorf("boot %s: %w", o.Name, err), kill(clean, n, s, b.in))
	}
	return b.in, nil
}

type booting struct {
	n   Names
	s   *State
	h   Host
	api *API
	o   BootOptions
	in  *Instance
}

func (b *booting) all(ctx context.Context) error {
	for _, step := range []func(context.Context) error{b.pickVF, b.port, b.bind, b.plug, b.address} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	b.in.Ready = true
	return b.s.write(b.n)
}

// pickVF chooses a VF that nobody has, as Nova's PCI tracker does. On the network node
// it looks from the other end than the agent, which takes VFs there by itself.
func (b *booting) pickVF(ctx context.Context) error {
	taken := map[int]bool{}
	ports, err := b.api.Ports(ctx, "")
	if err != nil {
		return err
	}
	slots := map[any]bool{} // of ports that are bound here without us, as the agent chose
	for _, p := range ports {
		if p.HostID == b.h.Name {
			slots[p.Profile["pci_slot"]], slots[p.VIFDetails["pci_slot"]] = true, true
		}
	}
	for _, x := range b.s.Instances {
		if x.Host == b.h.Name {
			taken[x.VF] = true
		}
	}
	for i := range b.s.VFs {
		vf := i
		if b.h.DHCP {
			vf = b.s.VFs - 1 - i
		}
		if taken[vf] || slots[veb.VFSlot(b.h.PF, vf)] || !hasLink(b.n.Namespace(b.h.Name), vfName(vf)) {
			continue
		}
		b.in.VF, b.in.PCISlot = vf, veb.VFSlot(b.h.PF, vf)
		b.s.Instances = append(b.s.Instances, b.in)
		return b.s.write(b.n)
	}
	return fmt.Errorf("host %s: %w (%d in all)", b.h.Name, ErrNoVF, b.s.VFs)
}

func vfName(i int) string { return NIC + "v" + strconv.Itoa(i) }

func hasLink(namespace, name string) bool {
	return netspace.Do(namespace, func() error {
		_, err := netlink.LinkByName(name)
		return err
	}) == nil
}

func (b *booting) port(ctx context.Context) error {
	if b.o.PortID != "" {
		p, err := b.api.GetPort(ctx, b.o.PortID)
		if err != nil {
			return err
		}
		b.in.PortID, b.in.MAC, b.in.NetworkID, b.in.Network = p.ID, p.MACAddress, p.NetworkID, p.NetworkID
		if net, err := b.api.FindNetwork(ctx, p.NetworkID); err == nil {
			b.in.Network = net.Name
		}
		return b.s.write(b.n)
	}
	net, err := b.api.FindNetwork(ctx, b.o.Network)
	if err != nil {
		return err
	}
	p, err := b.api.CreatePort(ctx, net, b.in.Name, uuid.NewString())
	if err != nil {
		return err
	}
	b.in.PortID, b.in.OwnPort, b.in.MAC, b.in.NetworkID, b.in.Network = p.ID, true, p.MACAddress, net.ID, net.Name
	return b.s.write(b.n)
}

// bind asks for the VF and waits until the host's agent has programmed it and read it
// back.
func (b *booting) bind(ctx context.Context) error {
	start := time.Now()
	if _, err := b.api.BindPort(ctx, b.in.PortID, b.h.Name, b.in.PCISlot, uuid.NewString(), b.o.profile()); err != nil {
		return err
	}
	_, err := b.api.waitPort(ctx, b.in.PortID, "ACTIVE", func(p *Port) bool { return p.Status == "ACTIVE" })
	b.in.BindToActive = time.Since(start)
	return err
}

// plug hands the VF's netdev to the guest, as the kernel hands a VF to a VM; the guest's
// driver takes the MAC that the host programmed.
func (b *booting) plug(context.Context) error {
	if err := b.n.makeNamespace(b.in.Name); err != nil {
		return err
	}
	guest, err := netspace.Open(b.n.Namespace(b.in.Name))
	if err != nil {
		return err
	}
	defer func() { _ = guest.Close() }()
	vf := vfName(b.in.VF)
	err = netspace.Do(b.n.Namespace(b.h.Name), func() error {
		l, linkErr := netlink.LinkByName(vf)
		if linkErr != nil {
			return linkErr
		}
		if linkErr = netlink.LinkSetDown(l); linkErr != nil {
			return linkErr
		}
		return netlink.LinkSetNsFd(l, int(guest))
	})
	if err != nil {
		return fmt.Errorf("plug VF %s of host %s: %w", vf, b.h.Name, err)
	}
	mac, err := net.ParseMAC(b.in.MAC)
	if err != nil {
		return fmt.Errorf("plug VF %s: %w", vf, err)
	}
	err = netspace.DoAt(guest, func() error {
		l, linkErr := netlink.LinkByName(vf)
		if linkErr != nil {
			return linkErr
		}
		if linkErr = netlink.LinkSetName(l, "eth0"); linkErr != nil {
			return linkErr
		}
		if linkErr = netlink.LinkSetHardwareAddr(l, mac); linkErr != nil {
			return linkErr
		}
		return netlink.LinkSetUp(l)
	})
	if err != nil {
		return fmt.Errorf("set VF %s up as eth0 in %s: %w", vf, b.in.Name, err)
	}
	return nil
}

func (b *booting) address(ctx context.Context) error {
	if b.o.NoDHCP {
		return nil
	}
	start := time.Now()
	l, err := askLease(ctx, b.n.Namespace(b.in.Name))
	if err != nil {
		return err
	}
	b.in.Lease = time.Since(start)
	b.in.Address, b.in.MTU = l.address.String(), l.mtu
	if l.gateway.IsValid() {
		b.in.Gateway = l.gateway.String()
	}
	return l.apply(b.n.Namespace(b.in.Name))
}

// Kill ends an instance: its VF goes back to the host, its port is deleted if the lab
// made it and unbound otherwise.
func Kill(ctx context.Context, n Names, name string) error {
	unlock, err := n.lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := n.live()
	if err != nil {
		return err
	}
	in := s.Instance(name)
	if in == nil {
		return fmt.Errorf("kill %s: lab %s has no such instance", name, n.Lab)
	}
	return kill(ctx, n, s, in)
}

func kill(ctx context.Context, n Names, s *State, in *Instance) error {
	var errs []error
	if in.PortID != "" {
		api := NewAPI(s.API)
		if in.OwnPort {
			errs = append(errs, api.DeletePort(ctx, in.PortID))
		} else {
			errs = append(errs, api.UnbindPort(ctx, in.PortID))
		}
	}
	errs = append(errs, unplug(n, in))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("kill %s: %w", in.Name, err)
	}
	for i, x := range s.Instances {
		if x == in {
			s.Instances = append(s.Instances[:i], s.Instances[i+1:]...)
			break
		}
	}
	return s.write(n)
}

// unplug returns the VF's netdev to its host under its own name and removes the
// instance's namespace.
func unplug(n Names, in *Instance) error {
	ns := n.Namespace(in.Name)
	if !n.isMarked(ns) {
		return nil
	}
	host, err := netspace.Open(n.Namespace(in.Host))
	if err != nil {
		return err
	}
	defer func() { _ = host.Close() }()
	err = netspace.Do(ns, func() error {
		l, linkErr := netlink.LinkByName("eth0")
		if linkErr != nil {
			return nil //nolint:nilerr // it never got that far, or the guest destroyed it: the NIC makes another
		}
		if linkErr = netlink.LinkSetDown(l); linkErr != nil {
			return linkErr
		}
		if linkErr = netlink.LinkSetName(l, vfName(in.VF)); linkErr != nil {
			return linkErr
		}
		return netlink.LinkSetNsFd(l, int(host))
	})
	if err != nil {
		return fmt.Errorf("return VF %s to host %s: %w", vfName(in.VF), in.Host, err)
	}
	return netspace.Delete(ns)
}
