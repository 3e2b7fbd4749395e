package hostprep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"neutrino/internal/journal"
	"neutrino/internal/pci"
)

// Want is what is asked of a PF.
type Want struct {
	PF            string // its netdev's name or its PCI address
	N             int
	Driver        string // "vfio-pci", or "" = what the kernel has for its VFs
	Autoprobe     bool   // leave sriov_drivers_autoprobe on; with Driver "" off: VFs have no driver
	ManagementToo bool   // although the host is reached over this NIC
	Persist       bool   // so also after the next boot

	// sparing leaves VFs that are in use as they are, where they need not go.
	sparing bool
}

// Plan is what leads from what is to what is wanted.
type Plan struct {
	PF       pci.PF // as it was found
	Name     string // of the PF, for people
	Steps    []journal.Step
	Findings []string // what to know before it is done
	host     Host
}

// PlanVFs looks at a PF and says what has to be done for Want. It changes nothing. No
// steps: it is so already. Errors are those of this package and of internal/pci
// (ErrNoDevice, ErrNotPF), and errors.ErrUnsupported for a driver without SR-IOV.
func PlanVFs(ctx context.Context, h Host, w Want) (Plan, error) {
	if _, err := ParseDriver(w.Driver); err != nil {
		return Plan{}, err
	}
	p, err := h.pf(w.PF)
	if err != nil {
		return Plan{}, err
	}
	plan := Plan{PF: p, Name: nameOf(p), host: h}
	if w.N < 0 || w.N > p.TotalVFs {
		return Plan{}, tooMany(p, w)
	}
	if w.Driver == pci.VFIODriver && w.N > 0 && !h.iommu(p) {
		return Plan{}, fmt.Errorf("bind the VFs of %s to vfio-pci: %w: switch it on (intel_iommu=on, and VT-d or AMD-Vi in the BIOS)", plan.Name, ErrNoIOMMU)
	}
	u, err := h.use(ctx, p)
	if err != nil {
		return Plan{}, err
	}
	plan.Findings = u.findings
	if w.Persist {
		if err = plan.persist(w); err != nil {
			return Plan{}, err
		}
	}
	c := newChange(h, p, w)
	if p.NumVFs == w.N {
		return plan, plan.drivers(c, u)
	}
	return plan, plan.count(c, u)
}

// pf reads a PF, and says of a VF whose it is.
func (h Host) pf(name string) (pci.PF, error) {
	p, err := h.Sys.PF(name)
	if !errors.Is(err, pci.ErrNotPF) {
		return p, err
	}
	slot := name
	if pci.CheckSlot(name) != nil {
		slot = filepath.Base(link(h.path("sys/class/net", name, "device")))
	}
	f, ferr := h.Sys.Function(slot)
	if ferr != nil || f.PhysFn == "" {
		return p, err
	}
	whose, perr := h.Sys.PF(f.PhysFn)
	if perr != nil {
		return p, err
	}
	return p, fmt.Errorf("%w: it is a VF of %s: name that", err, nameOf(whose))
}

func link(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return to
}

func tooMany(p pci.PF, w Want) error {
	hint := ""
	switch p.Driver {
	case "mlx5_core", "mlx4_core":
		hint = fmt.Sprintf(": its firmware's NUM_OF_VFS says so: mstconfig -d %s set SRIOV_EN=1 NUM_OF_VFS=%d, then reboot", p.Slot, w.N)
	}
	return fmt.Errorf("%d VFs on %s: %w: it can have 0 to %d (sriov_totalvfs)%s", w.N, nameOf(p), ErrTooMany, p.TotalVFs, hint)
}

// iommu reports whether VFs of the PF can be given to vfio-pci.
func (h Host) iommu(p pci.PF) bool {
	b, err := os.ReadFile(h.path("sys/module/vfio/parameters/enable_unsafe_noiommu_mode"))
	return p.IOMMU || err == nil && len(b) > 0 && b[0] == 'Y'
}

