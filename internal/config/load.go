package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Load reads the files in order; a later file wins over an earlier one, and in one
// file the later line wins. The error joins one [Error] for each thing that is wrong
// in any of the files, in their order; with an error the Config is nil. Warnings are
// returned in either case.
//
// What depends on who reads the files (a controller needs more than an agent) is
// checked by [Config.Check].
func Load(paths []string) (*Config, []Warning, error) {
	l := newLoader(newTable())
	for _, path := range paths {
		data, err := readFile(path)
		if err != nil {
			l.errs = append(l.errs, &Error{Pos: Pos{File: path}, Reason: err.Error()})
			continue
		}
		l.add(scan(path, data))
	}
	return l.result(paths)
}

// Defaults returns what holds without any file.
func Defaults() (*Config, error) {
	c, _, err := Load(nil)
	return c, err
}

// InDir returns the *.conf and *.ini files of a directory, sorted by name, as
// --config-dir means them.
func InDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read configuration directory: %w", err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".conf" || ext == ".ini") {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}

// readFile reads at most a byte more than scan accepts.
func readFile(path string) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	return data, nil
}

// cause drops the operation and path from a file error: the place names the file.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return fmt.Errorf("cannot %s the file: %w", p.Op, p.Err)
	}
	return err
}

// known name of an option: rank 0 is its own, then other names, then old ones.
type ref struct {
	option *Option
	rank   int
	old    bool
}

// table is the declared options with what finds them. It is read only.
type table struct {
	options  []Option
	names    map[Name]ref
	sections []string // known, sorted
}

// loader gathers the assignments of all files per option, then picks and parses.
type loader struct {
	*table
	found    map[Name][]given // by the option's own name
	expanded map[Name]expansion
	files    int
	warnings []Warning
	errs     []error
}

// given is one assignment to an option.
type given struct {
	assignment
	file int
	rank int
}

func newLoader(t *table) *loader {
	return &loader{table: t, found: map[Name][]given{}, expanded: map[Name]expansion{}}
}

func newTable() *table {
	l := &table{options: Options(), names: map[Name]ref{}}
	sections := map[string]bool{}
	for i := range l.options {
		o := &l.options[i]
		sections[o.Section] = true
		l.names[o.Name] = ref{option: o}
		for j, n := range slices.Concat(o.Aliases, o.Old) {
			sections[n.Section] = true
			l.names[n] = ref{option: o, rank: 1 + j, old: j >= len(o.Aliases)}
		}
	}
	l.sections = slices.Sorted(maps.Keys(sections))
	return l
}

// add takes in what the scanner found in one file.
func (l *loader) add(s *scanner) {
	l.files++
	l.warnings = append(l.warnings, s.warnings...)
	errs := s.errs
	for _, section := range slices.SortedFunc(maps.Keys(s.sections), func(a, b string) int {
		return cmp.Compare(s.sections[a].Line, s.sections[b].Line)
	}) {
		if !slices.Contains(l.sections, section) {
			reason := "unknown section"
			if near, ok := nearest(section, l.sections); ok {
				reason += fmt.Sprintf("; did you mean [%s]?", near)
			}
			errs = append(errs, &Error{Pos: s.sections[section], Name: Name{Section: section}, Reason: reason})
		}
	}
	last := map[Name]Pos{}
	for _, a := range s.found {
		name := Name{a.section, a.option}
		if !slices.Contains(l.sections, a.section) {
			continue
		}
		r, ok := l.names[name]
		if !ok {
			errs = append(errs, &Error{Pos: a.at, Name: name, Reason: l.unknown(name), hidden: true})
			continue
		}
		if at, twice := last[name]; twice && r.option.Acted() {
			l.warn(a, "overrides the value on line %d", at.Line)
		}
		last[name] = a.at
		if r.old {
			l.warn(a, "old name; it is now %s", r.option.Name)
		}
		l.found[r.option.Name] = append(l.found[r.option.Name], given{a, l.files, r.rank})
	}
	slices.SortStableFunc(errs, byLine)
	l.errs = append(l.errs, errs...)
}

func byLine(a, b error) int {
	line := func(err error) int {
		var e *Error
		if errors.As(err, &e) {
			return e.Line
		}
		return 0
	}
	return cmp.Compare(line(a), line(b))
}

func (l *loader) warn(a assignment, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{a.at, Name{a.section, a.option}, fmt.Sprintf(format, args...)})
}

// unknown says what a name that is no option may have meant.
func (l *loader) unknown(n Name) string {
	var here, elsewhere, unacted []string
	for k, r := range l.names {
		switch {
		case k.Section == n.Section:
			here = append(here, k.Option)
		case k.Option == n.Option && r.option.Acted():
			elsewhere = append(elsewhere, "["+k.Section+"]")
		case k.Option == n.Option:
			unacted = append(unacted, "["+k.Section+"]")
		}
	}
	if len(elsewhere) == 0 {
		elsewhere = unacted
	}
	slices.Sort(here)
	slices.Sort(elsewhere)
	if near, ok := nearest(n.Option, here); ok {
		return fmt.Sprintf("unknown option; did you mean %s?", near)
	}
	switch len(elsewhere) {
	case 0:
		return "unknown option"
	case 1:
		return "unknown option; it belongs to " + elsewhere[0]
	}
	return "unknown option; options of that name are in " + strings.Join(elsewhere[:min(4, len(elsewhere))], ", ")
}

// pick returns the assignment that counts: of the last file that has any, the one
// under the best name, and of those the last line.
func pick(all []given) (given, bool) {
	if len(all) == 0 {
		return given{}, false
	}
	best := all[0]
	for _, g := range all[1:] {
		if g.file > best.file || g.rank <= best.rank {
			best = g
		}
	}
	return best, true
}

// result parses every option into a Config.
func (l *loader) result(paths []string) (*Config, []Warning, error) {
	c := &Config{files: slices.Clone(paths), settings: map[Name]Setting{}}
	var errs []error
	for i := range l.options {
		if err := l.parse(c, &l.options[i]); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortStableFunc(errs, l.byPlace(paths))
	slices.SortStableFunc(l.warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(slices.Index(paths, a.File), slices.Index(paths, b.File)), cmp.Compare(a.Line, b.Line))
	})
	slices.SortStableFunc(c.unacted, func(a, b Setting) int {
		return cmp.Or(cmp.Compare(slices.Index(paths, a.File), slices.Index(paths, b.File)), cmp.Compare(a.Line, b.Line))
	})
	if err := errors.Join(slices.Concat(l.errs, errs)...); err != nil {
		return nil, l.warnings, err
	}
	if err := c.finish(); err != nil {
		return nil, l.warnings, err
	}
	return c, l.warnings, nil
}

func (l *loader) byPlace(paths []string) func(a, b error) int {
	file := func(err error) int {
		var e *Error
		if errors.As(err, &e) {
			return slices.Index(paths, e.File)
		}
		return -1
	}
	return func(a, b error) int { return cmp.Or(cmp.Compare(file(a), file(b)), byLine(a, b)) }
}
