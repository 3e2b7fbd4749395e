package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"neutrino/internal/tune"
)

// tuning is `neutrino tune`.
type tuning struct {
	root string
	o    *output
}

// tuneCommand is `neutrino tune`.
func tuneCommand(o *output) *cobra.Command {
	t := &tuning{o: o}
	cmd := group("tune", "Tune this host or guest for its NICs, and put everything back",
		t.check(), t.apply(), t.affinity(), t.status(), t.undo(), t.rules(), t.keep())
	cmd.GroupID = "host"
	var lines []string
	for _, p := range tune.Profiles {
		lines = append(lines, fmt.Sprintf("  %-11s %s", p.Name, p.For))
	}
	cmd.Long = cmd.Short + ".\n\nProfiles:\n" + strings.Join(lines, "\n") + "\n\n" +
		"What is set is kept over reboots and link changes by neutrino-tune.service. No file of the system is\n" +
		"changed, and `neutrino tune undo` puts every value back to what it was."
	cmd.PersistentFlags().StringVar(&t.root, "root", "", "where sys, proc and var are")
	_ = cmd.PersistentFlags().MarkHidden("root")
	return cmd
}

// tuneError gives what internal/tune says its exit code.
func tuneError(err error) error {
	for _, k := range []struct{ is, kind error }{
		{tune.ErrNoNIC, errNotFound},
		{tune.ErrNotTuned, errNotFound},
		{tune.ErrContainer, errRefused},
		{tune.ErrNotUndone, errRefused},
		{tune.ErrBusy, errUnavailable},
		{os.ErrPermission, errRefused},
	} {
		if errors.Is(err, k.is) {
			return coded{k.kind, err.Error()}
		}
	}
	return err
}

// geteuid says who runs this; tests are somebody else.
var geteuid = os.Geteuid

// with opens the machine, and closes it after f. What changes something needs root
// there, unless it is a tree of files.
func (t *tuning) with(cmd *cobra.Command, changes bool, f func(*tune.Host) error) error {
	if changes && t.root == "" && geteuid() != 0 {
		return coded{errRefused, cmd.CommandPath() + " changes this machine: it has to be run by root (sudo)"}
	}
	h, err := tune.New(t.root)
	if err != nil {
		return err
	}
	return tuneError(errors.Join(f(h), h.Close()))
}

// profileFlag adds --profile; the default is what is applied already, else fallback.
func profileFlag(cmd *cobra.Command, to *string, help string) {
	cmd.Flags().StringVar(to, "profile", "", help)
	var names []string
	for _, p := range tune.Profiles {
		names = append(names, string(p.Name)+"\t"+p.For)
	}
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
}

func nicsFlag(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringSliceVar(to, "pf", nil, "`NIC`s to tune, by name or PCI slot; VFs go with their PF (default all)")
}

// profile reads --profile: what is asked for, what is applied already, or the fallback.
func profile(h *tune.Host, asked string, fallback tune.Profile) (tune.Profile, error) {
	if asked != "" {
		p, err := tune.ParseProfile(asked)
		if err != nil {
			return "", usagef("%s", err)
		}
		return p, nil
	}
	s, err := h.Status()
	switch {
	case errors.Is(err, tune.ErrNotTuned), err == nil && s.Profile == "":
		if fallback == "" {
			return "", usagef("--profile is missing: throughput, latency, forwarding or balanced")
		}
		return fallback, nil
	case err != nil:
		return "", err
	}
	return s.Profile, nil
}

