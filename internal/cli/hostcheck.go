package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"neutrino/internal/hostcheck"
)

// errWarned: it works, and something is not as it should be.
var errWarned = errors.New("warnings")

// hostCheck is `neutrino host check`.
type hostCheck struct {
	root   string
	pfs    []string
	strict bool
	l      *local
}

func hostCheckCommand(o *output) *cobra.Command {
	h := &hostCheck{l: &local{}}
	cmd := &cobra.Command{
		Use: "check", Short: "Say whether this host is fit for VFs, and what to do where it is not",
		Long: "Say whether this host is fit for VFs: CPU, IOMMU, kernel, BIOS, the NIC's firmware, driver, PCI Express,\n" +
			"VFs, services that get in the way. Each finding comes with its evidence; those that are not ok say why it\n" +
			"matters and what mends it. Nothing is changed, and no controller is needed.\n\n" +
			"Without root some things cannot be seen; they are \"unknown\".\n\n" +
			"Exit codes: 0 nothing wrong was found, 7 warnings, 1 something fails; with --strict also warnings and\n" +
			"unknowns give 1.",
		Example: "  neutrino host check\n  neutrino host check --pf ens1f0 --pf ens1f1\n  neutrino host check -o json | jq '.findings[] | select(.status != \"ok\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := hostcheck.Look(cmd.Context(), hostcheck.Options{
				Root: h.root, PFs: h.pfs, Agent: h.l.client(),
				Progress: func(what string) {
					if w := cmd.ErrOrStderr(); isTerminal(w) {
						fmt.Fprintf(w, "%s ...\n", what)
					}
				},
			})
			if err != nil {
				return hostError(err)
			}
			r := hostcheck.Judge(f)
			if err = printReport(cmd.OutOrStdout(), o, r); err != nil {
				return err
			}
			return fitness("host", r, h.strict)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&h.pfs, "pf", nil, "only this NIC, by network device or PCI address, and it is to have VFs (may be repeated; default all)")
	f.BoolVar(&h.strict, "strict", false, "warnings and unknowns are failures too")
	f.StringVar(&h.root, "root", "", "where sys, proc and etc are")
	_ = f.MarkHidden("root")
	h.l.flag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("pf", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return (&hostVFs{root: h.root}).complete(nil)
	})
	return cmd
}

// printReport shows a report: a table, then what is to be done, the worst first.
func printReport(w io.Writer, o *output, r hostcheck.Report) error {
	var cells [][]string
	var ids []string
	var bad []hostcheck.Finding
	for _, f := range r.Findings {
		cells = append(cells, []string{string(f.Status), f.Subject, f.Check, f.Evidence})
		if f.Status != hostcheck.OK {
			bad = append(bad, f)
			ids = append(ids, f.Subject+"/"+f.Check)
		}
	}
	if o.format.String() != "table" {
		return o.plain(w, r, ids)
	}
	if err := grid(w, []string{"STATUS", "ON", "CHECK", "EVIDENCE"}, cells); err != nil {
		return err
	}
	slices.SortStableFunc(bad, func(a, b hostcheck.Finding) int {
		switch {
		case a.Status.Worse(b.Status):
			return -1
		case b.Status.Worse(a.Status):
			return 1
		}
		return 0
	})
	for _, f := range bad {
		fmt.Fprintf(w, "\n%s: %s: %s: %s\n  why:  %s\n", f.Status, f.Subject, f.Check, printable(f.Evidence), f.Why)
		if f.Mend != "" {
			fmt.Fprintf(w, "  mend: %s\n", printable(f.Mend))
		}
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary())
	return err
}

// fitness is the report as an exit code.
func fitness(of string, r hostcheck.Report, strict bool) error {
	switch {
	case r.Worst == hostcheck.Fail, strict && r.Worst != hostcheck.OK:
		return fmt.Errorf("this %s is not fit: %s", of, r.Summary())
	case r.Worst == hostcheck.Warn:
		return coded{errWarned, "this " + of + " has flaws: " + r.Summary()}
	}
	return nil
}
