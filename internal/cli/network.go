package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

var networks = &resource{
	title: "network", singular: "network", collection: "networks", named: []string{"name"},
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"STATUS", attribute("status")},
		{"SEGMENT", segments},
		{"MTU", attribute("mtu")},
		{"SUBNETS", func(x object) string { return count(x["subnets"]) }},
		{"SHARED", attribute("shared")},
		{"EXTERNAL", attribute("router:external")},
	},
}

// networkCommand is `neutrino network`.
func networkCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(_ *cobra.Command, f *form) {
			if create {
				f.text("type", "provider:network_type", "vlan, flat, local or vxlan (administrators only)")
				f.text("physical-network", "provider:physical_network", "physical network (administrators only)")
			} else {
				f.text("name", "name", "new name")
			}
			f.number("segment", "provider:segmentation_id", "VLAN id or VNI (administrators only)")
			f.number("mtu", "mtu", "MTU in bytes")
			f.toggle("up", "down", "admin_state_up", "administrative state up")
			f.toggle("shared", "no-shared", "shared", "for all projects")
			f.toggle("external", "internal", "router:external", "an external network")
			f.toggle("port-security", "no-port-security", "port_security_enabled", "its ports are checked for spoofing unless they say otherwise")
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.text("project", "project_id", "those of this project id")
		f.text("type", "provider:network_type", "those of this type")
		f.text("physical-network", "provider:physical_network", "those on this physical network")
		f.number("segment", "provider:segmentation_id", "those with this VLAN id or VNI")
		f.text("tag", "tags", "those with these tags (comma separated)")
	}
	cmd := group("network", "Layer-2 networks",
		listCommand(c, o, networks, filters), showCommand(c, o, networks),
		createCommand(c, o, networks, fill(true)), setCommand(c, o, networks, fill(false)), deleteCommand(c, networks))
	cmd.Aliases, cmd.GroupID = []string{"net"}, "resource"
	return cmd
}

// attribute is a column that shows one attribute.
func attribute(name string) func(object) string {
	return func(x object) string { return text(x[name]) }
}

// segments shows a network's segment as "vlan 105 on default".
func segments(x object) string {
	if many, ok := x["segments"].([]any); ok {
		var all []string
		for _, s := range many {
			if one, isObject := s.(object); isObject {
				all = append(all, segments(one))
			}
		}
		return strings.Join(all, "\n")
	}
	kind, ok := x["provider:network_type"].(string)
	if !ok || kind == "" {
		return "-"
	}
	if id, hasID := x["provider:segmentation_id"].(float64); hasID && id != 0 {
		kind += fmt.Sprintf(" %.0f", id)
	}
	if physical, hasPhysical := x["provider:physical_network"].(string); hasPhysical && physical != "" {
		kind += " on " + physical
	}
	return kind
}

func count(v any) string {
	all, _ := v.([]any)
	return fmt.Sprint(len(all))
}