func (t *tuning) check() *cobra.Command {
	var name string
	var all, strict bool
	w := tune.Want{}
	cmd := &cobra.Command{
		Use: "check", Short: "Compare this machine with a profile, value by value", Args: noArgs,
		Long: "Compare this machine with a profile, value by value. Nothing is changed.\n\n" +
			"With --strict the exit code is 1 where a value is not as the profile wants it.",
		Example: "  neutrino tune check --profile latency\n  neutrino tune check --pf eth6 -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, false, func(h *tune.Host) error {
				var err error
				if w.Profile, err = profile(h, name, tune.Balanced); err != nil {
					return err
				}
				d, err := h.Draft(w)
				if err != nil {
					return err
				}
				if err = t.findings(cmd, w.Profile, d.Findings, all); err != nil {
					return err
				}
				if n := len(d.Changes()); strict && n > 0 {
					return fmt.Errorf("%d values are not as profile %s wants them", n, w.Profile)
				}
				return nil
			})
		},
	}
	profileFlag(cmd, &name, "profile to compare with (default the one that is applied, else balanced)")
	nicsFlag(cmd, &w.NICs)
	cmd.Flags().BoolVar(&all, "all", false, "list also what is as wanted")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail where a value is not as wanted")
	cmd.Flags().BoolVar(&w.EvenManagement, "even-management", false, "although this host is reached over the NIC")
	return cmd
}

