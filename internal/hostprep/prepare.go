package hostprep

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"neutrino/contrib/systemd"
	"neutrino/internal/ledger"
	"neutrino/internal/machine"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
)

// Mode is what VFs are for.
type Mode string

// The modes.
const (
	HostDev Mode = "hostdev" // VFIO: guests drive them
	MacVTap Mode = "macvtap" // the host drives them, guests have a macvtap on each
	Both    Mode = "both"    // the host drives them; the agent moves those for VFIO over
)

// ParseMode reads one.
func ParseMode(s string) (Mode, error) {
	if m := Mode(s); m == HostDev || m == MacVTap || m == Both {
		return m, nil
	}
	return "", fmt.Errorf("mode %.40q: allowed are hostdev, macvtap and both", s)
}

func (m Mode) hostdev() bool { return m != MacVTap }

// Prep is what a host is prepared for.
type Prep struct {
	PF            string // its netdev's name or its PCI address
	VFs           int
	Mode          Mode
	ManagementToo bool       // although the host is reached over this NIC
	Ports         *MLX4Count // of ConnectX-3; nil = on the port that PF names
	Firmware      bool       // set keys of the firmware too
}

// FirmwareKey is one that is to be set.
type FirmwareKey struct {
	Key string `json:"key"`
	Was string `json:"was"` // at the next boot, before
	To  string `json:"to"`
}

// Preparation is what leads from what a host is to what is wanted.
type Preparation struct {
	PF       string        `json:"pf"`
	Slot     string        `json:"pci_slot"`
	Files    []ledger.Diff `json:"-"`
	Programs []string      `json:"programs"` // run after the files are written
	Modules  []string      `json:"modules"`  // loaded now
	Firmware []FirmwareKey `json:"firmware"`
	Cuts     []string      `json:"cuts"`   // traffic that stops meanwhile
	Reboot   []string      `json:"reboot"` // why one is needed
	Notes    []string      `json:"notes"`
	VFs      *Plan         `json:"-"` // now; nil = after the reboot

	host Host
	want Prep
	work ledger.Work
}

// Nothing reports whether the host is prepared already.
func (p *Preparation) Nothing() bool {
	return len(p.Files)+len(p.Programs)+len(p.Firmware)+len(p.Modules) == 0 && (p.VFs == nil || len(p.VFs.Steps) == 0)
}

// LedgerDir is where it is kept what a host was before it was prepared.
const LedgerDir = "var/lib/neutrino/prepare"

// Ledger is that of this host.
func (h Host) Ledger() *ledger.Ledger { return ledger.New(h.path(), LedgerDir) }

// Prepare looks at a host and says what has to be done for Prep. It changes nothing.
//
// Errors: those of PlanVFs, ErrContradiction, ErrBadOption, ledger.ErrBad.
func Prepare(ctx context.Context, h Host, w Prep) (*Preparation, error) {
	if w.VFs < 1 {
		return nil, fmt.Errorf("%d VFs: %w: want 1 or more; neutrino host undo takes them away", w.VFs, ErrTooMany)
	}
	m, err := machine.Read(h.path())
	if err != nil {
		return nil, err
	}
	pf, err := h.pf(w.PF)
	if err != nil {
		return nil, err
	}
	nic, ok := m.NIC(pf.Slot)
	if !ok {
		return nil, fmt.Errorf("%s: %w", w.PF, pci.ErrNoDevice)
	}
	p := &Preparation{PF: nameOf(pf), Slot: pf.Slot, host: h, want: w, Programs: []string{}, Modules: []string{}, Firmware: []FirmwareKey{}, Cuts: []string{}, Reboot: []string{}, Notes: []string{}}
	if why := h.management(pf); why != "" {
		if !w.ManagementToo {
			return nil, fmt.Errorf("prepare %s: %w: %s; its link may go down meanwhile: ask for it with --even-management", p.PF, ErrManagement, why)
		}
		p.Cuts = append(p.Cuts, why+": the link may go down meanwhile")
	}
	if err = p.firmware(ctx, pf); err != nil {
		return nil, err
	}
	if pf.Driver != "mlx4_core" && w.VFs > pf.TotalVFs && len(p.Firmware) == 0 {
		return nil, tooMany(pf, Want{N: w.VFs})
	}
	if err = p.files(m, nic, pf); err != nil {
		return nil, err
	}
	p.modules(m)
	p.reboots(m, pf)
	if err = p.vfs(ctx, m, pf); err != nil {
		return nil, err
	}
	return p, p.note(pf)
}

