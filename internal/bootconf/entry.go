package bootconf

import "strings"

// Entry edits the command line of an entry of the boot loader specification (type #1): its "options"
// lines, of which there may be several. New words go to the last one.
func Entry(text string, add, drop []string) string {
	lines := strings.SplitAfter(text, "\n")
	last := -1
	var all []string
	for i, l := range lines {
		if _, args, ok := options(l); ok {
			last = i
			all = append(all, words(args)...)
		}
	}
	if last < 0 {
		if len(add) == 0 {
			return text
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return text + "options " + strings.Join(add, " ") + "\n"
	}
	for i, l := range lines {
		head, args, ok := options(l)
		if !ok {
			continue
		}
		var here []string
		if i == last {
			here = lacking(all, add)
		}
		if now := CommandLine(args, here, drop); now != args {
			lines[i] = head + now
			if strings.HasSuffix(l, "\n") {
				lines[i] += "\n"
			}
		}
	}
	return strings.Join(lines, "")
}

// EntryOptions are the words of an entry's command line.
func EntryOptions(text string) []string {
	var all []string
	for l := range strings.Lines(text) {
		if _, args, ok := options(l); ok {
			all = append(all, words(args)...)
		}
	}
	return all
}

// options parts "options ARGS" into what comes before ARGS and ARGS.
func options(line string) (head, args string, ok bool) {
	body := strings.TrimSuffix(line, "\n")
	trimmed := strings.TrimLeft(body, " \t")
	rest, ok := strings.CutPrefix(trimmed, "options")
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "", "", false
	}
	args = strings.TrimLeft(rest, " \t")
	head = body[:len(body)-len(args)]
	if rest == "" {
		head += " "
	}
	return head, args, true
}
