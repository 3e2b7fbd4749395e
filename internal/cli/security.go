package cli

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

var groups = &resource{
	title: "security group", singular: "security_group", collection: "security-groups", named: []string{"name"},
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"RULES", func(x object) string { return count(x["security_group_rules"]) }},
		{"STATEFUL", attribute("stateful")},
		{"DESCRIPTION", attribute("description")},
	},
}

var rules = &resource{title: "security group rule", singular: "security_group_rule", collection: "security-group-rules"}

// securityCommand is `neutrino security`.
func securityCommand(c *client, o *output) *cobra.Command {
	cmd := group("security", "Security groups and their rules", securityGroupCommand(c, o), securityRuleCommand(c, o))
	cmd.Long = cmd.Short + ".\n\nThey are kept and shown as Neutron does, and enforced on ports of Open vSwitch bridges: such a port says port_filter\ntrue. Ports on VFs bypass them, as there."
	cmd.GroupID = "resource"
	return cmd
}

func securityGroupCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(_ *cobra.Command, f *form) {
			if !create {
				f.text("name", "name", "new name")
			}
			f.toggle("stateful", "stateless", "stateful", "answers to what was let through are let through")
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.text("project", "project_id", "those of this project id")
		f.text("tag", "tags", "those with these tags (comma separated)")
	}
	return group("group", "Sets of rules that ports refer to",
		listCommand(c, o, groups, filters), showCommand(c, o, groups),
		createCommand(c, o, groups, fill(true)), setCommand(c, o, groups, fill(false)), deleteCommand(c, groups))
}

func securityRuleCommand(c *client, o *output) *cobra.Command {
	return group("rule", "What a security group lets through",
		ruleListCommand(c, o), showCommand(c, o, rules), ruleCreateCommand(c, o), deleteCommand(c, rules))
}

// ruleListCommand is listCommand with groups by name.
func ruleListCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List security group rules", Args: noArgs}
	f := newForm(c, cmd)
	f.ref("group", "security_group_id", groups, "those of this security group, by name or id")
	directionFlags(f)
	f.text("protocol", "protocol", "those for this protocol")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		q := url.Values{}
		for k, v := range body {
			q.Set(k, text(v))
		}
		all, err := c.list(cmd.Context(), rules, q)
		if err != nil {
			return err
		}
		names := map[any]string{}
		if len(all) > 0 && o.format.String() == "table" {
			known, listErr := c.list(cmd.Context(), groups, url.Values{"fields": {"id", "name"}})
			if listErr != nil {
				return listErr
			}
			for _, g := range known {
				names[g["id"]] = text(g["name"])
			}
		}
		return o.list(cmd.OutOrStdout(), all, ruleColumns(names))
	}
	return cmd
}

func ruleColumns(names map[any]string) []column {
	named := func(id any) string {
		if name, ok := names[id]; ok && name != "-" {
			return name
		}
		return text(id)
	}
	return []column{
		{"ID", attribute("id")},
		{"GROUP", func(x object) string { return named(x["security_group_id"]) }},
		{"DIRECTION", attribute("direction")},
		{"IP", attribute("ethertype")},
		{"PROTOCOL", attribute("protocol")},
		{"PORTS", func(x object) string {
			first, last := text(x["port_range_min"]), text(x["port_range_max"])
			if first == last {
				return first
			}
			return first + "-" + last
		}},
		{"REMOTE", func(x object) string {
			for _, id := range []any{x["remote_group_id"], x["remote_address_group_id"]} {
				if id != nil {
					return named(id)
				}
			}
			return text(x["remote_ip_prefix"])
		}},
	}
}

// directionFlags are --ingress and --egress.
func directionFlags(f *form) {
	for _, way := range []struct{ flag, usage string }{{"ingress", "towards instances"}, {"egress", "from instances"}} {
		f.cmd.Flags().Bool(way.flag, false, way.usage)
		f.on(way.flag, func(_ context.Context, body, _ object) error {
			body["direction"] = way.flag
			return nil
		})
	}
	f.cmd.MarkFlagsMutuallyExclusive("ingress", "egress")
}

func ruleCreateCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create GROUP", Short: "Add a rule to a security group", Args: args(1, 1, "a security group"),
		ValidArgsFunction: once(c.complete(groups)),
	}
	f := newForm(c, cmd)
	directionFlags(f)
	cmd.MarkFlagsOneRequired("ingress", "egress")
	six := cmd.Flags().Bool("ipv6", false, "for IPv6 instead of IPv4")
	f.text("protocol", "protocol", "protocol by name or number, such as tcp, udp, icmp; unset: any")
	portsFlag(f)
	f.text("remote", "remote_ip_prefix", "prefix of the other side; unset: anywhere")
	f.ref("remote-group", "remote_group_id", groups, "security group of the other side, by name or id")
	cmd.MarkFlagsMutuallyExclusive("remote", "remote-group")
	f.text("description", "description", "description")
	f.text("project", "project_id", "project id it is to belong to")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if body["security_group_id"], err = c.id(cmd.Context(), groups, a[0]); err != nil {
			return err
		}
		body["ethertype"] = "IPv4"
		if remote, ok := body["remote_ip_prefix"].(string); *six || ok && strings.Contains(remote, ":") {
			body["ethertype"] = "IPv6"
		}
		x, err := c.send(cmd.Context(), http.MethodPost, rules, "", body)
		if err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}

// portsFlag takes one port or first-last; for ICMP these are its type and code.
func portsFlag(f *form) {
	v := f.cmd.Flags().String("port", "", "port or first-last; of ICMP, the type or type-code")
	f.on("port", func(_ context.Context, body, _ object) error {
		first, last, isRange := strings.Cut(*v, "-")
		lo, err := strconv.ParseUint(first, 10, 16)
		hi := lo
		if err == nil && isRange {
			hi, err = strconv.ParseUint(last, 10, 16)
		}
		if err != nil {
			return usagef("--port %q is neither a port nor of the form first-last", *v)
		}
		body["port_range_min"] = lo
		protocol, _ := f.cmd.Flags().GetString("protocol")
		if isRange || !slices.Contains([]string{"icmp", "icmpv6", "ipv6-icmp", "1", "58"}, protocol) {
			body["port_range_max"] = hi
		}
		return nil
	})
}
