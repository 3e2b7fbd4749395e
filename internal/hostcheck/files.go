package hostcheck

import (
	"path/filepath"
	"strings"

	"neutrino/internal/hostprep"
	"neutrino/internal/machine"
)

// files reads those of etc and boot that rules look into.
func (f *Facts) files(t machine.Tree) {
	f.BootText = bootText(t, f.Machine.Boot)
	f.Options = moduleOptions(t)
	for _, g := range searched {
		for _, file := range glob(t, g.pattern) {
			text, _ := t.Text(file)
			text = bare(text)
			if strings.Contains(text, "neutrino host") && g.ours {
				continue
			}
			for _, w := range g.words {
				if strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
					f.Scripts = append(f.Scripts, Script{"/" + file, w})
				}
			}
			if g.networks && anyLink(text) {
				f.Scripts = append(f.Scripts, Script{"/" + file, wordAnyLink})
			}
		}
	}
	f.records(t)
}

// searched are files, and the words that are looked for in them.
var searched = []struct {
	pattern  string
	words    []string
	ours     bool // may be neutrino's own, and then does not count
	networks bool
}{
	{pattern: "etc/NetworkManager/NetworkManager.conf", words: []string{wordUnmanaged}},
	{pattern: "etc/NetworkManager/conf.d/*.conf", words: []string{wordUnmanaged}},
	{pattern: "etc/udev/rules.d/*.rules", words: []string{wordUnmanaged}},
	{pattern: "etc/systemd/network/*.network", words: []string{wordUnmanaged}, networks: true},
	{pattern: "run/systemd/network/*.network", words: []string{wordUnmanaged}, networks: true},
	{pattern: "etc/default/irqbalance", words: []string{wordBanned, wordPolicy}},
	{pattern: "etc/sysconfig/irqbalance", words: []string{wordBanned, wordPolicy}},
	{pattern: "etc/systemd/system/irqbalance.service.d/*.conf", words: []string{wordBanned, wordPolicy}},
	{pattern: "etc/rc.local", words: []string{wordVFs, wordOFEDVFs, wordAffinity, wordTune}, ours: true},
	{pattern: "etc/rc.d/rc.local", words: []string{wordVFs, wordOFEDVFs, wordAffinity, wordTune}, ours: true},
	{pattern: "etc/udev/rules.d/*.rules", words: []string{wordVFs, wordOFEDVFs, wordAffinity}, ours: true},
	{pattern: "etc/systemd/system/*.service", words: []string{wordVFs, wordOFEDVFs, wordAffinity, wordTune}, ours: true},
	{pattern: "etc/network/interfaces", words: []string{wordVFs, wordOFEDVFs, wordAffinity}, ours: true},
	{pattern: "etc/network/interfaces.d/*", words: []string{wordVFs, wordOFEDVFs, wordAffinity}, ours: true},
	{pattern: "etc/netplan/*.yaml", words: []string{wordNetplan}},
}

// glob lists files below the root, relative to it.
func glob(t machine.Tree, pattern string) []string {
	found, err := filepath.Glob(t.Path(pattern))
	if err != nil {
		return nil
	}
	var out []string
	for _, at := range found {
		if rel, rerr := filepath.Rel(t.Path(), at); rerr == nil {
			out = append(out, rel)
		}
	}
	return out
}

// bare is a file without its remarks.
func bare(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if l := strings.TrimSpace(line); l != "" && l[0] != '#' && l[0] != ';' {
			b.WriteString(line)
		}
	}
	return b.String()
}

// anyLink reports whether a .network file matches devices by a pattern.
func anyLink(text string) bool {
	for line := range strings.Lines(text) {
		if name, has := strings.CutPrefix(strings.TrimSpace(line), "Name="); has && strings.ContainsAny(name, "*?[") {
			return true
		}
	}
	return false
}

// bootText is what the boot loader's files say of the kernel's command line.
func bootText(t machine.Tree, b machine.Boot) string {
	var out []string
	patterns := []string{strings.TrimPrefix(b.File, "/")}
	switch b.Loader {
	case machine.GRUB:
		patterns = append(patterns, "etc/default/grub.d/*.cfg")
	case machine.GRUBBLS:
		patterns = []string{"boot/loader/entries/*.conf"}
	}
	for _, p := range patterns {
		if p == "" {
			continue
		}
		for _, file := range glob(t, p) {
			text, _ := t.Text(file)
			out = append(out, bare(text))
		}
	}
	return strings.Join(out, "\n")
}

// moduleOptions reads what modprobe gives modules, in the order in which it counts.
func moduleOptions(t machine.Tree) []ModuleOption {
	var out []ModuleOption
	for _, dir := range []string{"usr/lib/modprobe.d", "etc/modprobe.d"} {
		for _, file := range glob(t, dir+"/*.conf") {
			text, _ := t.Text(file)
			out = append(out, parseOptions("/"+file, text)...)
		}
	}
	return out
}

// parseOptions reads the lines "options MODULE key=value ..." of a file of modprobe.d.
func parseOptions(file, text string) []ModuleOption {
	var out []ModuleOption
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "options" {
			continue
		}
		for _, w := range words[2:] {
			key, value, _ := strings.Cut(w, "=")
			out = append(out, ModuleOption{file, strings.ReplaceAll(words[1], "-", "_"), key, strings.Trim(value, `"`)})
		}
	}
	return out
}

// records reads what is to be made at boot, for the PFs that are there.
func (f *Facts) records(t machine.Tree) {
	for _, file := range glob(t, strings.TrimPrefix(hostprep.DefaultDir, "/")+"/*.conf") {
		text, _ := t.Text(file)
		r, err := hostprep.ParseRecord(text)
		if err != nil { // `host vfs show` says what is wrong with it
			continue
		}
		for _, n := range f.Machine.NICs {
			mac := ""
			if len(n.Interfaces) > 0 {
				mac = strings.ToLower(n.Interfaces[0].MAC)
			}
			if n.PF != nil && (n.Slot == r.Slot && (r.MAC == "" || mac == "" || mac == r.MAC) || r.MAC != "" && mac == r.MAC) {
				f.Records[n.Slot] = r
			}
		}
	}
}
