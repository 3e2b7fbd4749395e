package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	placement "neutrino/internal/numa"
)

// numaCommand is `neutrino numa`.
func numaCommand(o *output) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use: "numa", Short: "Show NICs, their interrupts and guests, node by node", Args: noArgs, GroupID: "host",
		Long: "Show NICs, their interrupts and guests, node by node: what is near, and what has to go to the other socket.\n\n" +
			"Guests are QEMU's processes: where their virtual CPUs may run, where their memory is, and which functions\n" +
			"they hold. Nothing is changed.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			m, err := placement.Read(root)
			if err != nil {
				return err
			}
			if o.format.String() != "table" {
				var ids []string
				for _, n := range m.NICs {
					ids = append(ids, n.Slot)
				}
				return o.plain(cmd.OutOrStdout(), m, ids)
			}
			return numaTables(cmd, m)
		},
	}
	cmd.Flags().StringVar(&root, "root", "", "where sys and proc are")
	_ = cmd.Flags().MarkHidden("root")
	return cmd
}

func numaTables(cmd *cobra.Command, m placement.Map) error {
	out := cmd.OutOrStdout()
	var nodes, nics, guests [][]string
	for _, n := range m.Nodes {
		nodes = append(nodes, []string{strconv.Itoa(n.ID), n.CPUs, orDash(n.Isolated), fmt.Sprintf("%d MB", n.MemoryMB)})
	}
	for _, n := range m.NICs {
		kind := "PF"
		if n.PF != "" {
			kind = "VF of " + n.PF
		}
		nics = append(nics, []string{numa(n.Node), n.Name, n.Slot, kind, orDash(n.Driver), orDash(n.CPUs), strconv.Itoa(n.Near), strconv.Itoa(n.Far)})
	}
	for _, g := range m.Guests {
		var memory []string
		for _, id := range slices.Sorted(maps.Keys(g.Memory)) {
			memory = append(memory, fmt.Sprintf("%d: %d MB", id, g.Memory[id]))
		}
		guests = append(guests, []string{
			strings.Trim(fmt.Sprint(g.Nodes), "[]"), g.Name, strconv.Itoa(g.PID), strconv.Itoa(len(g.VCPUs)), orDash(g.CPUs),
			orDash(strings.Join(memory, ", ")), orDash(strings.Join(g.NICs, "\n")), orDash(strings.Join(g.Far, "\n")),
		})
	}
	if err := grid(out, []string{"NODE", "CPUS", "ISOLATED", "MEMORY"}, nodes); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := grid(out, []string{"NODE", "NIC", "PCI", "KIND", "DRIVER", "IRQ CPUS", "IRQS NEAR", "IRQS FAR"}, nics); err != nil {
		return err
	}
	if len(guests) > 0 {
		fmt.Fprintln(out)
		if err := grid(out, []string{"NODES", "GUEST", "PID", "VCPUS", "CPUS", "MEMORY", "FUNCTIONS", "FAR"}, guests); err != nil {
			return err
		}
	}
	for _, note := range m.Notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "note: %s\n", note)
	}
	return nil
}
