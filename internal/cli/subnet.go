package cli

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
)

var subnets = &resource{
	title: "subnet", singular: "subnet", collection: "subnets", named: []string{"name"}, related: true,
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"NETWORK", attribute("network_id")},
		{"CIDR", attribute("cidr")},
		{"GATEWAY", attribute("gateway_ip")},
		{"DHCP", attribute("enable_dhcp")},
		{"POOLS", pools},
	},
}

// subnetCommand is `neutrino subnet`.
func subnetCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(cmd *cobra.Command, f *form) {
			if create {
				f.ref("network", "network_id", networks, "network, by name or id (required)")
				_ = cmd.MarkFlagRequired("network")
				cidrFlag(f)
				poolFlags(f)
				f.text("ipv6-mode", "ipv6_address_mode", "slaac, dhcpv6-stateful or dhcpv6-stateless")
				f.text("ipv6-ra", "ipv6_ra_mode", "slaac, dhcpv6-stateful or dhcpv6-stateless")
			} else {
				f.text("name", "name", "new name")
			}
			gatewayFlag(f)
			f.each("pool", "allocation_pools", "first-last address to allocate from", pair("-", "start", "end"))
			f.texts("dns", "dns_nameservers", "DNS server")
			f.each("route", "host_routes", "destination=nexthop given to instances", pair("=", "destination", "nexthop"))
			f.toggle("dhcp", "no-dhcp", "enable_dhcp", "serve DHCP")
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.ref("network", "network_id", networks, "those of this network, by name or id")
		f.text("project", "project_id", "those of this project id")
		f.text("cidr", "cidr", "those with this prefix")
		f.number("ip-version", "ip_version", "4 or 6")
	}
	cmd := group("subnet", "Blocks of addresses of networks",
		listCommand(c, o, subnets, filters), showCommand(c, o, subnets),
		createCommand(c, o, subnets, fill(true)), setCommand(c, o, subnets, fill(false)), deleteCommand(c, subnets),
		subnetPoolCommand(c, o))
	cmd.GroupID = "resource"
	return cmd
}

// cidrFlag gives the prefix and, from it, the IP version.
func cidrFlag(f *form) {
	v := f.cmd.Flags().String("cidr", "", "prefix, such as 10.0.0.0/24; this or --from-pool is required")
	f.on("cidr", func(_ context.Context, body, _ object) error {
		p, err := netip.ParsePrefix(*v)
		if err != nil {
			return usagef("--cidr %q is not a prefix such as 10.0.0.0/24", *v)
		}
		body["cidr"], body["ip_version"] = *v, 4
		if p.Addr().Is6() {
			body["ip_version"] = 6
		}
		return nil
	})
}

func gatewayFlag(f *form) {
	v := f.cmd.Flags().String("gateway", "", "gateway's address, or none")
	f.on("gateway", func(_ context.Context, body, _ object) error {
		body["gateway_ip"] = *v
		if *v == "none" {
			body["gateway_ip"] = nil
		}
		return nil
	})
}

// pair splits a value in two that become an object.
func pair(separator, first, second string) func(context.Context, string) (any, error) {
	return func(_ context.Context, v string) (any, error) {
		a, b, ok := strings.Cut(v, separator)
		if !ok || a == "" || b == "" {
			return nil, usagef("%q is not of the form %s%s%s", v, first, separator, second)
		}
		return object{first: strings.TrimSpace(a), second: strings.TrimSpace(b)}, nil
	}
}

func pools(x object) string {
	all, _ := x["allocation_pools"].([]any)
	var lines []string
	for _, p := range all {
		if pool, ok := p.(object); ok {
			lines = append(lines, fmt.Sprintf("%s-%s", text(pool["start"]), text(pool["end"])))
		}
	}
	if len(lines) == 0 {
		return "-"
	}
	return strings.Join(lines, "\n")
}
