package cli

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/spf13/cobra"
)

var quotas = &resource{
	title: "quota of project", singular: "quota", collection: "quotas",
	columns: []column{
		{"PROJECT", attribute("project_id")},
		{"NETWORKS", attribute("network")},
		{"SUBNETS", attribute("subnet")},
		{"PORTS", attribute("port")},
		{"GROUPS", attribute("security_group")},
		{"RULES", attribute("security_group_rule")},
		{"POOLS", attribute("subnetpool")},
		{"ROUTERS", attribute("router")},
		{"FLOATING", attribute("floatingip")},
	},
}

// caller answers GET /v2.0/quotas/project: the project that asks.
var caller = &resource{title: "project", singular: "tenant", collection: "quotas"}

// quotaCommand is `neutrino quota`.
func quotaCommand(c *client, o *output) *cobra.Command {
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the quotas that were set (administrators only)", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := c.list(cmd.Context(), quotas, nil)
			if err != nil {
				return err
			}
			return o.list(cmd.OutOrStdout(), all, quotas.columns)
		},
	}
	reset := &cobra.Command{
		Use: "delete PROJECT...", Aliases: []string{"rm"}, Short: "Give projects the default quota again", Args: args(1, -1, "a project id"),
		RunE: func(cmd *cobra.Command, a []string) error {
			for _, project := range a {
				if _, err := c.send(cmd.Context(), http.MethodDelete, quotas, url.PathEscape(project), nil); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd := group("quota", "How many of each resource a project may have", list, quotaShowCommand(c, o), quotaSetCommand(c, o), reset)
	cmd.GroupID = "resource"
	return cmd
}

func quotaShowCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{Use: "show [PROJECT]", Short: "Show a project's quota; without a project id, one's own", Args: args(0, 1, "a project id")}
	defaults := cmd.Flags().Bool("defaults", false, "what a project has for which nothing was set")
	usage := cmd.Flags().Bool("usage", false, "with what is in use")
	cmd.MarkFlagsMutuallyExclusive("defaults", "usage")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		project, err := c.projectOf(cmd.Context(), a)
		if err != nil {
			return err
		}
		path := url.PathEscape(project)
		switch {
		case *defaults:
			path += "/default"
		case *usage:
			path += "/details"
		}
		x, err := c.send(cmd.Context(), http.MethodGet, quotas, path, nil)
		if err != nil {
			return err
		}
		if *usage && o.format.String() == "table" {
			return o.list(cmd.OutOrStdout(), usages(x), []column{
				{"RESOURCE", attribute("resource")}, {"LIMIT", attribute("limit")}, {"USED", attribute("used")}, {"RESERVED", attribute("reserved")},
			})
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}

// projectOf is the project that was named, else the caller's own.
func (c *client) projectOf(ctx context.Context, a []string) (string, error) {
	if len(a) == 1 {
		if a[0] == "" {
			return "", usagef("an empty project id")
		}
		return a[0], nil
	}
	x, err := c.send(ctx, http.MethodGet, caller, "project", nil)
	if err != nil {
		return "", err
	}
	if id, ok := x["project_id"].(string); ok && id != "" {
		return id, nil
	}
	return "", usagef("you ask for no project of your own: name one")
}

// usages makes rows of {"network": {"limit": 1, ...}, ...}.
func usages(x object) (rows []object) {
	for _, name := range slices.Sorted(maps.Keys(x)) {
		if d, ok := x[name].(object); ok {
			row := maps.Clone(d)
			row["resource"] = name
			rows = append(rows, row)
		}
	}
	return rows
}

func quotaSetCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "set PROJECT", Short: "Set a project's quota (administrators only); -1 = no limit", Args: args(1, 1, "a project id"),
	}
	f := newForm(c, cmd)
	f.number("network", "network", "networks")
	f.number("subnet", "subnet", "subnets")
	f.number("port", "port", "ports")
	f.number("security-group", "security_group", "security groups")
	f.number("security-rule", "security_group_rule", "security group rules")
	f.number("subnet-pool", "subnetpool", "subnet pools")
	f.number("router", "router", "routers")
	f.number("floating-ip", "floatingip", "floating IPs")
	f.toggle("check", "", "check_limit", "refuse limits below what is in use")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if _, only := body["check_limit"]; len(body) == 0 || only && len(body) == 1 {
			return usagef("nothing to change: no limit was given")
		}
		x, err := c.send(cmd.Context(), http.MethodPut, quotas, url.PathEscape(a[0]), body)
		if err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}
