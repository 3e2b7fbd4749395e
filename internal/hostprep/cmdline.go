package hostprep

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"neutrino/internal/ledger"
	"neutrino/internal/machine"
)

// ErrContradiction: a file of the administrator's says the opposite of what is needed.
var ErrContradiction = errors.New("a file says the opposite")

// grubDropIn is read by grub-mkconfig of Debian and Ubuntu after etc/default/grub.
const grubDropIn = "etc/default/grub.d/neutrino.cfg"

// kernelWords are what the kernel has to be started with so that VFs can be given to guests.
func kernelWords(m machine.Machine, p machine.NIC, mode Mode) []string {
	var out []string
	if mode.hostdev() {
		if m.CPU.Vendor == "GenuineIntel" {
			out = append(out, "intel_iommu=on")
		}
		out = append(out, "iommu=pt")
	}
	if p.BARs.Known && p.BARs.Absent > 0 {
		out = append(out, "pci=realloc")
	}
	return out
}

// switchedOff are words that keep an IOMMU from working, wherever they are.
var switchedOff = []string{"intel_iommu=off", "amd_iommu=off", "iommu=off", "iommu=soft"}

// commandLine is the changes that have the kernel started with these words, and the programs that
// carry them to where the boot loader reads them. Words that are there already are left out.
func commandLine(t machine.Tree, b machine.Boot, words []string) ([]ledger.Change, []ledger.Maker, error) {
	if len(words) == 0 {
		return nil, nil, nil
	}
	switch b.Loader {
	case machine.GRUB:
		return grub(t, b, words)
	case machine.GRUBBLS:
		c, err := edited(t, words, append([]string{"etc/default/grub", "etc/kernel/cmdline"}, entries(t)...))
		return c, nil, err
	case machine.SystemdBoot:
		c, err := edited(t, words, append([]string{"etc/kernel/cmdline"}, entries(t)...))
		return c, nil, err
	}
	return nil, nil, fmt.Errorf("give the kernel the words %s: %w: neither GRUB nor systemd-boot was found: add them by hand, and run it again",
		strings.Join(words, " "), errors.ErrUnsupported)
}

// entries are the files of the boot loader specification, one for each kernel.
func entries(t machine.Tree) []string {
	var out []string
	for _, dir := range []string{"boot/loader/entries", "efi/loader/entries", "boot/efi/loader/entries"} {
		for _, name := range t.Names(dir) {
			if strings.HasSuffix(name, ".conf") && !strings.Contains(name, "rescue") {
				out = append(out, path.Join(dir, name))
			}
		}
	}
	return out
}

// grub has a file of its own where grub-mkconfig reads more than one, else etc/default/grub is edited.
func grub(t machine.Tree, b machine.Boot, words []string) ([]ledger.Change, []ledger.Maker, error) {
	maker := ledger.Maker{Argv: strings.Fields(b.Rebuild), Files: []string{"boot/grub/grub.cfg*"}}
	if b.Rebuild != "update-grub" {
		maker.Files = []string{"boot/grub2/grub.cfg*"}
		c, err := edited(t, words, []string{"etc/default/grub"})
		if len(c) == 0 {
			return nil, nil, err
		}
		return c, []ledger.Maker{maker}, err
	}
	files := []string{"etc/default/grub"}
	for _, name := range t.Names("etc/default/grub.d") {
		if f := path.Join("etc/default/grub.d", name); strings.HasSuffix(name, ".cfg") && f != grubDropIn {
			files = append(files, f)
		}
	}
	missing := words
	for _, name := range files {
		text, _ := t.Text(name)
		if err := contradicts(name, text); err != nil {
			return nil, nil, err
		}
		missing = slices.DeleteFunc(slices.Clone(missing), func(w string) bool { return grubHas(text, w) })
	}
	if len(missing) == 0 {
		return nil, nil, nil
	}
	text := "# Written by: neutrino host prepare; neutrino host undo removes it. Then: update-grub\n" +
		"GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX " + strings.Join(missing, " ") + "\"\n"
	return []ledger.Change{writes(grubDropIn, "the kernel's command line", text)}, []ledger.Maker{maker}, nil
}

