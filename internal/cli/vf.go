package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"neutrino/internal/hostapi"
)

func vfList(l *local, o *output) *cobra.Command {
	var pf string
	var counters bool
	cmd := &cobra.Command{
		Use: "list", Short: "List every VF: whose it is, what it carries", Args: noArgs,
		Long: "List every VF of the NICs that the agent has: whose it is, what it carries.\n\n" +
			"FLAGS: spoof = source addresses are checked, trust = trusted, up/down = link forced, auto = follows the uplink;\n" +
			"a ? is an attribute that the driver does not have.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			vfs, err := l.client().VFs(cmd.Context(), counters)
			if err != nil {
				return localError(err)
			}
			var slots []string
			var rows [][]string
			kept := []hostapi.VF{}
			for _, v := range vfs {
				if pf != "" && v.PF != pf {
					continue
				}
				kept = append(kept, v)
				slots = append(slots, v.PCISlot)
				rows = append(rows, vfRow(v, counters))
			}
			if o.format.String() != "table" {
				return o.plain(cmd.OutOrStdout(), kept, slots)
			}
			titles := []string{"PF", "VF", "PCI", "NUMA", "DRIVER", "NETDEV", "PORT", "STATE", "PLUGGED INTO", "MAC", "VLAN", "FLAGS", "RATE"}
			if counters {
				titles = append(titles, "RX PACKETS", "TX PACKETS", "DROPPED", "SPOOFED")
			}
			return grid(cmd.OutOrStdout(), titles, rows)
		},
	}
	cmd.Flags().StringVar(&pf, "pf", "", "those of this physical function")
	cmd.Flags().BoolVar(&counters, "counters", false, "with packet counters, for which the NIC is asked")
	return cmd
}

func vfRow(v hostapi.VF, counters bool) []string {
	row := []string{
		v.PF, strconv.Itoa(v.Index), v.PCISlot, numa(v.NUMANode), orDash(v.Driver), orDash(v.Netdev), orDash(v.PortID),
		vfState(v), orDash(v.Plugged), known(v.MAC), known(v.VLAN), vfFlags(v), rate(v),
	}
	if !counters {
		return row
	}
	if v.Counters == nil {
		return append(row, "-", "-", "-", "-")
	}
	c := v.Counters
	for _, n := range []uint64{c.RxPackets, c.TxPackets, c.RxDropped + c.TxDropped, c.TxSpoofed} {
		row = append(row, strconv.FormatUint(n, 10))
	}
	return row
}

func numa(node int) string {
	if node < 0 {
		return "-"
	}
	return strconv.Itoa(node)
}

// vfState is one word; what it leaves out `-o json` tells.
func vfState(v hostapi.VF) string {
	switch {
	case v.Hangs != "":
		return "half done"
	case v.PortID == "":
		return "free"
	case v.Up:
		return "as asked"
	default:
		return "not as asked"
	}
}

func vfFlags(v hostapi.VF) string {
	var out []string
	flag := func(name string, b *bool) {
		switch {
		case b == nil:
			out = append(out, name+"?")
		case *b:
			out = append(out, name)
		}
	}
	flag("spoof", v.SpoofCheck)
	flag("trust", v.Trust)
	switch {
	case v.LinkState == nil:
		out = append(out, "link?")
	case *v.LinkState == "enable":
		out = append(out, "up")
	case *v.LinkState == "disable":
		out = append(out, "down")
	default:
		out = append(out, "auto")
	}
	return strings.Join(out, ",")
}

func rate(v hostapi.VF) string {
	lo, hi := known(v.MinTxRate), known(v.MaxTxRate)
	if lo == "0" && hi == "0" {
		return "-"
	}
	return fmt.Sprintf("%s..%s", lo, hi)
}

// known prints a three-valued attribute.
func known[T any](v *T) string {
	if v == nil {
		return "?"
	}
	return fmt.Sprint(*v)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
