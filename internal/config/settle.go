package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// parse finds an option's value, parses it into c and notes where it was set.
func (l *loader) parse(c *Config, o *Option) error {
	g, set := pick(l.found[o.Name])
	if !o.Acted() {
		if set {
			l.text(g, o)
			c.unacted = append(c.unacted, Setting{Name{g.section, g.option}, g.at, "", o.Reason})
		}
		return nil
	}
	text := o.Default
	if set {
		text = l.text(g, o)
	}
	fail := func(err error) error {
		e := &Error{Pos: g.at, Name: o.Name, Value: text, Reason: err.Error(), hidden: o.Secret}
		if set {
			e.Name = Name{g.section, g.option}
		}
		if o.Secret {
			e.Value = ""
		} else if strings.ContainsAny(text, "，：；、") {
			e.Reason += "; the value holds full-width punctuation"
		}
		return e
	}
	full, err := l.expand(text, o.Name, nil)
	if err != nil && !set {
		return nil // what the default refers to is wrong, and reported at its own place
	}
	if err != nil && o.Secret {
		return fail(errors.New("a $name in the value is no option; write $$ for a dollar"))
	}
	if err != nil {
		return fail(err)
	}
	value, err := o.parse(full)
	if err != nil {
		cut, ok := o.uncut(full)
		if !ok {
			return fail(err)
		}
		l.warn(g.assignment, "what follows the # is taken for a remark; oslo.config would take it for the value")
		full = cut
		if value, err = o.parse(cut); err != nil {
			return fail(err)
		}
	}
	if !store(o.into(c), value) {
		return fail(fmt.Errorf("a %s does not fit the field it is for", o.Kind))
	}
	if set {
		if o.Secret {
			full = ""
		}
		c.settings[o.Name] = Setting{o.Name, g.at, full, ""}
		if o.lacks != nil {
			if reason := o.lacks(c); reason != "" {
				c.unacted = append(c.unacted, Setting{Name{g.section, g.option}, g.at, full, reason})
			}
		}
	}
	return nil
}

// text is the value as it stands, without a trailing remark. A secret is taken whole,
// as oslo.config does: it may hold a # of its own.
func (l *loader) text(g given, o *Option) string {
	if o.Secret {
		return g.oslo()
	}
	value, remark := g.value()
	if remark != "" {
		l.warn(g.assignment, "the remark %s is left out; oslo.config would take it for a part of the value", shorten(remark))
	}
	return value
}

// uncut finds the value before a # that no blank sets off, where the whole is no
// value but the part before it is.
func (o *Option) uncut(text string) (string, bool) {
	at := strings.IndexAny(text, "#＃")
	if at <= 0 {
		return "", false
	}
	text = strings.TrimSpace(text[:at])
	_, err := o.parse(text)
	return text, err == nil
}

var reference = regexp.MustCompile(`\$(\$|[A-Za-z_][A-Za-z0-9_.]*|\{[A-Za-z_][A-Za-z0-9_.]*\})`)

// expand replaces $name, ${name} and $section.name by the values of those options;
// $$ and \$ stand for a dollar. A name without a section is looked for in the option's
// own section, then in [DEFAULT]. Path holds the options being expanded.
func (l *loader) expand(text string, in Name, path []Name) (string, error) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	path = append(path, in)
	text = strings.ReplaceAll(text, `\$`, "$$")
	var errs []error
	out := reference.ReplaceAllStringFunc(text, func(m string) string {
		if m == "$$" {
			return "$"
		}
		v, err := l.lookup(strings.Trim(m[1:], "{}"), in.Section, path)
		errs = append(errs, err)
		return v
	})
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	if len(out) > maxFile {
		return "", errors.New("the value grows without bound")
	}
	return out, nil
}

// lookup finds the value a reference stands for.
func (l *loader) lookup(ref, section string, path []Name) (string, error) {
	tries := []Name{{section, ref}, {def, ref}}
	if s, o, dotted := strings.Cut(ref, "."); dotted {
		tries = []Name{{s, o}, {strings.ToLower(s), o}}
	}
	for _, n := range tries {
		r, ok := l.names[n]
		if !ok {
			continue
		}
		o := r.option
		if slices.Contains(path, o.Name) {
			return "", fmt.Errorf("$%s refers back to itself", ref)
		}
		if e, ok := l.expanded[o.Name]; ok {
			return e.text, e.err
		}
		text := o.Default
		if g, set := pick(l.found[o.Name]); set {
			if text = g.oslo(); !o.Secret {
				text, _ = g.value()
			}
		}
		text, err := l.expand(text, o.Name, path)
		l.expanded[o.Name] = expansion{text, err}
		return text, err
	}
	return "", fmt.Errorf("$%s is no option; write $$ for a dollar", ref)
}

// expansion is what an option's value became; kept, so that options that refer to
// each other cost no more than their number.
type expansion struct {
	text string
	err  error
}
