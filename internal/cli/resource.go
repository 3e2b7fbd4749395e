package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// resource declares one kind of object of the API.
type resource struct {
	title      string   // "network"
	singular   string   // in bodies
	collection string   // in paths and lists
	columns    []column // of the list
	named      []string // attributes an argument may name it by, besides id
	related    bool     // names of networks are wanted in the list
}

// find returns the object that ref names: by id, else by one of its names. A name
// that several have is refused.
func (c *client) find(ctx context.Context, r *resource, ref string) (object, error) {
	if ref == "" {
		return nil, usagef("an empty name does not name a %s", r.title)
	}
	tries := append(slices.Clone(r.named), "id")
	if isID(ref) {
		tries = append([]string{"id"}, r.named...)
	}
	for _, attribute := range tries {
		all, err := c.list(ctx, r, url.Values{attribute: {ref}})
		if err != nil {
			return nil, err
		}
		switch {
		case len(all) == 1:
			return all[0], nil
		case len(all) > 1:
			var ids []string
			for _, x := range all {
				ids = append(ids, text(x["id"]))
			}
			return nil, coded{errRefused, fmt.Sprintf("%d %ss have the %s %q; use an id: %s", len(all), r.title, attribute, ref,
				strings.Join(ids, ", "))}
		}
	}
	return nil, coded{errNotFound, fmt.Sprintf("there is no %s %q", r.title, ref)}
}

// id is find for those who only need the id.
func (c *client) id(ctx context.Context, r *resource, ref string) (string, error) {
	x, err := c.find(ctx, r, ref)
	if err != nil {
		return "", err
	}
	return text(x["id"]), nil
}

// isID reports whether s has the form of a UUID.
func isID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, ch := range s {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if ch != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", ch) {
			return false
		}
	}
	return true
}

// complete offers names for arguments and flags; it is quick or it offers nothing.
func (c *client) complete(r *resource) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		all, err := c.list(ctx, r, url.Values{"fields": append([]string{"id"}, r.named...)})
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, x := range all {
			id := text(x["id"])
			name, about := id, ""
			for _, attribute := range r.named {
				if n, ok := x[attribute].(string); ok && n != "" && unique(all, attribute, n) {
					name, about = n, id
				}
			}
			if strings.HasPrefix(name, prefix) && !slices.Contains(given, name) {
				names = append(names, cobra.CompletionWithDesc(name, about))
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func unique(all []object, attribute, value string) bool {
	n := 0
	for _, x := range all {
		if x[attribute] == value {
			n++
		}
	}
	return n == 1
}

// completeFlag makes a flag complete the names of a resource.
func (c *client) completeFlag(cmd *cobra.Command, flag string, r *resource) {
	_ = cmd.RegisterFlagCompletionFunc(flag, c.complete(r))
}

// listCommand lists with the filters of extra, which may add flags of its own.
func listCommand(c *client, o *output, r *resource, extra func(*cobra.Command, *form)) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List " + r.title + "s", Args: noArgs}
	f := newForm(c, cmd)
	if extra != nil {
		extra(cmd, f)
	}
	filters := cmd.Flags().StringArray("filter", nil, "attribute=value, any attribute of the API (repeatable)")
	order := cmd.Flags().StringArray("sort", nil, "attribute to sort by, -attribute for the other way round (repeatable)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		q := url.Values{}
		for k, v := range body {
			q.Add(k, fmt.Sprint(v))
		}
		for _, kv := range *filters {
			k, v, ok := strings.Cut(kv, "=")
			if !ok || k == "" {
				return usagef("--filter %q is not of the form attribute=value", kv)
			}
			q.Add(k, v)
		}
		for _, key := range *order {
			direction := "asc"
			if name, reverse := strings.CutPrefix(key, "-"); reverse {
				key, direction = name, "desc"
			}
			q.Add("sort_key", key)
			q.Add("sort_dir", direction)
		}
		all, err := c.list(cmd.Context(), r, q)
		if err != nil {
			return err
		}
		columns := r.columns
		if r.related && o.format.String() == "table" {
			if columns, err = c.withNetworks(cmd.Context(), columns, all); err != nil {
				return err
			}
		}
		return o.list(cmd.OutOrStdout(), all, columns)
	}
	return cmd
}

// withNetworks makes the NETWORK column show names where it can.
func (c *client) withNetworks(ctx context.Context, columns []column, all []object) ([]column, error) {
	if len(all) == 0 {
		return columns, nil
	}
	networks, err := c.list(ctx, networks, url.Values{"fields": {"id", "name"}})
	if err != nil {
		return nil, err
	}
	names := map[any]string{}
	for _, n := range networks {
		if name, ok := n["name"].(string); ok && name != "" {
			names[n["id"]] = name
		}
	}
	columns = slices.Clone(columns)
	for i := range columns {
		if columns[i].title == "NETWORK" {
			columns[i].value = func(x object) string {
				if name, ok := names[x["network_id"]]; ok {
					return name
				}
				return text(x["network_id"])
			}
		}
	}
	return columns, nil
}

func showCommand(c *client, o *output, r *resource) *cobra.Command {
	return &cobra.Command{
		Use: "show " + strings.ToUpper(r.title), Short: "Show one " + r.title, Args: args(1, 1, r.title),
		ValidArgsFunction: once(c.complete(r)),
		RunE: func(cmd *cobra.Command, a []string) error {
			x, err := c.find(cmd.Context(), r, a[0])
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), x)
		},
	}
}

