package config

import (
	"fmt"
	"strings"
)

// Name is an option's section (as it is written: DEFAULT, else lower case) and name.
type Name struct {
	Section string
	Option  string
}

// String gives "[section] option".
func (n Name) String() string { return "[" + n.Section + "] " + n.Option }

// Pos is a place in a file. Line counts from 1; 0 = the file as a whole.
type Pos struct {
	File string
	Line int
}

// String gives "file:line".
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Setting is one option as a file sets it.
type Setting struct {
	Name
	Pos
	Value  string // after remarks, quotes and interpolation; "" for secrets
	Reason string // for options that are not acted on: why, and what takes their place
}

// String gives "file:line: [section] option".
func (s Setting) String() string { return s.Pos.String() + ": " + s.Name.String() }

// Error is one thing that is wrong in one place. Load joins all of them.
type Error struct {
	Pos
	Name             // zero when no option is meant
	Value  string    // as it stands in the file; "" for secrets
	Reason string    // what is wrong and what is allowed
	hidden bool      // Value was a secret
	_      [0]func() // not comparable: errors are found with errors.As
}

// Error implements error: `file:line: [section] option = "value": reason`.
func (e *Error) Error() string { return place(e.Pos, e.Name, e.Value, e.hidden) + e.Reason }

// Warning is something that is accepted here and that oslo.config would not accept,
// or an old name, or a setting that another one overrides.
type Warning struct {
	Pos
	Name
	Text string
}

// String gives `file:line: [section] option: text`.
func (w Warning) String() string { return place(w.Pos, w.Name, "", true) + w.Text }

func place(p Pos, n Name, value string, hidden bool) string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.String())
		b.WriteString(": ")
	}
	if n.Option != "" {
		if n.Section == "" {
			b.WriteString(n.Option)
		} else {
			b.WriteString(n.String())
		}
		if !hidden {
			fmt.Fprintf(&b, " = %q", value)
		}
		b.WriteString(": ")
	} else if n.Section != "" {
		fmt.Fprintf(&b, "[%s]: ", n.Section)
	}
	return b.String()
}
