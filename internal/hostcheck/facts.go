package hostcheck

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"neutrino/internal/hostprep"
	"neutrino/internal/machine"
	"neutrino/internal/mstconfig"
	"neutrino/internal/vfnl"
)

// Facts is what is judged.
type Facts struct {
	Machine  machine.Machine
	Named    []string // PCI addresses of the PFs that were asked for; none = all
	Root     bool     // what only root sees was there to be seen
	BootText string   // what the boot loader's files say, without remarks

	Services map[string]machine.Service // of those that rules ask for
	Programs map[string]Program
	Options  []ModuleOption // of /etc/modprobe.d and its like
	Scripts  []Script       // files of others that make VFs or move interrupts

	Records  map[string]hostprep.Record // by PF: what is made at boot
	Reached  map[string]string          // by PF: why the host is reached over it
	Held     map[string][]string        // by VF: who uses it
	Unseen   string                     // why users could not be seen; "" = they were
	Agent    bool                       // the agent of this host answered
	Ports    map[string]string          // by VF: the port it was given to
	Carried  map[string]vfnl.PF         // by PF: attributes of its VFs
	Firmware map[string]Firmware        // by PF, of Mellanox cards
}

// Program is one that others come with.
type Program struct {
	Path    string // "" = it is not installed
	Version string // "" = not known
}

// ModuleOption is one option that a file gives a module.
type ModuleOption struct{ File, Module, Key, Value string }

// Script is a file with a word in it that does what neutrino does.
type Script struct{ File, Word string }

// Firmware is a card's settings, or why they are not known.
type Firmware struct {
	Card mstconfig.Card
	Err  error
}

// pfs are the PFs that are judged.
func (f *Facts) pfs() []machine.NIC {
	var out []machine.NIC
	for _, n := range f.Machine.NICs {
		if n.PF != nil && !n.VF() && (len(f.Named) == 0 || slices.Contains(f.Named, n.Slot)) {
			out = append(out, n)
		}
	}
	return out
}

// vfs are the VFs of a PF that are there.
func (f *Facts) vfs(pf machine.NIC) []machine.NIC {
	var out []machine.NIC
	for _, v := range pf.PF.VFs {
		for _, n := range f.Machine.NICs {
			if n.Slot == v.Slot {
				out = append(out, n)
			}
		}
	}
	return out
}

// index is a VF's number; -1 = it is none of the PF's.
func index(pf machine.NIC, slot string) int {
	for _, v := range pf.PF.VFs {
		if v.Slot == slot {
			return v.Index
		}
	}
	return -1
}

// wanted reports whether the PF is to have VFs: it was named, it has some or is to have
// some at boot, or no PF of the machine has.
func (f *Facts) wanted(pf machine.NIC) bool {
	if slices.Contains(f.Named, pf.Slot) {
		return true
	}
	none := true
	for _, n := range f.pfs() {
		if _, recorded := f.Records[n.Slot]; recorded || n.PF.NumVFs > 0 {
			none = false
			if n.Slot == pf.Slot {
				return true
			}
		}
	}
	return none
}

// prepare is the command that makes a PF ready.
func (f *Facts) prepare(pf machine.NIC) string {
	n := min(8, pf.PF.TotalVFs)
	if r, has := f.Records[pf.Slot]; has {
		n = r.Count
	} else if pf.PF.NumVFs > 0 {
		n = pf.PF.NumVFs
	}
	return fmt.Sprintf("neutrino host prepare --pf %s --vfs %d", pf.Name(), max(n, 1))
}

// prepareHost is the same for what is about the host; it needs a PF all the same.
func (f *Facts) prepareHost() string {
	all := f.pfs()
	for _, n := range all {
		if f.wanted(n) {
			return f.prepare(n)
		}
	}
	return "neutrino host prepare --pf PF --vfs N"
}

// bootMend is what brings a word onto the kernel's command line: a reboot where the boot
// loader has it already.
func (f *Facts) bootMend(words ...string) string {
	for _, w := range words {
		if !slices.Contains(strings.FieldsFunc(f.BootText, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' }), w) {
			return f.prepareHost() + "; then reboot"
		}
	}
	return "reboot: the boot loader has it already"
}

// service finds one that is running, of several names.
func (f *Facts) running(names ...string) (machine.Service, bool) {
	for _, n := range names {
		if s := f.Services[n]; s.Running {
			return s, true
		}
	}
	return machine.Service{}, false
}

// option is what the files give a module; the last one counts.
func (f *Facts) option(module, key string) (ModuleOption, bool) {
	for _, o := range slices.Backward(f.Options) {
		if o.Module == module && o.Key == key {
			return o, true
		}
	}
	return ModuleOption{}, false
}

// install is how a package is got on this system.
func (f *Facts) install(debian, redhat string) string {
	switch f.Machine.OS.Family {
	case machine.RedHat:
		return "dnf install " + redhat
	case machine.SUSE:
		return "zypper install " + redhat
	}
	return "apt-get install " + debian
}

// list joins what was found, and says how many more there are.
func list(all []string) string {
	const most = 6
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}

// spans writes VF numbers as a list of CPUs is written.
func spans(numbers []int) string { return machine.NewCPUList(numbers...).String() }

// count names a number of VFs.
func count(n int) string {
	if n == 1 {
		return "1 VF"
	}
	return fmt.Sprintf("%d VFs", n)
}

func orNone(s string) string { return cmp.Or(s, "none") }