// findings prints findings; in a table, those that are as wanted only as a number.
func (t *tuning) findings(cmd *cobra.Command, p tune.Profile, all []tune.Finding, everything bool) error {
	out := cmd.OutOrStdout()
	if t.o.format.String() != "table" {
		var ids []string
		for _, f := range all {
			ids = append(ids, f.What)
		}
		return t.o.plain(out, object{"profile": p, "findings": all}, ids)
	}
	count := map[tune.Verdict]int{}
	var rows [][]string
	for _, f := range all {
		count[f.Verdict]++
	}
	for _, f := range gathered(all) {
		if f.Verdict != tune.OK || everything {
			rows = append(rows, []string{f.Rule, f.What, orDash(f.Now), f.Want, noteOf(f)})
		}
	}
	if len(rows) > 0 {
		if err := grid(out, []string{"RULE", "WHAT", "NOW", "WANTED", "NOTE"}, rows); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%s: %d values as wanted, %d to change, %d left alone for a reason\n", p, count[tune.OK], count[tune.Change], count[tune.Refused])
	return nil
}

func noteOf(f tune.Finding) string {
	switch {
	case f.Verdict == tune.Refused:
		return "left alone: " + f.Reason
	case f.Verdict == tune.OK:
		return "ok"
	case f.Cuts:
		return "its link goes away for a moment"
	}
	return ""
}

func (t *tuning) apply() *cobra.Command {
	var name string
	var dry, yes, once bool
	w := tune.Want{}
	cmd := &cobra.Command{
		Use: "apply", Short: "Tune this machine for a profile, now and after each boot", Args: noArgs,
		Long: "Tune this machine for a profile, now and after each boot. What will be set is printed first.\n\n" +
			"What each value was is written down before it is touched; `neutrino tune undo` puts it back, also after\n" +
			"a crash. Values that would break something are left alone, and the reason is said. Going from one profile\n" +
			"to another puts back what the new one does not ask for.",
		Example: "  neutrino tune apply --profile throughput --dry-run\n  neutrino tune apply --profile latency --pf eth6 --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w.Persist = !once
			return t.with(cmd, !dry, func(h *tune.Host) error {
				var err error
				if w.Profile, err = profile(h, name, ""); err != nil {
					return err
				}
				return t.carryOut(cmd, h, w, dry, yes)
			})
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	profileFlag(cmd, &name, "profile: throughput, latency, forwarding or balanced (default the one that is applied)")
	nicsFlag(cmd, &w.NICs)
	changeFlags(cmd, &dry, &yes, &once, &w)
	return cmd
}

func changeFlags(cmd *cobra.Command, dry, yes, once *bool, w *tune.Want) {
	f := cmd.Flags()
	f.BoolVar(dry, "dry-run", false, "print what would be set, and set nothing")
	f.BoolVarP(yes, "yes", "y", false, "do not ask")
	f.Bool("persist", true, "keep it over reboots and link changes")
	f.BoolVar(once, "no-persist", false, "neither after the next boot nor after link changes")
	f.BoolVar(&w.EvenManagement, "even-management", false, "cut the link for a moment although this host is reached over the NIC")
	cmd.MarkFlagsMutuallyExclusive("persist", "no-persist")
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if persist, err := cmd.Flags().GetBool("persist"); err == nil && !persist {
			*once = true
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// carryOut prints a draft, asks, does it, and has it kept.
func (t *tuning) carryOut(cmd *cobra.Command, h *tune.Host, w tune.Want, dry, yes bool) error {
	d, err := h.Draft(w)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if err = t.findings(cmd, w.Profile, d.Findings, false); err != nil {
		return err
	}
	words := out
	if t.o.format.String() != "table" {
		words = cmd.ErrOrStderr()
	}
	if d.Again() {
		fmt.Fprintln(words, "note: interrupts and queues are placed once more when the NIC has made them anew")
	}
	missing := h.KeeperMissing(cmd.Context())
	if w.Persist && missing != nil {
		fmt.Fprintf(words, "note: %s\n", missing)
	} else if w.Persist {
		fmt.Fprintf(words, "note: %s keeps it over reboots and link changes\n", tune.KeeperUnit)
	}
	if dry {
		return nil
	}
	if !yes && len(d.Changes()) > 0 {
		if err = ask(cmd, "Do it?"); err != nil {
			return err
		}
	}
	done, err := d.Apply(cmd.Context(), slow(cmd.ErrOrStderr(), len(d.Changes())))
	set := 0
	for _, x := range done {
		if x.Err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "left alone: %s\n", x.Err)
		} else {
			set++
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(words, "done: %d values set\n", set)
	if w.Persist && missing == nil {
		if err = h.EnableKeeper(cmd.Context()); err != nil {
			return fmt.Errorf("it is tuned, but not kept over reboots and link changes: %w", err)
		}
	}
	return nil
}

func (t *tuning) affinity() *cobra.Command {
	var node int
	var cpus string
	var dry, yes, once bool
	w := tune.Want{}
	cmd := &cobra.Command{
		Use: "affinity", Short: "Choose the CPUs for the interrupts of a NIC", Args: noArgs,
		Long: "Choose the CPUs for the interrupts of a NIC and its VFs: those of its own NUMA node, of another node, or a\n" +
			"list. One thread of each core gets an interrupt before the second of any. Nothing else is changed; a profile\n" +
			"that is applied, or will be, goes by the choice.",
		Example: "  neutrino tune affinity --pf eth6\n  neutrino tune affinity --pf eth6 --node 1\n  neutrino tune affinity --pf eth6 --cpus 0-3,8 --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			w.Persist = !once
			return t.with(cmd, !dry, func(h *tune.Host) error {
				if !cmd.Flags().Changed("node") {
					node = -1
				}
				var err error
				if w.Pins, err = h.Pins(w.NICs, node, cpus); err != nil {
					if errors.Is(err, tune.ErrBadCPUs) {
						return usagef("%s", err)
					}
					return err
				}
				return t.carryOut(cmd, h, w, dry, yes)
			})
		},
	}
	nicsFlag(cmd, &w.NICs)
	_ = cmd.MarkFlagRequired("pf")
	cmd.Flags().IntVar(&node, "node", -1, "NUMA `node` (default the NIC's own)")
	cmd.Flags().StringVar(&cpus, "cpus", "", "`list` of CPUs, such as 0-3,8")
	cmd.MarkFlagsMutuallyExclusive("node", "cpus")
	changeFlags(cmd, &dry, &yes, &once, &w)
	return cmd
}

// slow tells how far it is, where it takes longer than a moment.
func slow(w io.Writer, total int) func(tune.Done) {
	p := newProgress(w, total)
	return func(d tune.Done) { p.step(d.What) }
}
