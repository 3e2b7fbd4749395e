package hostcheck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink"

	"neutrino/internal/hostapi"
	"neutrino/internal/hostprep"
	"neutrino/internal/machine"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
)

// Options say what to look at.
type Options struct {
	Root     string                // where sys, proc and etc are; "" = "/"
	PFs      []string              // names or PCI addresses; none = all
	Agent    hostprep.Agent        // nil = nobody is asked
	Progress func(what string)     // what takes longer; nil = nobody hears it
	NIC      func(string) *vfnl.PF // reads what the VFs of a netdev carry; nil = the kernel, on the running machine
}

// Look gathers the facts. Errors: no sysfs, and PFs that are named and are none
// (pci.ErrNoDevice, pci.ErrNotPF).
func Look(ctx context.Context, o Options) (Facts, error) {
	m, err := machine.Read(o.Root)
	if err != nil {
		return Facts{}, err
	}
	f := Facts{
		Machine: m, Root: !m.Tree.Live() || os.Geteuid() == 0,
		Services: map[string]machine.Service{}, Programs: programs(ctx, m.Tree), Records: map[string]hostprep.Record{}, Reached: map[string]string{},
		Held: map[string][]string{}, Ports: map[string]string{}, Carried: map[string]vfnl.PF{}, Firmware: map[string]Firmware{},
	}
	sys := &pci.Sys{Root: o.Root}
	for _, name := range o.PFs {
		p, perr := sys.PF(name)
		if perr != nil {
			return Facts{}, fmt.Errorf("check %s: %w", name, perr)
		}
		f.Named = append(f.Named, p.Slot)
	}
	f.files(m.Tree)
	for _, name := range services {
		if s, there := m.Tree.Service(name); there {
			f.Services[name] = s
		}
	}
	for socket, unit := range map[string]string{"libvirt-sock": "libvirtd.socket", "virtqemud-sock": "virtqemud.socket"} {
		if m.Tree.Exists("run/libvirt", socket) { // systemd listens, and starts it when it is asked
			f.Services[unit] = machine.Service{Name: unit, Running: true}
		}
	}
	host := hostprep.Host{Sys: sys}
	for _, pf := range f.pfs() {
		var names []string
		for _, i := range pf.Interfaces {
			names = append(names, i.Name)
		}
		if why := host.CutOff(names...); why != "" {
			f.Reached[pf.Slot] = why
		}
		f.carried(ctx, pf, o)
		if pf.Vendor == mellanox && m.Tree.Live() {
			if o.Progress != nil {
				o.Progress("reading the firmware settings of " + pf.Name())
			}
			card, ferr := mstconfig.Query(ctx, pf.Slot)
			f.Firmware[pf.Slot] = Firmware{card, ferr}
		}
	}
	f.users(ctx, sys, o.Agent)
	return f, ctx.Err()
}

// services are those that rules ask for.
var services = slices.Concat(agents, []string{
	"NetworkManager.service", "systemd-networkd.service", "irqbalance.service", "neutrino-agent.service", "neutrino-vfs.service", "neutrino-tune.service",
	"libvirtd.service", "virtqemud.service",
	"openvswitch-switch.service", "openvswitch.service", "ovs-vswitchd.service",
})

// carried asks the kernel for what VFs carry.
func (f *Facts) carried(ctx context.Context, pf machine.NIC, o Options) {
	if len(pf.Interfaces) == 0 || pf.PF.NumVFs == 0 {
		return
	}
	name := pf.Interfaces[0].Name
	if o.NIC != nil {
		if got := o.NIC(name); got != nil {
			f.Carried[pf.Slot] = *got
		}
		return
	}
	if !f.Machine.Tree.Live() {
		return
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return
	}
	c, err := vfnl.Dial()
	if err != nil {
		return
	}
	defer c.Close()
	if got, err := c.PF(ctx, l.Attrs().Index, false); err == nil {
		f.Carried[pf.Slot] = got
	}
}

// users asks the kernel and the agent who has VFs.
func (f *Facts) users(ctx context.Context, sys *pci.Sys, agent hostprep.Agent) {
	var slots []string
	for _, pf := range f.pfs() {
		for _, v := range f.vfs(pf) {
			slots = append(slots, v.Slot)
		}
	}
	held, err := sys.Users(slots...)
	if err != nil {
		f.Unseen = err.Error()
		if errors.Is(err, os.ErrPermission) {
			f.Unseen = "it needs root"
		}
	}
	for _, u := range held {
		f.Held[u.Slot] = append(f.Held[u.Slot], u.String())
	}
	if agent == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	known, err := agent.VFs(ctx, false)
	if err != nil { // no agent, or one that does not answer: the kernel is what there is
		return
	}
	f.Agent = true
	for _, v := range known {
		if v.PortID != "" {
			f.Ports[v.PCISlot] = v.PortID
		} else if v.Plugged != "" {
			f.Ports[v.PCISlot] = v.Plugged
		}
	}
}

var _ hostprep.Agent = (*hostapi.Client)(nil)
