package bootconf

import (
	"maps"
	"slices"
	"strings"
)

// ModuleOptions are the options that a file of modprobe.d gives a module; of an option that is given
// twice the kernel takes the last.
func ModuleOptions(text, module string) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(text) {
		for _, o := range moduleLine(l, module) {
			name, value, _ := strings.Cut(o, "=")
			out[name] = strings.Trim(value, `"`)
		}
	}
	return out
}

// SetModuleOptions gives a module options, in the place where each is given already, else in a line of
// its own at the end. Others stay.
func SetModuleOptions(text, module string, want map[string]string) string {
	last := map[string]int{}
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		for _, o := range moduleLine(l, module) {
			name, _, _ := strings.Cut(o, "=")
			last[name] = i
		}
	}
	for i, l := range lines {
		opts := moduleLine(l, module)
		changed := false
		for j, o := range opts {
			name, _, _ := strings.Cut(o, "=")
			v, mine := want[name]
			if mine && last[name] == i && o != name+"="+v {
				opts[j], changed = name+"="+v, true
			}
		}
		if changed {
			lines[i] = moduleText(module, opts)
		}
	}
	text = strings.Join(lines, "")
	var more []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, there := last[name]; !there {
			more = append(more, name+"="+want[name])
		}
	}
	if len(more) == 0 {
		return text
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + moduleText(module, more)
}

// DropModuleOptions takes options of a module away, and lines that then say nothing.
func DropModuleOptions(text, module string, names []string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, l := range lines {
		opts := moduleLine(l, module)
		kept := slices.DeleteFunc(slices.Clone(opts), func(o string) bool {
			name, _, _ := strings.Cut(o, "=")
			return slices.Contains(names, name)
		})
		switch {
		case len(kept) == len(opts):
		case len(kept) == 0:
			lines[i] = ""
		default:
			lines[i] = moduleText(module, kept)
		}
	}
	return strings.Join(lines, "")
}

func moduleText(module string, opts []string) string {
	return "options " + module + " " + strings.Join(opts, " ") + "\n"
}

// moduleLine reads "options MODULE name=value ..."; modprobe takes - and _ in a module's name for the
// same. A line that goes on in the next (\), or in an open quote, is not understood.
func moduleLine(line, module string) []string {
	w := words(line)
	if len(w) < 3 || w[0] != "options" || strings.ReplaceAll(w[1], "-", "_") != strings.ReplaceAll(module, "-", "_") {
		return nil
	}
	if strings.HasSuffix(strings.TrimSpace(line), `\`) || strings.Count(line, `"`)%2 == 1 {
		return nil
	}
	return w[2:]
}
