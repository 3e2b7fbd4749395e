package config

import (
	"fmt"
	"strings"
)

// Example writes the commented example file of a role: every option that role acts
// on, with what it is for and its default. etc/ holds them.
func Example(role Role) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Options of `neutrino %s`, made by `neutrino config example --role %s`.\n", role, role)
	b.WriteString("# Files are read with oslo.config's rules; several --config-file may be given, later ones win.\n")
	b.WriteString("# A line that begins with # and no blank is an option at its default, or an example of one.\n")
	var sections []string
	bySection := map[string][]Option{}
	for _, o := range Options() {
		if !o.Acted() || (o.Role != Both && o.Role != role) {
			continue
		}
		if bySection[o.Section] == nil {
			sections = append(sections, o.Section)
		}
		bySection[o.Section] = append(bySection[o.Section], o)
	}
	for _, s := range sections {
		fmt.Fprintf(&b, "\n[%s]\n", s)
		for _, o := range bySection[s] {
			b.WriteString("\n")
			o.describe(&b)
		}
	}
	return b.String()
}

// describe writes one option as a comment.
func (o *Option) describe(b *strings.Builder) {
	for _, line := range wrap(o.Help, 96) {
		fmt.Fprintf(b, "# %s\n", line)
	}
	facts := []string{o.Kind.String()}
	if len(o.Choices) > 0 {
		facts = append(facts, "of "+strings.Join(o.Choices, ", "))
	}
	if o.Min != o.Max {
		facts = append(facts, fmt.Sprintf("%d to %d", o.Min, o.Max))
	}
	for _, n := range o.Aliases {
		facts = append(facts, "also "+n.from(o.Section))
	}
	for _, n := range o.Old {
		facts = append(facts, "formerly "+n.from(o.Section))
	}
	for _, line := range wrap("("+strings.Join(facts, "; ")+")", 96) {
		fmt.Fprintf(b, "# %s\n", line)
	}
	value := o.Default
	if value == "" && o.Sample != "" {
		value = o.Sample
	}
	fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("#%s = %s", o.Name.Option, value), " "))
}

// from names an option as it is seen from a section.
func (n Name) from(section string) string {
	if n.Section == section {
		return n.Option
	}
	return n.String()
}

// wrap breaks text into lines of at most width characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
