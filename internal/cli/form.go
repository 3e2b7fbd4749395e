package cli

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// form is the flags of one command and what each puts into the request.
type form struct {
	client *client
	cmd    *cobra.Command
	steps  []step
	tags   *[]string
}

// step puts a flag's value into the body; now is the object as it is, nil at creation.
type step struct {
	flag  string
	apply func(ctx context.Context, body, now object) error
}

func newForm(c *client, cmd *cobra.Command) *form {
	cmd.Flags().SortFlags = false
	return &form{client: c, cmd: cmd}
}

// on runs apply when the flag was given.
func (f *form) on(flag string, apply func(ctx context.Context, body, now object) error) {
	f.steps = append(f.steps, step{flag, apply})
}

// text is a flag whose value is the attribute's.
func (f *form) text(flag, attribute, usage string) {
	v := f.cmd.Flags().String(flag, "", usage)
	f.on(flag, func(_ context.Context, body, _ object) error {
		body[attribute] = *v
		return nil
	})
}

// number is a flag with a whole number.
func (f *form) number(flag, attribute, usage string) {
	v := f.cmd.Flags().Int(flag, 0, usage)
	f.on(flag, func(_ context.Context, body, _ object) error {
		body[attribute] = *v
		return nil
	})
}

// toggle is a pair of flags without a value: the first makes the attribute true, the
// second false. Either may be "".
func (f *form) toggle(yes, no, attribute, usage string) {
	for _, side := range []struct {
		flag  string
		value bool
		usage string
	}{{yes, true, usage}, {no, false, "the opposite of --" + yes}} {
		if side.flag == "" {
			continue
		}
		if yes == "" {
			side.usage = usage
		}
		v := f.cmd.Flags().Bool(side.flag, false, side.usage)
		f.on(side.flag, func(_ context.Context, body, _ object) error {
			body[attribute] = *v == side.value
			return nil
		})
	}
	if yes != "" && no != "" {
		f.cmd.MarkFlagsMutuallyExclusive(yes, no)
	}
}

// texts is a repeatable flag; one value "none" empties the list.
func (f *form) texts(flag, attribute, usage string) {
	f.each(flag, attribute, usage, func(_ context.Context, v string) (any, error) { return v, nil })
}

// each is a repeatable flag whose values are converted; one value "none" empties the
// list.
func (f *form) each(flag, attribute, usage string, convert func(context.Context, string) (any, error)) {
	values := f.cmd.Flags().StringArray(flag, nil, usage+" (repeatable; none = empty)")
	f.on(flag, func(ctx context.Context, body, _ object) error {
		all := []any{}
		if !slices.Equal(*values, []string{"none"}) {
			for _, v := range *values {
				x, err := convert(ctx, v)
				if err != nil {
					return err
				}
				all = append(all, x)
			}
		}
		body[attribute] = all
		return nil
	})
}

// ref is a flag that names an object by name or id.
func (f *form) ref(flag, attribute string, r *resource, usage string) {
	v := f.cmd.Flags().String(flag, "", usage)
	f.client.completeFlag(f.cmd, flag, r)
	f.on(flag, func(ctx context.Context, body, _ object) error {
		id, err := f.client.id(ctx, r, *v)
		body[attribute] = id
		return err
	})
}

// common are the flags every resource that is created has.
func (f *form) common() {
	f.text("description", "description", "description")
	f.tags = f.cmd.Flags().StringArray("tag", nil, "tag, in place of those it has (repeatable; none = no tags)")
	attrs := f.cmd.Flags().StringArray("attr", nil, "attribute=JSON, for attributes that have no flag (repeatable)")
	f.on("attr", func(_ context.Context, body, _ object) error {
		for _, kv := range *attrs {
			k, v, ok := strings.Cut(kv, "=")
			if !ok || k == "" {
				return usagef("--attr %q is not of the form attribute=JSON", kv)
			}
			var value any
			if json.Unmarshal([]byte(v), &value) != nil {
				value = v // a word needs no quotes
			}
			body[k] = value
		}
		return nil
	})
}

// body runs the steps of the flags that were given.
func (f *form) body(ctx context.Context, now object) (object, error) {
	body := object{}
	for _, s := range f.steps {
		if f.cmd.Flags().Changed(s.flag) {
			if err := s.apply(ctx, body, now); err != nil {
				return nil, err
			}
		}
	}
	return body, nil
}

func (f *form) tagged() bool { return f.cmd.Flags().Changed("tag") }

// tag sets the tags that were asked for and returns the object as it is then.
func (f *form) tag(ctx context.Context, r *resource, x object) (object, error) {
	if !f.tagged() {
		return x, nil
	}
	tags := *f.tags
	if slices.Equal(tags, []string{"none"}) {
		tags = []string{}
	}
	if err := f.client.setTags(ctx, r, text(x["id"]), tags); err != nil {
		return nil, err
	}
	return f.client.find(ctx, r, text(x["id"]))
}
