package config

import (
	"slices"
	"time"
)

// Kind is an option's type, with oslo.config's spelling of its values.
type Kind int

// Kinds.
const (
	String     Kind = iota // any text
	Bool                   // true, false, yes, no, on, off, 1, 0
	Int                    // decimal
	Port                   // 0..65535
	Seconds                // decimal seconds, kept as a time.Duration
	Fractional             // seconds that may have a fraction, kept as a time.Duration
	List                   // comma separated
	Mappings               // comma separated name:device, names may repeat
	Exclude                // comma separated device:slot;slot
	MTUs                   // comma separated name:number
	Opaque                 // of an option that is not acted on: not looked at
)

// String names the kind for people.
func (k Kind) String() string {
	names := [...]string{
		"string", "boolean", "integer", "port", "seconds", "seconds", "list", "mappings", "exclusions",
		"name:number list", "any",
	}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Role says who reads an option.
type Role int

// Roles.
const (
	Both Role = iota
	Controller
	Agents
)

// String names the role for people.
func (r Role) String() string {
	switch r {
	case Controller:
		return "controller"
	case Agents:
		return "agent"
	default:
		return "both"
	}
}

// Option declares one option.
type Option struct {
	Name
	Kind    Kind
	Default string   // as a file would say it
	Choices []string // of the value, or of each item of a list; empty = any
	Min     int      // of Int, Seconds and Fractional, with Max; Min == Max == 0: any
	Max     int
	Help    string            // one or two sentences
	Words   map[string]string // words that stand for another value
	Sample  string            // an example value for the example file; "" = the default
	Aliases []Name            // other current names
	Old     []Name            // old names: accepted with a warning
	Role    Role
	Secret  bool   // its value is never printed
	Reason  string // why it is not acted on; "" = it is acted on

	check func(string) error // of the value, or of each item of a list
	// lacks says what of the value will not work, or "": the option is acted on, but not in
	// all that it may ask for.
	lacks func(*Config) string
	into  func(*Config) any // the field that takes the value
}

// Acted reports whether neutrino acts on the option.
func (o *Option) Acted() bool { return o.into != nil }

// Options returns every option neutrino knows: those acted on first, in the order of
// the sections, then the known ones. The result is the caller's.
func Options() []Option {
	return slices.Concat(defaultOptions(), ml2Options(), hostOptions(), authOptions(), ownOptions(), knownOptions())
}

// store puts a parsed value into the field of its type. It reports false for a pair
// that does not fit: a mistake in the table, which a test looks for.
func store(field, value any) bool {
	switch f := field.(type) {
	case *string:
		return put(f, value)
	case *bool:
		return put(f, value)
	case *int:
		return put(f, value)
	case *time.Duration:
		return put(f, value)
	case *[]string:
		return put(f, value)
	case *map[string][]string:
		return put(f, value)
	case *map[string]int:
		return put(f, value)
	}
	return false
}

func put[T any](field *T, value any) bool {
	v, ok := value.(T)
	if ok {
		*field = v
	}
	return ok
}
