package bootconf

import (
	"slices"
	"strings"
)

// words splits a command line as the kernel does: at blanks outside of double quotes.
func words(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r')
	})
}

// CommandLine adds words to a command line that lack there, and takes others away. A line that is so
// already is returned as it is.
func CommandLine(line string, add, drop []string) string {
	have := words(line)
	out := slices.DeleteFunc(slices.Clone(have), func(w string) bool { return slices.Contains(drop, w) })
	args := slices.Index(out, "--") // what comes after it is for init
	if args < 0 {
		args = len(out)
	}
	more := lacking(out[:args], add)
	if strings.Count(line, `"`)%2 == 1 { // a quote that is not closed takes in all that follows
		args = 0
	}
	out = slices.Insert(out, args, more...)
	if slices.Equal(out, have) {
		return line
	}
	return strings.Join(out, " ")
}

// KernelCommandLine is CommandLine for the text of /etc/kernel/cmdline. Lines that begin with # are
// remarks; the words may be on several lines, and new ones go to the last.
func KernelCommandLine(text string, add, drop []string) string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	last := -1
	var all []string
	for i, l := range lines {
		if t := strings.TrimSpace(l); t != "" && t[0] != '#' {
			last = i
			all = append(all, words(l)...)
		}
	}
	if last < 0 && len(add) > 0 {
		if n := len(lines); n > 0 {
			lines[n-1], _ = strings.CutSuffix(lines[n-1], "\n")
			lines[n-1] += "\n"
		}
		lines, last = append(lines, "\n"), len(lines)
	}
	for i, l := range lines {
		if t := strings.TrimSpace(l); i != last && (t == "" || t[0] == '#') {
			continue
		}
		body, end := cutEnd(l)
		var here []string
		if i == last {
			here = lacking(all, add)
		}
		lines[i] = CommandLine(body, here, drop) + end
	}
	return strings.Join(lines, "")
}

// lacking are those of want that have lacks.
func lacking(have, want []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return Has(have, w) })
}

// Has reports whether a word is among others, alone or in a list: intel_iommu=on is in
// intel_iommu=on,sm_on.
func Has(have []string, word string) bool {
	key, value, set := strings.Cut(word, "=")
	return slices.ContainsFunc(have, func(h string) bool {
		k, list, listed := strings.Cut(h, "=")
		return h == word || k == key && set && listed && slices.Contains(strings.Split(list, ","), value)
	})
}

// cutEnd parts a line from its end of line; the last line of a text gets one.
func cutEnd(line string) (body, end string) {
	if body, ok := strings.CutSuffix(line, "\n"); ok {
		return body, "\n"
	}
	return line, "\n"
}