// files plans every file, and the programs that read them.
func (p *Preparation) files(m machine.Machine, nic machine.NIC, pf pci.PF) error {
	t := m.Tree
	words := kernelWords(m, nic, p.want.Mode)
	changes, makers, err := commandLine(t, m.Boot, words)
	if err != nil {
		return err
	}
	changes = append(changes, writes("etc/modules-load.d/neutrino.conf", "modules for "+string(p.want.Mode), moduleFile(p.want.Mode)))
	if pf.Driver == "mlx4_core" {
		o, oerr := mlx4Options(m, pf, p.want)
		if oerr != nil {
			return oerr
		}
		c, mk, oerr := mlx4Changes(t, m, o)
		if oerr != nil {
			return oerr
		}
		changes, makers = append(changes, c...), append(makers, mk...)
	} else {
		changes = append(changes, p.atBoot(t, pf)...)
	}
	changes = append(changes, exclusions(t, p.PF, len(pf.Netdevs) > 0)...)
	if p.Files, err = p.host.Ledger().Plan(changes); err != nil {
		return err
	}
	p.work.Changes = changes
	return p.makers(t, makers)
}

// makers leaves out the programs that read nothing new, unless one was cut off. On a tree that is not the
// running machine nobody can run them: that is said.
func (p *Preparation) makers(t machine.Tree, all []ledger.Maker) error {
	r, err := p.host.Ledger().Load()
	if err != nil {
		return err
	}
	changed := func(prefix string) bool {
		return slices.ContainsFunc(p.Files, func(d ledger.Diff) bool { return strings.HasPrefix(d.Path, prefix) })
	}
	for _, m := range all {
		reads := mlx4Conf
		if strings.Contains(m.Argv[0], "grub") {
			reads = "etc/default/grub"
		}
		cut := r != nil && slices.ContainsFunc(r.Makers, func(x ledger.Maker) bool { return x.Running && slices.Equal(x.Argv, m.Argv) })
		switch {
		case !cut && !changed(reads):
		case !t.Live():
			p.Notes = append(p.Notes, "this is not the running machine: have it run: "+strings.Join(m.Argv, " "))
		default:
			p.work.Makers, p.work.Always = append(p.work.Makers, m), p.work.Always || cut
			p.Programs = append(p.Programs, strings.Join(m.Argv, " "))
		}
	}
	return nil
}

// modulesOf are what a mode needs beside the NIC's own driver.
func modulesOf(mode Mode) []string {
	var out []string
	if mode.hostdev() {
		out = append(out, "vfio-pci")
	}
	if mode != HostDev {
		out = append(out, "macvtap")
	}
	return out
}

func moduleFile(mode Mode) string {
	return "# Written by: neutrino host prepare; neutrino host undo removes it.\n" + strings.Join(modulesOf(mode), "\n") + "\n"
}

// modules finds those that are not there yet.
func (p *Preparation) modules(m machine.Machine) {
	for _, name := range modulesOf(p.want.Mode) {
		if !m.Loaded(strings.ReplaceAll(name, "-", "_")) && m.Tree.Live() {
			p.Modules = append(p.Modules, name)
		}
	}
}

// atBoot is the record of the VFs, and the unit that makes them at each boot.
func (p *Preparation) atBoot(t machine.Tree, pf pci.PF) []ledger.Change {
	r := Record{
		PF: p.PF, Slot: pf.Slot, MAC: p.host.mac(pf), Count: p.want.VFs, Driver: p.driver(), Autoprobe: true, ManagementToo: p.want.ManagementToo,
	}
	dir := strings.TrimPrefix(p.host.dir(), strings.TrimSuffix(p.host.path(), "/")+"/")
	out := []ledger.Change{writes(path.Join(dir, pf.Slot+".conf"), "VFs at each boot", r.Text())}
	unit := ""
	for _, d := range []string{"etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		if f := path.Join(d, systemd.VFsName); t.Exists(f) && unit == "" {
			unit = f
		}
	}
	if own := path.Join("etc/systemd/system", systemd.VFsName); unit == "" || unit == own && p.ours(own) {
		unit = own
		out = append(out, writes(own, "the unit that makes them", strings.ReplaceAll(systemd.VFs, "/usr/local/bin/neutrino", p.host.binary())))
	}
	return append(out, ledger.Change{
		Path: path.Join("etc/systemd/system/multi-user.target.wants", systemd.VFsName), Why: "the unit is enabled",
		Want: ledger.Content{Kind: ledger.Symlink, Target: "/" + unit},
	})
}

// ours reports whether an earlier preparation has written a file.
func (p *Preparation) ours(name string) bool {
	r, err := p.host.Ledger().Load()
	return err == nil && r != nil && slices.ContainsFunc(r.Entries, func(e ledger.Entry) bool { return e.Path == name })
}

// driver is what VFs are bound to when they come.
func (p *Preparation) driver() string {
	if p.want.Mode == HostDev {
		return pci.VFIODriver
	}
	return ""
}