// count plans a change of the number.
func (plan *Plan) count(c *change, u use) error {
	p, w := c.pf, c.want
	if err := u.refuse(plan.Name, p.VFs); err != nil {
		return fmt.Errorf("change the number of VFs from %d to %d: %w", p.NumVFs, w.N, err)
	}
	switch {
	case p.Driver == "mlx4_core":
		return c.host.mlx4(p, w)
	case !p.Settable:
		return fmt.Errorf("set the number of VFs of %s: driver %q does not take it from sysfs: %w", plan.Name, p.Driver, errors.ErrUnsupported)
	}
	if why := c.host.management(p); why != "" {
		if !w.ManagementToo {
			return fmt.Errorf("change the number of VFs of %s: %w: %s; its link may go down meanwhile: ask for it with --even-management",
				plan.Name, ErrManagement, why)
		}
		plan.Findings = append(plan.Findings, why+": the link may go down meanwhile")
	}
	if p.NumVFs > 0 && w.N > 0 {
		plan.Findings = append(plan.Findings, fmt.Sprintf("the kernel goes from %d VFs to %d only through 0: all of them go and come anew, without MAC, VLAN and other attributes", p.NumVFs, w.N))
	}
	if w.N > 0 {
		plan.load(c)
		word := "without a driver"
		if c.probed() {
			word = "with their driver"
		}
		plan.change("have new VFs of "+plan.Name+" come "+word, c.pf.Autoprobe != c.probed() && c.hasAutoprobe(), c.setProbed, c.restore)
	}
	plan.change(fmt.Sprintf("remove the %d VFs of %s", p.NumVFs, plan.Name), p.NumVFs > 0, c.remove, c.restore)
	plan.change(fmt.Sprintf("make %d VFs on %s", w.N, plan.Name), w.N > 0, c.make, c.restore)
	plan.change(fmt.Sprintf("bind the %d VFs of %s to %s", w.N, plan.Name, w.Driver), w.N > 0 && w.Driver != "", c.bindAll, c.restore)
	plan.change("have later VFs of "+plan.Name+" come with their driver", w.N > 0 && w.Autoprobe && !c.probed() && c.hasAutoprobe(), c.setAutoprobe, c.restore)
	return nil
}

// drivers plans changes of drivers alone.
func (plan *Plan) drivers(c *change, u use) error {
	var wrong []pci.VFRef
	for i, v := range c.pf.VFs {
		if c.good(c.before[i]) || !c.host.Sys.Exists(v.Slot) {
			continue
		}
		if c.want.sparing && u.of(v.Slot) != "" {
			plan.Findings = append(plan.Findings, fmt.Sprintf("VF %d (%s) is left as it is: used by %s", v.Index, v.Slot, u.of(v.Slot)))
			continue
		}
		wrong = append(wrong, v)
	}
	if err := u.refuse(plan.Name, wrong); err != nil {
		return fmt.Errorf("change the driver of VFs: %w", err)
	}
	if c.want.N > 0 {
		word := "off"
		if c.want.Autoprobe {
			word = "on"
		}
		plan.change("switch drivers of new VFs of "+plan.Name+" "+word, c.pf.Autoprobe != c.want.Autoprobe && c.hasAutoprobe(), c.setAutoprobe, c.restore)
	}
	if len(wrong) > 0 {
		plan.load(c)
	}
	for _, v := range wrong {
		to := c.want.Driver
		if to == "" {
			to = "its driver"
		}
		plan.change(fmt.Sprintf("bind VF %d (%s) to %s", v.Index, v.Slot, to), true, c.bindOne(v), c.restore)
	}
	return nil
}

// load has vfio-pci loaded before it is needed. It is not unloaded again: others may
// use it meanwhile.
func (plan *Plan) load(c *change) {
	_, err := os.Stat(c.host.path("sys/bus/pci/drivers", pci.VFIODriver))
	plan.change("load vfio-pci", c.want.Driver == pci.VFIODriver && err != nil, c.loadVFIO, nil)
}

// persist puts the record down first: after a crash in the midst of it, the next boot
// ends what was begun. No VFs, no record.
func (plan *Plan) persist(w Want) error {
	h, p := plan.host, plan.PF
	want := ""
	if w.N > 0 {
		want = Record{
			PF: plan.Name, Slot: p.Slot, MAC: h.mac(p), Count: w.N, Driver: w.Driver, Autoprobe: w.Autoprobe, ManagementToo: w.ManagementToo,
		}.Text()
	}
	data, err := os.ReadFile(h.file(p.Slot))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("plan the VFs of %s: %w", plan.Name, err)
	}
	old := string(data)
	what := "write down in " + h.file(p.Slot) + " what to do at boot"
	if want == "" {
		what = "remove " + h.file(p.Slot) + ": nothing is done at boot"
	}
	plan.change(what, want != old,
		func(context.Context) error { return h.put(p.Slot, want) },
		func(context.Context) error { return h.put(p.Slot, old) })
	return plan.forget()
}

// forget takes away what was written down for the card when it was in other slots: it
// would be found by its address, and its old count made so again.
func (plan *Plan) forget() error {
	h, mac := plan.host, plan.host.mac(plan.PF)
	slots, err := h.slots()
	if err != nil || mac == "" {
		return err
	}
	for _, slot := range slots {
		r, _, rerr := h.record(slot)
		if slot == plan.PF.Slot || rerr != nil || r.MAC != mac { // a broken one is somebody's to mend
			continue
		}
		data, rerr := os.ReadFile(h.file(slot))
		if rerr != nil {
			return fmt.Errorf("plan the VFs of %s: %w", plan.Name, rerr)
		}
		plan.change("remove "+h.file(slot)+": the card is not in that slot any more", true,
			func(context.Context) error { return h.put(slot, "") },
			func(context.Context) error { return h.put(slot, string(data)) })
	}
	return nil
}

// change adds a step where it is needed.
func (plan *Plan) change(what string, needed bool, do, undo func(context.Context) error) {
	if needed {
		plan.Steps = append(plan.Steps, journal.Step{Describe: what, Do: do, Undo: undo})
	}
}