// grubHas reports whether a word is in one of the two variables that make command lines.
func grubHas(text, word string) bool {
	for line := range strings.Lines(text) {
		value, ok := grubValue(line)
		if ok && hasWord(value, word) {
			return true
		}
	}
	return false
}

// grubValue is what a line of etc/default/grub gives all kernels.
func grubValue(line string) (value string, ok bool) {
	name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
	if !ok || name != "GRUB_CMDLINE_LINUX" && name != "GRUB_CMDLINE_LINUX_DEFAULT" {
		return "", false
	}
	return strings.Trim(value, `"'`), true
}

func hasWord(line, word string) bool {
	return slices.ContainsFunc(machine.ParseCommandLine(line), func(a machine.Arg) bool { return a.String() == word })
}

// contradicts names the line that keeps the IOMMU off.
func contradicts(name, text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		for _, w := range switchedOff {
			if hasWord(strings.NewReplacer(`"`, " ", `'`, " ").Replace(line), w) {
				return fmt.Errorf("/%s:%d: %s: %w: remove it, and run it again", name, n, w, ErrContradiction)
			}
		}
	}
	return nil
}

// edited adds words to the files that have a command line in them, each in its own form.
func edited(t machine.Tree, words, files []string) ([]ledger.Change, error) {
	var out []ledger.Change
	for _, name := range files {
		data, ok := t.Bytes(name)
		if !ok {
			continue
		}
		text := string(data)
		if err := contradicts(name, text); err != nil {
			return nil, err
		}
		var next string
		switch {
		case name == "etc/default/grub":
			next = addToGRUB(text, words)
		case strings.HasPrefix(path.Base(name), "cmdline"):
			next = addToLine(text, words)
		default:
			next = addToEntry(text, words)
		}
		if next != text {
			out = append(out, writes(name, "the kernel's command line", next))
		}
	}
	return out, nil
}

// addToLine adds what is missing at the end of a command line.
func addToLine(line string, words []string) string {
	body := strings.TrimRight(line, " \n")
	tail := line[len(body):]
	for _, w := range words {
		if !hasWord(body, w) {
			body = strings.TrimLeft(body+" "+w, " ")
		}
	}
	return body + tail
}

// addToEntry adds them to the options of a boot loader entry.
func addToEntry(text string, words []string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "options ") || strings.HasPrefix(line, "options\t") {
			line = addToLine(line, words)
		}
		b.WriteString(line)
	}
	return b.String()
}

// addToGRUB adds them to GRUB_CMDLINE_LINUX, the last where it is there more than once.
func addToGRUB(text string, words []string) string {
	lines := slices.Collect(strings.Lines(text))
	for i := range slices.Backward(lines) {
		rest, ok := strings.CutPrefix(lines[i], "GRUB_CMDLINE_LINUX=")
		if !ok {
			continue
		}
		body := strings.TrimRight(rest, " \t\n")
		tail := rest[len(body):]
		quote := `"`
		if len(body) > 1 && (body[0] == '"' || body[0] == '\'') && body[len(body)-1] == body[0] {
			quote, body = body[:1], body[1:len(body)-1]
		}
		lines[i] = "GRUB_CMDLINE_LINUX=" + quote + addToLine(body, words) + quote + tail
		return strings.Join(lines, "")
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + `GRUB_CMDLINE_LINUX="` + strings.Join(words, " ") + "\"\n"
}

// writes is a file that is to hold a text.
func writes(name, why, text string) ledger.Change {
	return ledger.Change{Path: name, Why: why, Want: ledger.Content{Kind: ledger.Regular, Data: []byte(text), Mode: 0o644}}
}
