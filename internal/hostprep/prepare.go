package hostprep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// driver is what VFs are bound to when they come.
func (m Mode) driver() string {
	if m == HostDev {
		return pci.VFIODriver
	}
	return ""
}

// Errors for errors.Is, besides those of PlanVFs.
var (
	// ErrContradiction: a file of the administrator's says the opposite of what is needed.
	ErrContradiction = errors.New("a file says the opposite")
	// ErrLoader: where the kernel's command line is kept is not known.
	ErrLoader = errors.New("the boot loader is not known")
	// ErrNoProgram: a program that makes files of the system is missing.
	ErrNoProgram = errors.New("a program is missing")
)

// Firmware reads and sets what cards keep themselves.
type Firmware interface {
	Query(ctx context.Context, slot string) (mstconfig.Card, error)
	Set(ctx context.Context, slot string, values map[string]string) error
}

// Prep is what a host is prepared for.
type Prep struct {
	PF            string // its netdev's name or its PCI address
	VFs           int
	Mode          Mode
	ManagementToo bool // although the host is reached over this NIC
	Firmware      bool // set keys of the card's firmware too
	KeepLine      bool // leave the kernel's command line alone

	// Of ConnectX-3, where the number of VFs is an option of the driver's module:
	Ports   []int             // VFs on port 1, on port 2, on both; nil = on the port that PF names
	Probe   []int             // of these, how many the host drives itself; nil = what the mode says
	Options map[string]string // others of mlx4_core
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
	VFs      *Plan         `json:"-"` // now; nil = nothing, or after the reboot

	host            Host
	want            Prep
	work            ledger.Work
	machine.Machine `json:"-"`
	nic             machine.NIC
	pf              pci.PF // with its Function alone where the card shows no SR-IOV
}

// Nothing reports whether the host is prepared already.
func (p *Preparation) Nothing() bool {
	return len(p.Files)+len(p.Programs)+len(p.Firmware)+len(p.Modules) == 0 && (p.VFs == nil || len(p.VFs.Steps) == 0)
}

func (p *Preparation) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

func (p *Preparation) reboot(format string, args ...any) {
	p.Reboot = append(p.Reboot, fmt.Sprintf(format, args...))
}

// LedgerDir is where it is kept what a host was before it was prepared.
const LedgerDir = "var/lib/neutrino/prepare"

// Ledger is that of this host.
func (h Host) Ledger() *ledger.Ledger {
	var opts []ledger.Option
	if h.Hook != nil {
		opts = append(opts, ledger.WithHook(h.Hook))
	}
	return ledger.New(h.path(), LedgerDir, opts...)
}

// Prepare looks at a host and says what has to be done for Prep. It changes nothing.
//
// Errors: those of PlanVFs, of this file and ErrBadOption; ledger.ErrBad.
func Prepare(ctx context.Context, h Host, w Prep) (*Preparation, error) {
	if w.VFs < 1 {
		return nil, fmt.Errorf("%d VFs: %w: want 1 or more; neutrino host undo takes them away", w.VFs, ErrTooMany)
	}
	p := &Preparation{host: h, want: w, Programs: []string{}, Modules: []string{}, Firmware: []FirmwareKey{}, Cuts: []string{}, Reboot: []string{}, Notes: []string{}}
	if err := p.look(); err != nil {
		return nil, err
	}
	why := h.management(p.pf)
	if why != "" && !w.ManagementToo {
		return nil, fmt.Errorf("prepare %s: %w: %s; its link may go down meanwhile, and at each boot: ask for it with --even-management", p.PF, ErrManagement, why)
	}
	for _, part := range []func(context.Context) error{p.planDriver, p.planFirmware, p.planLine, p.planModules, p.planVFs, p.planBoot, p.planExclusions, p.planFiles} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	p.planCuts(why)
	return p, nil
}

// look reads the machine and finds the NIC.
func (p *Preparation) look() (err error) {
	if p.Machine, err = machine.Read(p.host.Sys.Root); err != nil {
		return err
	}
	pf, err := p.host.pf(p.want.PF)
	nic, ok := p.NIC(p.want.PF)
	switch {
	case err == nil && ok:
	case err == nil:
		return fmt.Errorf("%s: %w: it is no network controller", p.want.PF, pci.ErrNoDevice)
	case ok && errors.Is(err, pci.ErrNotPF) && mellanox(nic.Driver) && !nic.VF(): // its firmware has SR-IOV off
		pf = pci.PF{Function: nic.Function}
	default:
		return err
	}
	p.nic, p.pf, p.PF, p.Slot = nic, pf, nameOf(pf), pf.Slot
	return nil
}

