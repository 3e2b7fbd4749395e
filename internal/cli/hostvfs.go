package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/hostapi"
	"neutrino/internal/hostprep"
	"neutrino/internal/pci"
)

// newSys makes the sysfs that `host` works on; tests have one that reacts.
var newSys = func(root string) *pci.Sys { return &pci.Sys{Root: root} }

// hostVFs is `neutrino host vfs`.
type hostVFs struct {
	root string
	l    *local
}

// hostCommand is `neutrino host`.
func hostCommand(o *output) *cobra.Command {
	h := &hostVFs{l: &local{}}
	vfs := group("vfs", "How many VFs each NIC of this host has, now and after the next boot",
		h.set(), h.show(o), h.apply())
	vfs.Long = vfs.Short + ".\n\nThese commands work on this host alone and need no controller. The agent, where it runs, is asked which\n" +
		"VFs it has given to ports."
	vfs.PersistentFlags().StringVar(&h.root, "root", "", "where sys, proc and etc are")
	_ = vfs.PersistentFlags().MarkHidden("root")
	h.l.flag(vfs)
	p := &hostPrepare{vfs: h, o: o}
	cmd := group("host", "Make this host ready for VFs", hostCheckCommand(o), p.prepare(), p.undo(), vfs)
	cmd.GroupID = "host"
	return cmd
}

func (h *hostVFs) host(wait time.Duration) hostprep.Host {
	return hostprep.Host{Sys: newSys(h.root), Agent: h.l.client(), Wait: wait}
}

// hostError gives what internal/hostprep says its exit code.
func hostError(err error) error {
	kind := error(nil)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hostprep.ErrHalfDone):
		return err
	case errors.Is(err, pci.ErrNoDevice), errors.Is(err, hostprep.ErrOtherCard):
		kind = errNotFound
	case errors.Is(err, hostprep.ErrInUse), errors.Is(err, hostprep.ErrManagement), errors.Is(err, hostprep.ErrTooMany),
		errors.Is(err, hostprep.ErrModuleOption), errors.Is(err, hostprep.ErrChanged), errors.Is(err, hostprep.ErrNoIOMMU),
		errors.Is(err, pci.ErrNotPF), errors.Is(err, errors.ErrUnsupported), errors.Is(err, os.ErrPermission):
		kind = errRefused
	default:
		return err
	}
	return coded{kind, err.Error()}
}