// exclusions keep NetworkManager and networkd from VFs: they are their ports'.
func exclusions(t machine.Tree, pf string, netdevs bool) []ledger.Change {
	if !netdevs {
		return nil
	}
	out := []ledger.Change{writes("etc/udev/rules.d/70-neutrino-"+pf+".rules", "VFs belong to their ports",
		"# Written by: neutrino host prepare; neutrino host undo removes it.\n"+
			"# VFs of "+pf+": neither NetworkManager nor systemd-networkd is to give them addresses.\n"+
			`SUBSYSTEM=="net", ACTION!="remove", TEST=="device/physfn/net/`+pf+`", ENV{NM_UNMANAGED}="1", ENV{NEUTRINO_VF}="1"`+"\n")}
	if s, ok := t.Service("systemd-networkd.service"); ok && (s.Enabled || s.Running) {
		out = append(out, writes("etc/systemd/network/05-neutrino-vfs.network", "VFs belong to their ports",
			"# Written by: neutrino host prepare; neutrino host undo removes it.\n[Match]\nProperty=NEUTRINO_VF=1\n\n[Link]\nUnmanaged=yes\n"))
	}
	return out
}

// reboots says why one is needed. It is never done by neutrino.
func (p *Preparation) reboots(m machine.Machine, pf pci.PF) {
	for _, d := range p.Files {
		if d.Why == "the kernel's command line" && !slices.Contains(p.Reboot, "the kernel's command line changes") {
			p.Reboot = append(p.Reboot, "the kernel's command line changes")
		}
	}
	if len(p.Reboot) == 0 && p.want.Mode.hostdev() && len(m.IOMMU.Units) == 0 {
		p.Reboot = append(p.Reboot, "the IOMMU is not in use by the running kernel")
	}
	if pf.Driver == "mlx4_core" && pf.NumVFs != p.want.VFs {
		p.Reboot = append(p.Reboot, "mlx4_core takes the number of VFs when it is loaded")
	}
	if len(p.Firmware) > 0 {
		p.Reboot = append(p.Reboot, "the card's firmware takes its settings at a reboot (or mstfwreset)")
	}
}

// vfs plans the VFs of the running machine, where it can have them already.
func (p *Preparation) vfs(ctx context.Context, m machine.Machine, pf pci.PF) error {
	switch {
	case pf.Driver == "mlx4_core", p.want.VFs > pf.TotalVFs:
		return nil
	case p.want.Mode == HostDev && !p.host.iommu(pf):
		p.Notes = append(p.Notes, "the VFs come with the reboot: without an IOMMU vfio-pci takes none")
		return nil
	case !pf.Settable:
		p.Notes = append(p.Notes, fmt.Sprintf("the VFs come with the reboot: driver %q does not take their number now", pf.Driver))
		return nil
	}
	plan, err := PlanVFs(ctx, p.host, Want{
		PF: pf.Slot, N: p.want.VFs, Driver: p.driver(), Autoprobe: true, ManagementToo: p.want.ManagementToo, sparing: pf.NumVFs == p.want.VFs,
	})
	if err != nil {
		return err
	}
	if len(plan.Steps) > 0 && pf.NumVFs != p.want.VFs {
		p.Cuts = append(p.Cuts, "the link of "+p.PF+" may go down for some seconds while its VFs are made")
	}
	p.Notes = append(p.Notes, plan.Findings...)
	p.VFs = &plan
	return nil
}

// firmware compares the card's settings with what is needed. Those that only hinder are set where it
// was asked for, else said.
func (p *Preparation) firmware(ctx context.Context, pf pci.PF) error {
	if pf.Driver != "mlx5_core" && pf.Driver != "mlx4_core" || p.host.Firmware == nil {
		return nil
	}
	card, err := p.host.Firmware(ctx, pf.Slot)
	if errors.Is(err, mstconfig.ErrNotInstalled) {
		p.Notes = append(p.Notes, "mstconfig is not installed (package mstflint): the firmware's SRIOV_EN, NUM_OF_VFS and LINK_TYPE are not looked at")
		return nil
	}
	if err != nil {
		return err
	}
	keys := firmwareKeys(card, p.want.VFs)
	if len(keys) > 0 && !p.want.Firmware {
		for _, k := range keys {
			p.Notes = append(p.Notes, fmt.Sprintf("the firmware has %s=%s for the next boot, and %s is needed: --firmware sets it", k.Key, k.Was, k.To))
		}
		return nil
	}
	p.Firmware = append(p.Firmware, keys...)
	return nil
}

// firmwareKeys are those that have to change, in the order of setting.
func firmwareKeys(card mstconfig.Card, vfs int) []FirmwareKey {
	var out []FirmwareKey
	need := func(key string, good func(int) bool, to int) {
		s, ok := card.Settings[key]
		if n, number := s.Next.Number(); ok && (!number || !good(n)) {
			out = append(out, FirmwareKey{key, string(s.Next), strconv.Itoa(to)})
		}
	}
	need("SRIOV_EN", func(n int) bool { return n == 1 }, 1)
	need("NUM_OF_VFS", func(n int) bool { return n >= vfs }, vfs)
	for _, port := range []string{"LINK_TYPE_P1", "LINK_TYPE_P2"} {
		need(port, func(n int) bool { return n == 2 }, 2)
	}
	return out
}
