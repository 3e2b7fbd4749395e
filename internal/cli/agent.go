package cli

import (
	"github.com/spf13/cobra"
)

var agents = &resource{
	title: "agent", singular: "agent", collection: "agents", named: []string{"host"},
	columns: []column{
		{"HOST", attribute("host")},
		{"TYPE", attribute("agent_type")},
		{"ID", attribute("id")},
		{"ALIVE", attribute("alive")},
		{"UP", attribute("admin_state_up")},
		{"ZONE", attribute("availability_zone")},
		{"LAST SEEN (UTC)", attribute("heartbeat_timestamp")},
	},
}

// agentCommand is `neutrino agent list` and the like; asDaemon makes it the daemon too.
func agentCommand(c *client, o *output) *cobra.Command {
	change := &cobra.Command{
		Use: "set AGENT", Short: "Change an agent", Args: args(1, 1, "an agent"),
		ValidArgsFunction: once(c.complete(agents)),
	}
	f := newForm(c, change)
	f.toggle("up", "down", "admin_state_up", "it may be given work")
	f.text("description", "description", "description")
	change.RunE = func(cmd *cobra.Command, a []string) error {
		body, err := f.body(cmd.Context(), nil)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			return usagef("nothing to change: no flag was given")
		}
		id, err := c.id(cmd.Context(), agents, a[0])
		if err != nil {
			return err
		}
		x, err := c.send(cmd.Context(), "PUT", agents, id, body)
		if err != nil {
			return err
		}
		return o.show(cmd.OutOrStdout(), x)
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("host", "host", "those on this host")
		f.text("type", "agent_type", "those of this type, such as \"NIC Switch agent\"")
		f.toggle("alive", "dead", "alive", "those that are alive")
	}
	cmd := group("agent", "The host agent; and agents as the API shows them",
		listCommand(c, o, agents, filters), showCommand(c, o, agents), change, deleteCommand(c, agents))
	return cmd
}