func (h *hostVFs) set() *cobra.Command {
	w := hostprep.Want{}
	var driver string
	var dry, yes, once, noProbe bool
	cmd := &cobra.Command{
		Use: "set PF N", Short: "Give a NIC N VFs, now and at each boot",
		Long: "Give a NIC N VFs, now and at each boot. What will be done is printed first.\n\n" +
			"VFs that are in use are never taken away: the command names who uses them. A change from one number\n" +
			"to another takes all VFs away and makes them anew. When a step fails, all are taken back.",
		Example: "  neutrino host vfs set ens1f0 8\n  neutrino host vfs set 0000:03:00.0 8 --driver vfio-pci --yes\n  neutrino host vfs set ens1f0 0 --dry-run",
		Args:    args(2, 2, "a PF and the number of its VFs"),
		RunE: func(cmd *cobra.Command, a []string) error {
			var err error
			w.PF, w.Autoprobe, w.Persist = a[0], !noProbe, !once
			if w.N, err = strconv.Atoi(a[1]); err != nil || w.N < 0 {
				return usagef("%q is not a number of VFs", a[1])
			}
			if w.Driver, err = hostprep.ParseDriver(driver); err != nil {
				return usagef("%s", err)
			}
			plan, err := hostprep.PlanVFs(cmd.Context(), h.host(0), w)
			if err != nil {
				return hostError(err)
			}
			return hostError(carryOut(cmd, plan, dry, yes))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&driver, "driver", "default", "driver of the VFs: vfio-pci, or default for their network driver")
	f.BoolVar(&dry, "dry-run", false, "print what would be done, and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.BoolVar(&once, "no-persist", false, "not at the next boot")
	f.BoolVar(&noProbe, "no-autoprobe", false, "leave VFs without a driver where none is asked for")
	f.BoolVar(&w.ManagementToo, "even-management", false, "although this host is reached over the NIC")
	_ = cmd.RegisterFlagCompletionFunc("driver", cobra.FixedCompletions([]string{pci.VFIODriver, "default"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
		return h.complete(given)
	}
	return cmd
}

// complete offers the PFs of this host.
func (h *hostVFs) complete(given []string) ([]string, cobra.ShellCompDirective) {
	var out []string
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := newSys(h.root).PFs()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	for _, p := range all {
		for _, d := range p.Netdevs {
			out = append(out, d.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// carryOut prints a plan, asks, and does it.
func carryOut(cmd *cobra.Command, plan hostprep.Plan, dry, yes bool) error {
	out := cmd.OutOrStdout()
	for _, f := range plan.Findings {
		fmt.Fprintf(out, "note: %s\n", f)
	}
	if len(plan.Steps) == 0 {
		fmt.Fprintf(out, "%s is so already: nothing to do\n", plan.Name)
		return nil
	}
	for i, s := range plan.Steps {
		fmt.Fprintf(out, "%d. %s\n", i+1, s.Describe)
	}
	if dry {
		return nil
	}
	if !yes {
		if err := ask(cmd, "Do it?"); err != nil {
			return err
		}
	}
	progress := cmd.ErrOrStderr()
	err := plan.Run(cmd.Context(), func(step string) {
		if strings.HasPrefix(step, "take back: ") {
			fmt.Fprintln(progress, step)
		}
	})
	if err == nil {
		fmt.Fprintln(out, "done")
	}
	return err
}

// ask wants a yes of who sits at the terminal.
func ask(cmd *cobra.Command, question string) error {
	in := cmd.InOrStdin()
	if w, ok := in.(io.Writer); !ok || !isTerminal(w) {
		return usagef("nobody is there to be asked: say --yes, or look at --dry-run")
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && answer == "" {
		return coded{errRefused, "not done"}
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return coded{errRefused, "not done"}
	}
	return nil
}

func (h *hostVFs) show(o *output) *cobra.Command {
	return &cobra.Command{
		Use: "show [PF]", Short: "Show the NICs with SR-IOV: VFs possible, now, at boot, and who uses them",
		Args: args(0, 1, "a PF"),
		ValidArgsFunction: func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			return h.complete(given)
		},
		RunE: func(cmd *cobra.Command, a []string) error {
			name := ""
			if len(a) > 0 {
				name = a[0]
			}
			rows, err := h.host(0).Show(cmd.Context(), name)
			if err != nil {
				return hostError(err)
			}
			var ids []string
			var cells [][]string
			for _, r := range rows {
				ids = append(ids, r.Slot)
				cells = append(cells, hostRow(r))
			}
			if o.format.String() != "table" {
				return o.plain(cmd.OutOrStdout(), rows, ids)
			}
			return grid(cmd.OutOrStdout(), []string{"PF", "PCI", "DRIVER", "NUMA", "TOTAL", "NOW", "AT BOOT", "IN USE BY"}, cells)
		},
	}
}

func hostRow(r hostprep.Row) []string {
	boot := "-"
	if r.AtBoot != nil {
		boot = strconv.Itoa(*r.AtBoot)
		if r.VFs != "" {
			boot += " " + r.VFs
		}
	}
	users := orDash(strings.Join(r.Users, "\n"))
	total, now := strconv.Itoa(r.Total), strconv.Itoa(r.Now)
	if r.Total == 0 && r.Note != "" { // a record without its card
		total, now, users = "-", "-", "not there: "+r.Note
	}
	return []string{orDash(r.PF), r.Slot, orDash(r.Driver), numa(r.NUMA), total, now, boot, users}
}

func (h *hostVFs) apply() *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "apply", Short: "Make the VFs that `set` has written down (neutrino-vfs.service does it at boot)", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("wait") {
				wait = 0 // the default, and more for many VFs
			}
			all, err := h.host(wait).Apply(cmd.Context())
			if err != nil && len(all) == 0 {
				return hostError(err)
			}
			out := cmd.OutOrStdout()
			for _, a := range all {
				for _, f := range a.Found {
					fmt.Fprintf(out, "%s: note: %s\n", a.Record.PF, f)
				}
				for _, d := range a.Done {
					fmt.Fprintf(out, "%s: %s\n", a.Record.PF, d)
				}
				if a.Err == nil {
					fmt.Fprintf(out, "%s: %d VFs\n", a.Record.PF, a.Record.Count)
				}
			}
			return worst(all)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for NICs and drivers that are not there yet")
	return cmd
}

// worst joins the errors of all, with the exit code of the worst: failed before refused
// before not found.
func worst(all []hostprep.Applied) error {
	var texts []string
	var kind error
	rank := func(e error) int {
		switch {
		case e == nil:
			return 0
		case errors.Is(e, errNotFound):
			return 1
		case errors.Is(e, errRefused):
			return 2
		}
		return 3
	}
	for _, a := range all {
		if a.Err == nil {
			continue
		}
		e := hostError(a.Err)
		texts = append(texts, e.Error())
		if kind == nil || rank(e) > rank(kind) {
			kind = e
		}
	}
	if kind == nil {
		return nil
	}
	return coded{kind, strings.Join(texts, "\n")}
}

var _ hostprep.Agent = (*hostapi.Client)(nil)
