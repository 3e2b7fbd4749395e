package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

var subnetPools = &resource{
	title: "subnet pool", singular: "subnetpool", collection: "subnetpools", named: []string{"name"},
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"PREFIXES", attribute("prefixes")},
		{"DEFAULT", attribute("is_default")},
		{"LENGTHS", func(x object) string {
			return fmt.Sprintf("%s (%s-%s)", text(x["default_prefixlen"]), text(x["min_prefixlen"]), text(x["max_prefixlen"]))
		}},
		{"SHARED", attribute("shared")},
	},
}

// subnetPoolCommand is `neutrino subnet pool`.
func subnetPoolCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(cmd *cobra.Command, f *form) {
			usage := "prefix to give subnets from; all of one IP version"
			if create {
				usage += " (required)"
			} else {
				f.text("name", "name", "new name")
			}
			f.texts("prefix", "prefixes", usage)
			f.number("default-length", "default_prefixlen", "length of a subnet that asks for none")
			f.number("min-length", "min_prefixlen", "shortest length a subnet may ask for")
			f.number("max-length", "max_prefixlen", "longest length a subnet may ask for")
			f.number("project-quota", "default_quota", "what a project may take: addresses of IPv4, /64 of IPv6")
			f.toggle("default", "no-default", "is_default", "the pool of its IP version for those who name none (administrators only)")
			if create {
				f.toggle("shared", "no-shared", "shared", "for all projects (administrators only)")
				_ = cmd.MarkFlagRequired("prefix")
			}
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.text("project", "project_id", "those of this project id")
		f.number("ip-version", "ip_version", "4 or 6")
		f.toggle("default", "no-default", "is_default", "those for who names none")
	}
	return group("pool", "Pools of prefixes that subnets are given from",
		listCommand(c, o, subnetPools, filters), showCommand(c, o, subnetPools),
		createCommand(c, o, subnetPools, fill(true)), setCommand(c, o, subnetPools, fill(false)), deleteCommand(c, subnetPools))
}

// poolFlags let a subnet take its prefix from a pool instead of naming it.
func poolFlags(f *form) {
	v := f.cmd.Flags().String("from-pool", "", "subnet pool that gives the prefix, by name or id")
	f.client.completeFlag(f.cmd, "from-pool", subnetPools)
	f.on("from-pool", func(ctx context.Context, body, _ object) error {
		pool, err := f.client.find(ctx, subnetPools, *v)
		if err != nil {
			return err
		}
		body["subnetpool_id"], body["ip_version"] = pool["id"], pool["ip_version"]
		return nil
	})
	f.number("prefix-length", "prefixlen", "length of the prefix that the pool is to give")
	f.cmd.MarkFlagsOneRequired("cidr", "from-pool")
	f.cmd.MarkFlagsMutuallyExclusive("cidr", "from-pool")
	f.cmd.MarkFlagsMutuallyExclusive("cidr", "prefix-length")
}
