package config

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 4 << 20

// assignment is one `name = value` of a file, with its continuation lines.
type assignment struct {
	section string   // normalised: DEFAULT or lower case
	option  string   // dashes as underscores
	lines   []string // at least one; trimmed, otherwise as they stand
	at      Pos
}

// oslo is the value as oslo.config takes it: quotes removed, lines joined.
func (a assignment) oslo() string {
	lines := append([]string{unquote(a.lines[0])}, a.lines[1:]...)
	return strings.Join(lines, "\n")
}

// value is the value without trailing remarks and quotes, and the first remark found.
func (a assignment) value() (value, remark string) {
	var kept []string
	for i, line := range a.lines {
		text, r := splitRemark(line)
		if i == 0 {
			text = unquote(text)
		}
		if remark == "" {
			remark = r
		}
		if i == 0 || text != "" {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n"), remark
}

// scanner reads one file line by line. Its states are the section it is in, the
// assignment that is open for continuation lines, and how far the block is indented.
type scanner struct {
	file    string
	line    int
	section string // "" before the first section
	open    *assignment
	base    int  // indentation of the block, in characters
	fresh   bool // no assignment since the section began

	found    []assignment
	sections map[string]Pos // each section's first place
	warnings []Warning
	errs     []error
}

var (
	sectionLine = regexp.MustCompile(`^\[\s*([^\[\]]*?)\s*\](.*)$`)
	optionName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	looksLike   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*\s*=`)
)

// scan reads data as a file of that name. It finds all errors, not the first only.
func scan(file string, data []byte) *scanner {
	s := &scanner{file: file, sections: map[string]Pos{}, fresh: true}
	if err := readable(data); err != "" {
		s.fail("", "", err)
		return s
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	for raw := range bytes.Lines(data) {
		s.line++
		s.take(strings.TrimRightFunc(string(raw), unicode.IsSpace))
	}
	return s
}

// readable says why data cannot be an option file, or "".
func readable(data []byte) string {
	switch {
	case len(data) > maxFile:
		return fmt.Sprintf("the file is %d bytes long; %d are read at most", len(data), maxFile)
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return "the file is UTF-16; save it as UTF-8"
	case bytes.IndexByte(data, 0) >= 0:
		return "the file holds NUL bytes: it is not text"
	}
	return ""
}

func (s *scanner) take(line string) {
	text := strings.TrimLeftFunc(line, unicode.IsSpace)
	if text == "" {
		s.open = nil
		return
	}
	indent := utf8.RuneCountInString(line) - utf8.RuneCountInString(text)
	header := sectionLine.FindStringSubmatch(text)
	switch {
	case isComment(text):
		if indent > 0 && s.open != nil && indent > s.base {
			s.warn("", "oslo.config takes this indented comment for a part of %s above it", s.open.option)
		}
		if indent <= s.base {
			s.open = nil
		}
		if text[0] != '#' && text[0] != ';' {
			s.warn("", "oslo.config does not take a full-width sign for the beginning of a comment")
		}
	case header != nil && (indent == 0 || isRemark(header[2])):
		s.enter(header[1], header[2], indent)
	case indent > s.base && s.open != nil:
		if looksLike.MatchString(text) {
			s.warn(s.open.option, "the indented line %q is taken as a part of this option's value", shorten(text))
		}
		s.open.lines = append(s.open.lines, text)
		s.found[len(s.found)-1] = *s.open
	case indent > s.base && !s.fresh && !looksLike.MatchString(text):
		s.fail("", shorten(text), "this indented line continues no option")
	default:
		if indent > 0 && indent != s.base {
			s.indented()
		}
		s.base = indent
		s.assign(text)
	}
}

// enter begins a section.
func (s *scanner) enter(name, rest string, indent int) {
	if name != def {
		name = strings.ToLower(name)
	}
	s.section, s.open, s.base, s.fresh = name, nil, indent, true
	switch {
	case name == "":
		s.fail("", "", "a section without a name")
	case !isRemark(rest):
		s.fail("", shorten(rest), "text after a section's name")
	}
	if _, ok := s.sections[name]; !ok && name != "" {
		s.sections[name] = s.pos()
	}
	if rest != "" && isRemark(rest) {
		s.warn("", "oslo.config does not accept a remark after a section's name")
	}
	if indent > 0 {
		s.indented()
	}
}

// assign reads `name = value` or `name: value`.
func (s *scanner) assign(text string) {
	s.open = nil
	s.fresh = false
	at := strings.IndexAny(text, "=:")
	if at < 0 {
		if strings.HasPrefix(text, "[") {
			s.fail("", shorten(text), "a section's name must end with ]")
			return
		}
		s.fail("", shorten(text), "neither a [section], nor `option = value`, nor a # comment")
		return
	}
	name := strings.TrimSpace(text[:at])
	switch {
	case name == "":
		s.fail("", shorten(text), "there is no option's name before the "+text[at:at+1])
		return
	case !optionName.MatchString(name):
		s.fail("", shorten(text), shorten(name)+" is not an option's name")
		return
	case s.section == "":
		if len(s.sections) == 0 {
			s.fail(name, "", "the option stands before the first [section]; put [DEFAULT] above it")
		}
		return
	}
	s.open = &assignment{
		section: s.section,
		option:  strings.ReplaceAll(name, "-", "_"),
		lines:   []string{strings.TrimSpace(text[at+1:])},
		at:      s.pos(),
	}
	s.found = append(s.found, *s.open)
}

// indented warns once per file of what oslo.config takes for continuation lines.
func (s *scanner) indented() {
	const text = "the text is indented; oslo.config does not accept that"
	for _, w := range s.warnings {
		if w.Text == text {
			return
		}
	}
	s.warn("", text)
}

func (s *scanner) pos() Pos { return Pos{s.file, s.line} }

func (s *scanner) fail(option, value, reason string) {
	e := &Error{Pos: s.pos(), Name: Name{s.section, option}, Reason: reason, hidden: true}
	if value != "" && option == "" {
		e.Reason = fmt.Sprintf("%s: %s", value, reason)
	}
	s.errs = append(s.errs, e)
}

func (s *scanner) warn(option, format string, args ...any) {
	s.warnings = append(s.warnings, Warning{s.pos(), Name{s.section, option}, fmt.Sprintf(format, args...)})
}

func isComment(text string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	return r == '#' || r == ';' || r == '＃' || r == '；'
}

// isRemark reports whether text is nothing, or blanks and a remark.
func isRemark(text string) bool {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	return text == "" || isComment(text) || strings.HasPrefix(text, "//")
}

// splitRemark divides a value from the remark that follows it after a blank: `#`, `;`,
// their full-width forms, or `//`. What stands in quotes at the value's beginning is no
// remark.
func splitRemark(line string) (value, remark string) {
	from := 0
	if line != "" && (line[0] == '"' || line[0] == '\'') {
		if end := strings.IndexByte(line[1:], line[0]); end >= 0 && isRemark(line[end+2:]) {
			from = end + 2
		}
	}
	blank := from == 0
	for i, r := range line[from:] {
		if rest := line[from+i:]; blank && (isComment(rest) || strings.HasPrefix(rest, "//")) {
			return strings.TrimRightFunc(line[:from+i], unicode.IsSpace), rest
		}
		blank = unicode.IsSpace(r)
	}
	return line, ""
}

// unquote removes one pair of quotes around the whole value, as oslo.config does.
func unquote(v string) string {
	if v != "" && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		return v[1:max(1, len(v)-1)]
	}
	return v
}

// shorten makes text of a file fit for a message.
func shorten(text string) string {
	const most = 60
	text = strings.ToValidUTF8(text, "?")
	if utf8.RuneCountInString(text) > most {
		text = string([]rune(text)[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}
