package bootconf

import (
	"slices"
	"strings"
)

// Variables of /etc/default/grub. The first is for every entry, the second not for those that mend a
// system that does not start.
const (
	GRUBAll     = "GRUB_CMDLINE_LINUX"
	GRUBDefault = "GRUB_CMDLINE_LINUX_DEFAULT"
)

// GRUB edits /etc/default/grub, or a file of /etc/default/grub.d, which the shell reads: words are added
// to GRUBAll where neither it nor GRUBDefault has them, and taken away from both. An assignment that is
// no plain text in quotes stays; then a line of its own adds to it.
func GRUB(text string, add, drop []string) string {
	lines := strings.SplitAfter(text, "\n")
	last := -1
	var have []string
	for i, l := range lines {
		a, ok := assigned(l)
		if !ok {
			continue
		}
		have = append(have, words(a.value)...)
		if a.name == GRUBAll {
			last = i
		}
	}
	add = lacking(have, add)
	for i, l := range lines {
		a, ok := assigned(l)
		if !ok {
			continue
		}
		var here []string
		if i == last {
			here = add
		}
		if now := CommandLine(a.value, here, drop); now != a.value {
			lines[i] = l[:a.from] + a.quote + now + a.quote + l[a.to:]
		}
	}
	text = strings.Join(lines, "")
	if last >= 0 || len(add) == 0 {
		return text
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text + GRUBAdds(add)
}

// GRUBAdds is a line that adds words to what GRUBAll is already: all that a file of /etc/default/grub.d
// needs.
func GRUBAdds(add []string) string {
	return GRUBAll + "=\"$" + GRUBAll + " " + strings.Join(add, " ") + "\"\n"
}

// GRUBWords are the words that a file gives to the command line.
func GRUBWords(text string) []string {
	var out []string
	for l := range strings.Lines(text) {
		if a, ok := assigned(l); ok {
			out = append(out, words(a.value)...)
		}
	}
	return slices.DeleteFunc(out, func(w string) bool { return strings.HasPrefix(w, "$") })
}

// assignment is a line NAME=value of a command line, where the value is plain: in one pair of quotes, or
// one bare word.
type assignment struct {
	name, value string
	quote       string
	from, to    int // where the value is in the line, with its quotes
}

func assigned(line string) (assignment, bool) {
	body := strings.TrimRight(line, "\r\n")
	at := len(body) - len(strings.TrimLeft(body, " \t"))
	if rest, ok := strings.CutPrefix(body[at:], "export "); ok {
		at = len(body) - len(strings.TrimLeft(rest, " \t"))
	}
	name, raw, ok := strings.Cut(body[at:], "=")
	if !ok || name != GRUBAll && name != GRUBDefault {
		return assignment{}, false
	}
	a := assignment{name: name, from: at + len(name) + 1}
	if raw == "" || raw[0] != '"' && raw[0] != '\'' {
		bare := strings.TrimRight(raw, " \t")
		a.value, a.quote, a.to = bare, `"`, a.from+len(bare)
		return a, !strings.ContainsAny(bare, "\"'\\`$#;&|<>() \t")
	}
	a.quote = raw[:1]
	value, after, closed := strings.Cut(raw[1:], a.quote)
	a.value, a.to = value, a.from+len(value)+2
	after = strings.TrimSpace(after)
	return a, closed && !strings.ContainsAny(value, "\\`") && (after == "" || after[0] == '#')
}
