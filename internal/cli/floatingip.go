package cli

import (
	"context"
	"net/http"

	"github.com/spf13/cobra"
)

var floatingIPs = &resource{
	title: "floating IP", singular: "floatingip", collection: "floatingips", named: []string{"floating_ip_address"},
	columns: []column{
		{"ADDRESS", attribute("floating_ip_address")},
		{"ID", attribute("id")},
		{"STATUS", attribute("status")},
		{"FIXED", attribute("fixed_ip_address")},
		{"PORT", attribute("port_id")},
		{"ROUTER", attribute("router_id")},
		{"NETWORK", attribute("floating_network_id")},
	},
}

// floatingCommand is `neutrino floating`.
func floatingCommand(c *client, o *output) *cobra.Command {
	filters := func(_ *cobra.Command, f *form) {
		f.text("address", "floating_ip_address", "the one with this address")
		f.text("fixed-ip", "fixed_ip_address", "those that stand for this address")
		f.ref("network", "floating_network_id", networks, "those of this external network, by name or id")
		f.ref("port", "port_id", ports, "those of this port, by name or id")
		f.ref("router", "router_id", routers, "those behind this router, by name or id")
		f.text("status", "status", "ACTIVE or DOWN")
		f.text("project", "project_id", "those of this project id")
		f.text("tag", "tags", "those with these tags (comma separated)")
	}
	change := func(_ *cobra.Command, f *form) { associationFlags(f) }
	cmd := group("floating", "Addresses of external networks that stand for instances",
		group("ip", "Floating IPs",
			listCommand(c, o, floatingIPs, filters), showCommand(c, o, floatingIPs), floatingCreateCommand(c, o),
			setCommand(c, o, floatingIPs, change), floatingUnsetCommand(c, o), deleteCommand(c, floatingIPs)))
	cmd.GroupID = "resource"
	return cmd
}

func associationFlags(f *form) {
	f.ref("port", "port_id", ports, "port it is to stand for, by name or id")
	f.text("fixed-ip", "fixed_ip_address", "address of the port, where it has several")
}

func floatingCreateCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "create NETWORK", Short: "Take a floating IP of an external network", Args: args(1, 1, "an external network"),
		ValidArgsFunction: once(c.complete(networks)),
	}
	f := newForm(c, cmd)
	f.text("address", "floating_ip_address", "this address, not any (administrators only)")
	f.ref("subnet", "subnet_id", subnets, "an address of this subnet, by name or id")
	associationFlags(f)
	f.common()
	f.text("project", "project_id", "project id it is to belong to")
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if body["floating_network_id"], err = c.id(cmd.Context(), networks, a[0]); err != nil {
			return err
		}
		x, err := c.send(cmd.Context(), http.MethodPost, floatingIPs, "", body)
		if err != nil {
			return err
		}
		if x, err = f.tag(cmd.Context(), floatingIPs, x); err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}

// floatingUnsetCommand makes a floating IP stand for nothing.
func floatingUnsetCommand(c *client, o *output) *cobra.Command {
	cmd := &cobra.Command{
		Use: "unset FLOATING IP", Short: "Take what a floating IP stands for from it", Args: args(1, 1, "a floating IP"),
		ValidArgsFunction: once(c.complete(floatingIPs)),
	}
	f := newForm(c, cmd)
	cmd.Flags().Bool("port", false, "the port (required)")
	_ = cmd.MarkFlagRequired("port")
	f.on("port", func(_ context.Context, body, _ object) error {
		body["port_id"] = nil
		return nil
	})
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		id, err := c.id(cmd.Context(), floatingIPs, a[0])
		if err != nil {
			return err
		}
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		x, err := c.send(cmd.Context(), http.MethodPut, floatingIPs, id, body)
		if err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	return cmd
}
