package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

var routers = &resource{
	title: "router", singular: "router", collection: "routers", named: []string{"name"},
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"STATUS", attribute("status")},
		{"UP", attribute("admin_state_up")},
		{"GATEWAY", gatewayAddresses},
		{"SNAT", func(x object) string {
			info, ok := x["external_gateway_info"].(object)
			if !ok {
				return "-"
			}
			return text(info["enable_snat"])
		}},
		{"ROUTES", func(x object) string { return count(x["routes"]) }},
	},
}

// gatewayAddresses are a router's addresses on its external network.
func gatewayAddresses(x object) string {
	info, _ := x["external_gateway_info"].(object)
	return addresses(object{"fixed_ips": info["external_fixed_ips"]})
}

// routerCommand is `neutrino router`.
func routerCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(cmd *cobra.Command, f *form) {
			if create {
				f.texts("zone-hint", "availability_zone_hints", "zone whose agents may carry it")
			} else {
				f.text("name", "name", "new name")
				f.each("route", "routes", "destination=nexthop, in place of the extra routes it has", pair("=", "destination", "nexthop"))
			}
			gatewayFlags(f)
			f.toggle("up", "down", "admin_state_up", "administrative state up")
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.text("project", "project_id", "those of this project id")
		f.text("tag", "tags", "those with these tags (comma separated)")
	}
	cmd := group("router", "Routers between networks, and their ways out",
		listCommand(c, o, routers, filters), showCommand(c, o, routers),
		createCommand(c, o, routers, fill(true)), setCommand(c, o, routers, fill(false)), deleteCommand(c, routers),
		group("add", "Connect a router", interfaceCommand(c, o, "add", subnets), interfaceCommand(c, o, "add", ports)),
		group("remove", "Disconnect a router", interfaceCommand(c, o, "remove", subnets), interfaceCommand(c, o, "remove", ports)))
	cmd.GroupID = "resource"
	return cmd
}

// gatewayFlags give a router its way out. What no flag says of the gateway that it has stays.
func gatewayFlags(f *form) {
	edit := func(body, now object) (object, error) {
		info, ok := body["external_gateway_info"].(object)
		if ok {
			return info, nil
		}
		old, ok := now["external_gateway_info"].(object)
		if !ok {
			return nil, usagef("the router has no gateway; give it one with --external-gateway")
		}
		info = object{"network_id": old["network_id"]}
		if old["enable_snat"] == false {
			info["enable_snat"] = false
		}
		body["external_gateway_info"] = info
		return info, nil
	}
	network := f.cmd.Flags().String("external-gateway", "", "external network it leads to, by name or id, or none")
	f.client.completeFlag(f.cmd, "external-gateway", networks)
	f.on("external-gateway", func(ctx context.Context, body, _ object) error {
		if *network == "none" {
			body["external_gateway_info"] = object{}
			return nil
		}
		id, err := f.client.id(ctx, networks, *network)
		body["external_gateway_info"] = object{"network_id": id}
		return err
	})
	fixed := f.cmd.Flags().StringArray("fixed-ip", nil,
		"address on the external network, or subnet=NAME, or subnet=NAME,ip=ADDRESS (repeatable; administrators only)")
	f.on("fixed-ip", func(ctx context.Context, body, now object) error {
		info, err := edit(body, now)
		if err != nil {
			return err
		}
		all := []any{}
		for _, v := range *fixed {
			one, ferr := f.fixedIP(ctx, v)
			if ferr != nil {
				return ferr
			}
			all = append(all, one)
		}
		info["external_fixed_ips"] = all
		return nil
	})
	for _, side := range []struct {
		flag, usage string
		on          bool
	}{
		{"snat", "hide what is behind it behind its own address (administrators only)", true},
		{"no-snat", "the opposite of --snat", false},
	} {
		f.cmd.Flags().Bool(side.flag, false, side.usage)
		f.on(side.flag, func(_ context.Context, body, now object) error {
			info, err := edit(body, now)
			if err == nil {
				info["enable_snat"] = side.on
			}
			return err
		})
	}
	f.cmd.MarkFlagsMutuallyExclusive("snat", "no-snat")
}

// interfaceCommand is `neutrino router add subnet` and the like.
func interfaceCommand(c *client, o *output, verb string, what *resource) *cobra.Command {
	short := "Connect a router to a subnet, at the subnet's gateway address"
	switch {
	case verb == "add" && what == ports:
		short = "Connect a router through a port that nobody uses"
	case verb == "remove":
		short = "Disconnect a router from a " + what.title
	}
	return &cobra.Command{
		Use:   fmt.Sprintf("%s ROUTER %s", what.title, strings.ToUpper(what.title)),
		Short: short, Args: args(2, 2, "a router and a "+what.title),
		ValidArgsFunction: func(cmd *cobra.Command, given []string, prefix string) ([]string, cobra.ShellCompDirective) {
			switch len(given) {
			case 0:
				return c.complete(routers)(cmd, given, prefix)
			case 1:
				return c.complete(what)(cmd, given, prefix)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			router, err := c.id(cmd.Context(), routers, a[0])
			if err != nil {
				return err
			}
			id, err := c.id(cmd.Context(), what, a[1])
			if err != nil {
				return err
			}
			x, err := c.act(cmd.Context(), http.MethodPut, routers, router, verb+"_router_interface", object{what.singular + "_id": id})
			if err != nil {
				return err
			}
			return o.show(cmd.OutOrStdout(), x)
		},
	}
}