func deleteCommand(c *client, r *resource) *cobra.Command {
	return &cobra.Command{
		Use: "delete " + strings.ToUpper(r.title) + "...", Aliases: []string{"rm"}, Short: "Delete " + r.title + "s",
		Long: "Delete " + r.title + "s. All that can be deleted are; what could not is reported.",
		Args: args(1, -1, r.title), ValidArgsFunction: c.complete(r),
		RunE: func(cmd *cobra.Command, a []string) error {
			var errs []error
			for _, ref := range a {
				id, err := c.id(cmd.Context(), r, ref)
				if err == nil {
					_, err = c.send(cmd.Context(), http.MethodDelete, r, id, nil)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
}

// createCommand sends what the form holds, with the argument as the name.
func createCommand(c *client, o *output, r *resource, fill func(*cobra.Command, *form)) *cobra.Command {
	cmd := &cobra.Command{Use: "create NAME", Short: "Create a " + r.title, Args: args(0, 1, "a name")}
	f := newForm(c, cmd)
	fill(cmd, f)
	f.common()
	f.text("project", "project_id", "project id it is to belong to")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if len(a) == 1 {
			body["name"] = a[0]
		}
		x, err := c.send(cmd.Context(), http.MethodPost, r, "", body)
		if err != nil {
			return err
		}
		if x, err = f.tag(cmd.Context(), r, x); err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}

// setCommand changes what flags were given for.
func setCommand(c *client, o *output, r *resource, fill func(*cobra.Command, *form)) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set " + strings.ToUpper(r.title), Short: "Change a " + r.title, Args: args(1, 1, r.title),
		ValidArgsFunction: once(c.complete(r)),
	}
	f := newForm(c, cmd)
	fill(cmd, f)
	f.common()
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		x, err := c.find(cmd.Context(), r, a[0])
		if err != nil {
			return err
		}
		body, err := f.body(cmd.Context(), x)
		if err != nil {
			return err
		}
		if len(body) == 0 && !f.tagged() {
			return usagef("nothing to change: no flag was given")
		}
		if len(body) > 0 {
			if x, err = c.send(cmd.Context(), http.MethodPut, r, text(x["id"]), body); err != nil {
				return err
			}
		}
		if x, err = f.tag(cmd.Context(), r, x); err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}

// once completes the first argument only.
func once(f cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(given) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(cmd, given, prefix)
	}
}
