package machine

import "strings"

// Kernel is the running kernel.
type Kernel struct {
	Release string // "6.1.0-28-amd64"
	Line    string // its command line
	Args    []Arg
}

// Arg is one word of the kernel's command line.
type Arg struct {
	Key   string
	Value string
	Set   bool // there was a "="
}

// String is the word.
func (a Arg) String() string {
	v := a.Value
	if strings.ContainsAny(v, " \t") {
		v = `"` + v + `"`
	}
	if a.Set {
		return a.Key + "=" + v
	}
	return a.Key
}

func (t Tree) kernel() Kernel {
	k := Kernel{}
	k.Release, _ = t.Text("proc/sys/kernel/osrelease")
	k.Line, _ = t.Text("proc/cmdline")
	k.Args = ParseCommandLine(k.Line)
	return k
}

// ParseCommandLine splits a kernel's command line as the kernel does (lib/cmdline.c,
// next_arg): at blanks outside of double quotes. What comes after "--" is for init.
func ParseCommandLine(line string) []Arg {
	var out []Arg
	for _, word := range splitQuoted(line) {
		if word == "--" {
			break
		}
		key, value, set := strings.Cut(word, "=")
		out = append(out, Arg{strings.Trim(key, `"`), strings.Trim(value, `"`), set})
	}
	return out
}

func splitQuoted(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}

// Arg is the value of a parameter, the last one where it is given more than once.
func (k Kernel) Arg(key string) (value string, ok bool) {
	for _, a := range k.Args {
		if sameKey(a.Key, key) {
			value, ok = a.Value, true
		}
	}
	return value, ok
}

// Has reports whether a parameter's list of words (intel_iommu=on,sm_on) has a word, in
// any of its occurrences.
func (k Kernel) Has(key, word string) bool {
	for _, a := range k.Args {
		if !sameKey(a.Key, key) {
			continue
		}
		for w := range strings.SplitSeq(a.Value, ",") {
			if w == word {
				return true
			}
		}
	}
	return false
}

// sameKey: the kernel takes - and _ in names of parameters for the same.
func sameKey(a, b string) bool {
	return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_")
}
