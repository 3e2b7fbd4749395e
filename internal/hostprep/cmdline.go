package hostprep

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"neutrino/internal/bootconf"
	"neutrino/internal/machine"
)

// grubDropIn is read by grub-mkconfig of Debian and Ubuntu after etc/default/grub.
const grubDropIn = "etc/default/grub.d/neutrino.cfg"

// switchedOff are words that keep an IOMMU from working, wherever they are.
var switchedOff = []string{"intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu=soft"}

// kernelWords are what the kernel has to be started with so that VFs can be given to guests.
func (p *Preparation) kernelWords() []string {
	var out []string
	if p.want.Mode.hostdev() {
		switch p.CPU.Vendor {
		case "GenuineIntel":
			out = append(out, "intel_iommu=on", "iommu=pt")
		case "AuthenticAMD", "HygonGenuine": // on by itself; there is no amd_iommu=on
			out = append(out, "iommu=pt")
		default:
			out = append(out, "iommu.passthrough=1")
		}
	}
	// The firmware has left no room for the memory of VFs.
	if b := p.nic.BARs; b.Known && p.nic.PF != nil && p.pf.NumVFs == 0 && (b.Absent > 0 || b.VF == 0) {
		out = append(out, "pci=realloc")
	}
	return out
}

// planLine plans the kernel's command line.
func (p *Preparation) planLine(context.Context) error {
	if i := p.IOMMU; p.want.Mode.hostdev() && i.Groups == 0 && i.ACPI && i.Table == "" {
		return fmt.Errorf("give VFs of %s to guests: %w, and the firmware has no table of one: switch VT-d, AMD-Vi or SMMU on in the BIOS, or ask for --mode macvtap", p.PF, ErrNoIOMMU)
	}
	words := p.kernelWords()
	var now []string
	for _, a := range p.Kernel.Args {
		now = append(now, a.String())
	}
	missing := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return bootconf.Has(now, w) })
	if len(missing) > 0 {
		p.reboot("the kernel was started without %s", strings.Join(missing, " "))
	}
	if off := slices.DeleteFunc(slices.Clone(now), func(w string) bool { return !slices.Contains(switchedOff, w) }); len(off) > 0 && p.want.Mode.hostdev() {
		p.reboot("the kernel was started with %s", strings.Join(off, " "))
	}
	switch {
	case len(words) == 0:
		return nil
	case p.want.KeepLine:
		if len(missing) > 0 {
			p.note("the kernel's command line is left alone, as asked: it is yours to give it %s", strings.Join(words, " "))
		}
		return nil
	}
	switch p.Boot.Loader {
	case machine.GRUB:
		return p.grub(words)
	case machine.GRUBBLS:
		all := p.entries()
		if i := slices.IndexFunc(all, p.takesFromGRUB); i >= 0 {
			p.note("entries of kernels that come later take their words from kernelopts in grubenv, as /%s does: after the next kernel, prepare again, or run grub2-mkconfig -o /boot/grub2/grub.cfg", all[i])
		}
		return p.editLines(append([]string{"etc/default/grub", "etc/kernel/cmdline"}, all...), words)
	case machine.SystemdBoot:
		if all := p.entries(); len(all) > 0 || len(missing) == 0 {
			return p.editLines(append([]string{"etc/kernel/cmdline"}, all...), words)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("give the kernel the words %s: %w: neither GRUB nor entries of systemd-boot were found: add them by hand, and ask for --keep-kernel-line",
		strings.Join(words, " "), ErrLoader)
}

// entries are the files of the boot loader specification, one for each kernel.
func (p *Preparation) entries() []string {
	var out []string
	for _, dir := range []string{"boot/loader/entries", "efi/loader/entries", "boot/efi/loader/entries"} {
		for _, name := range p.Tree.Names(dir) {
			if counts(name, ".conf") && !strings.Contains(name, "rescue") {
				out = append(out, path.Join(dir, name))
			}
		}
	}
	return out
}

// takesFromGRUB reports whether an entry has GRUB's variable in it, as those of RHEL 8 have. The variable is left
// alone: GRUB itself writes the file that it is in at each boot, which then could not be put back.
func (p *Preparation) takesFromGRUB(entry string) bool {
	text, _ := p.Tree.Bytes(entry)
	return slices.Contains(bootconf.EntryOptions(string(text)), "$kernelopts")
}

// counts reports whether a directory's readers take a file: none of them takes hidden ones, which a write that
// was cut off leaves.
func counts(name, suffix string) bool { return strings.HasSuffix(name, suffix) && name[0] != '.' }

// grub has a file of its own where grub-mkconfig reads more than one, else etc/default/grub is edited.
func (p *Preparation) grub(words []string) error {
	if p.OS.Family != machine.Debian {
		p.maker([]string{"boot/grub2/grub.cfg*"}, "grub2-mkconfig", "-o", "/boot/grub2/grub.cfg")
		return p.editLines([]string{"etc/default/grub"}, words)
	}
	p.maker([]string{"boot/grub/grub.cfg*"}, "update-grub")
	files := []string{"etc/default/grub"}
	for _, name := range p.Tree.Names("etc/default/grub.d") {
		if f := path.Join("etc/default/grub.d", name); counts(name, ".cfg") && f != grubDropIn {
			files = append(files, f)
		}
	}
	var have []string
	for _, name := range files {
		text, _ := p.Tree.Bytes(name)
		if err := contradicts(name, string(text)); err != nil {
			return err
		}
		have = append(have, bootconf.GRUBWords(string(text))...)
	}
	if missing := slices.DeleteFunc(words, func(w string) bool { return bootconf.Has(have, w) }); len(missing) > 0 {
		p.write(grubDropIn, lineChanges, strings.TrimSuffix(writtenBy, "\n")+" Then: update-grub\n"+bootconf.GRUBAdds(missing))
	}
	return nil
}

const lineChanges = "the kernel's command line"

// editLines adds words to the files that have a command line in them, each in its own form.
func (p *Preparation) editLines(files, words []string) error {
	for _, name := range files {
		text, ok := p.Tree.Bytes(name)
		if err := contradicts(name, string(text)); ok && err != nil {
			return err
		}
		with := bootconf.Entry
		switch name {
		case "etc/default/grub":
			with = bootconf.GRUB
		case "etc/kernel/cmdline":
			with = bootconf.KernelCommandLine
		}
		p.edit(name, lineChanges, func(s string) string { return with(s, words, nil) })
	}
	return nil
}

// contradicts names the line that keeps the IOMMU off: whoever wrote it had a reason.
func contradicts(name, text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, w := range strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n\"'", r) }) {
			w = strings.TrimPrefix(strings.TrimPrefix(w, bootconf.GRUBAll+"="), bootconf.GRUBDefault+"=")
			if slices.Contains(switchedOff, w) {
				return fmt.Errorf("/%s:%d: %s: %w: remove it, and run it again", name, n, w, ErrContradiction)
			}
		}
	}
	return nil
}