func mellanox(driver string) bool { return driver == "mlx5_core" || driver == mlx4Module }

// writtenBy is the first line of files that are neutrino's alone.
const writtenBy = "# Written by: neutrino host prepare; neutrino host undo removes it.\n"

// write has a file hold a text.
func (p *Preparation) write(name, why, text string) {
	p.put(ledger.Change{Path: name, Why: why, Want: ledger.Content{Kind: ledger.Regular, Data: []byte(text), Mode: 0o644}})
}

// remove has a file go.
func (p *Preparation) remove(name, why string) {
	p.put(ledger.Change{Path: name, Why: why, Want: ledger.Content{Kind: ledger.Absent}})
}

// put notes what a name is to be, once.
func (p *Preparation) put(c ledger.Change) {
	p.work.Changes = append(slices.DeleteFunc(p.work.Changes, func(o ledger.Change) bool { return o.Path == c.Path }), c)
}

// edit has a file changed that is there.
func (p *Preparation) edit(name, why string, with func(string) string) bool {
	b, ok := p.Tree.Bytes(name)
	if now := with(string(b)); ok && now != string(b) {
		p.write(name, why, now)
	}
	return ok
}

// maker names a program that makes files from those that may change.
func (p *Preparation) maker(files []string, argv ...string) {
	p.work.Makers = append(p.work.Makers, ledger.Maker{Argv: argv, Files: files})
}

// planFiles compares what is wanted with what is there, and leaves out the programs that read nothing new,
// unless one was cut off. On a tree that is not the running machine nobody runs them: that is said.
func (p *Preparation) planFiles(context.Context) error {
	l := p.host.Ledger()
	old, err := l.Load()
	if err == nil {
		p.Files, err = l.Plan(p.work.Changes)
	}
	if err != nil {
		return err
	}
	all := p.work.Makers
	p.work.Makers = nil
	for _, m := range all {
		cut := old != nil && slices.ContainsFunc(old.Makers, func(x ledger.Maker) bool { return x.Running && slices.Equal(x.Argv, m.Argv) })
		switch name := strings.Join(m.Argv, " "); {
		case !cut && !reads(m, p.Files):
		case !p.host.live() && p.host.Run == nil:
			p.note("this is not the running machine: have it run: %s", name)
		case !p.has(m.Argv[0]):
			return fmt.Errorf("%s: %w: it makes /%s anew: install it", m.Argv[0], ErrNoProgram, strings.Join(m.Files, ", /"))
		default:
			p.work.Makers, p.work.Always = append(p.work.Makers, m), p.work.Always || cut
			p.Programs = append(p.Programs, name)
		}
	}
	return nil
}

// reads reports whether a program makes its files from one of those that change.
func reads(m ledger.Maker, diffs []ledger.Diff) bool {
	from := "etc/modprobe.d/"
	if strings.Contains(m.Argv[0], "grub") {
		from = "etc/default/grub"
	}
	return slices.ContainsFunc(diffs, func(d ledger.Diff) bool { return strings.HasPrefix(d.Path, from) })
}

// has looks for a program where root has them.
func (p *Preparation) has(program string) bool {
	return slices.ContainsFunc([]string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}, func(dir string) bool {
		return p.Tree.Exists(dir, program)
	})
}

// planCuts says which traffic stops meanwhile.
func (p *Preparation) planCuts(management string) {
	if p.Nothing() {
		return
	}
	if management != "" {
		p.Cuts = append(p.Cuts, management+": the host is cut off while its link is down")
	}
	counted := p.VFs != nil && len(p.VFs.Steps) > 0 && p.pf.NumVFs != p.want.VFs
	if counted {
		p.Cuts = append(p.Cuts, "the link of "+p.PF+" may go down for some seconds while its VFs are made")
	}
	if counted && p.pf.NumVFs > 0 {
		p.Cuts = append(p.Cuts, fmt.Sprintf("all %d VFs of %s go and come anew; none of them is in use", p.pf.NumVFs, p.PF))
	}
	r := p.host.reach()
	for _, d := range p.pf.Netdevs {
		for _, name := range sortedKeys(p.host.stack("upper_", d.Name)) {
			what := "has addresses or routes"
			if name != d.Name {
				what = "is on " + d.Name
			}
			if (counted || len(p.Reboot) > 0) && (name != d.Name || r.address[name] || r.defaults[name]) {
				p.Cuts = append(p.Cuts, name+" "+what+": it goes with that link")
			}
		}
	}
}
