package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/machine"
	"neutrino/internal/tune"
)

// gathered joins findings that say the same of several CPUs, interrupts or queues.
func gathered(all []tune.Finding) []tune.Finding {
	type same struct {
		rule, kind, now, want, reason string
		verdict                       tune.Verdict
	}
	at := map[same]int{}
	var out []tune.Finding
	numbers := map[int][]int{}
	for _, f := range all {
		prefix, n, rest, ok := numbered(f.What)
		k := same{f.Rule, prefix + " " + rest, f.Now, f.Want, f.Reason, f.Verdict}
		if i, has := at[k]; ok && has {
			numbers[i] = append(numbers[i], n)
			out[i].What = strings.TrimSpace(prefix + machine.NewCPUList(numbers[i]...).String() + " " + rest)
			continue
		}
		if ok {
			at[k] = len(out)
			numbers[len(out)] = []int{n}
		}
		out = append(out, f)
	}
	return out
}

// numbered splits "cpu12 scaling_governor" into its parts.
func numbered(what string) (prefix string, n int, rest string, ok bool) {
	s, isCPU := strings.CutPrefix(what, "cpu")
	digits, rest, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(digits)
	return "cpu", n, rest, isCPU && err == nil
}

// progress says how far something is, once it has taken a second.
type progress struct {
	w     io.Writer
	total int
	done  int
	said  time.Time
}

func newProgress(w io.Writer, total int) *progress {
	return &progress{w: w, total: total, said: time.Now()}
}

func (p *progress) step(what string) {
	p.done++
	if time.Since(p.said) >= time.Second {
		p.said = time.Now()
		fmt.Fprintf(p.w, "%d of %d: %s\n", p.done, max(p.total, p.done), what)
	}
}

func (t *tuning) undo() *cobra.Command {
	var yes, dry, force bool
	cmd := &cobra.Command{
		Use: "undo", Short: "Put every value back to what it was before the first apply", Args: noArgs,
		Long: "Put every value back to what it was before the first apply, and stop keeping it.\n\n" +
			"What somebody else has set since is left, and named (exit code 4); --force puts that back as well. Values\n" +
			"of an earlier boot, or of a queue or interrupt that the driver has made anew, have gone by themselves.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, !dry, func(h *tune.Host) error {
				s, err := h.Status()
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				var rows [][]string
				for _, v := range slices.Backward(s.Values) {
					if v.As != "gone" && v.Now != v.Before {
						rows = append(rows, []string{v.Rule, v.What, v.Now, v.Before})
					}
				}
				if len(rows) > 0 && t.o.format.String() == "table" {
					if err = grid(out, []string{"RULE", "WHAT", "NOW", "WAS"}, rows); err != nil {
						return err
					}
				}
				if dry {
					return nil
				}
				if !yes && len(rows) > 0 {
					if err = ask(cmd, "Put it back?"); err != nil {
						return err
					}
				}
				if err = h.DisableKeeper(cmd.Context()); err != nil {
					return err
				}
				return t.undone(cmd, h, force)
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would be put back, and do nothing")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "put back also what somebody else has set since")
	return cmd
}

func (t *tuning) undone(cmd *cobra.Command, h *tune.Host, force bool) error {
	all, err := h.Undo(cmd.Context(), force)
	if all == nil && err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if t.o.format.String() != "table" {
		var ids []string
		for _, u := range all {
			ids = append(ids, u.Target.String())
		}
		if perr := t.o.plain(out, all, ids); perr != nil {
			return perr
		}
		return err
	}
	count := map[tune.Fate]int{}
	for _, u := range all {
		count[u.Fate]++
		switch {
		case u.Fate == tune.Theirs:
			fmt.Fprintf(cmd.ErrOrStderr(), "left alone: %s is %s: somebody else has set it; it was %s (--force puts it back)\n", u.Target, u.Now, u.Before)
		case u.Err != nil:
			fmt.Fprintf(cmd.ErrOrStderr(), "not put back: %s\n", u.Err)
		}
	}
	fmt.Fprintf(out, "done: %d values put back", count[tune.Restored])
	for _, f := range slices.Sorted(maps.Keys(count)) {
		if text, ok := map[tune.Fate]string{tune.Was: "were so already", tune.Gone: "had gone"}[f]; ok {
			fmt.Fprintf(out, ", %d %s", count[f], text)
		}
	}
	fmt.Fprintln(out)
	return err
}

func (t *tuning) status() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what is tuned, for which profile, and what has drifted", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.with(cmd, false, func(h *tune.Host) error {
				s, err := h.Status()
				if err != nil {
					return err
				}
				keeping := h.Keeping()
				out := cmd.OutOrStdout()
				if t.o.format.String() != "table" {
					return t.o.plain(out, object{"tuned": s, "keeper": keeping}, []string{string(s.Profile)})
				}
				count := map[string]int{}
				var rows [][]string
				for _, v := range s.Values {
					count[v.As]++
					if all || v.As == "drifted" {
						rows = append(rows, []string{v.Rule, v.What, v.Before, v.Wrote[len(v.Wrote)-1], orDash(v.Now), v.As})
					}
				}
				about := [][]string{
					{"profile", orDash(string(s.Profile))},
					{"NICs", orAll(s.NICs)},
					{"since", s.Since.Format(time.RFC3339)},
					{"to be kept", text(s.Persist)},
					{"keeper", keeperText(keeping)},
					{"values", fmt.Sprintf("%d as set, %d drifted, %d gone", count["kept"], count["drifted"], count["gone"])},
				}
				for _, name := range slices.Sorted(maps.Keys(s.Pins)) {
					about = append(about, []string{"interrupts of " + name, "CPUs " + s.Pins[name]})
				}
				if err = grid(out, []string{"ATTRIBUTE", "VALUE"}, about); err != nil || len(rows) == 0 {
					return err
				}
				fmt.Fprintln(out)
				return grid(out, []string{"RULE", "WHAT", "WAS", "SET", "NOW", "STATE"}, rows)
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "list also what is as it was set")
	return cmd
}

func orAll(names []string) string {
	if len(names) == 0 {
		return "all"
	}
	return strings.Join(names, ", ")
}

func keeperText(k *tune.Keeping) string {
	if k == nil {
		return "does not run"
	}
	out := fmt.Sprintf("runs (pid %d), has put back %d values in %d looks", k.PID, k.Mended, k.Looks)
	if len(k.Contested) > 0 {
		out += "; left to somebody else: " + strings.Join(k.Contested, ", ")
	}
	return out
}

func (t *tuning) rules() *cobra.Command {
	return &cobra.Command{
		Use: "rules [RULE]", Short: "List what is tuned: which value in which profile, why, and from where", Args: args(0, 1, "a rule"),
		RunE: func(cmd *cobra.Command, a []string) error {
			all := tune.Rules()
			if len(a) > 0 {
				all = slices.DeleteFunc(all, func(r tune.Rule) bool { return r.Name != a[0] })
				if len(all) == 0 {
					return coded{errNotFound, fmt.Sprintf("no rule %q: neutrino tune rules lists them", a[0])}
				}
			}
			var ids []string
			var rows [][]string
			for _, r := range all {
				ids = append(ids, r.Name)
				row := []string{r.Name, r.Title}
				for _, p := range []tune.Profile{tune.Throughput, tune.Latency, tune.Forwarding, tune.Balanced} {
					row = append(row, orDash(r.Values[p]))
				}
				rows = append(rows, row)
			}
			out := cmd.OutOrStdout()
			if t.o.format.String() != "table" {
				return t.o.plain(out, all, ids)
			}
			if len(a) > 0 {
				return ruleText(out, all[0])
			}
			return grid(out, []string{"RULE", "WHAT", "THROUGHPUT", "LATENCY", "FORWARDING", "BALANCED"}, rows)
		},
	}
}

func ruleText(w io.Writer, r tune.Rule) error {
	rows := [][]string{{"rule", r.Name}, {"sets", r.Title}, {"why", r.Why}, {"source", r.Source}}
	for _, p := range tune.Profiles {
		rows = append(rows, []string{string(p.Name), orDash(r.Values[p.Name])})
		for _, d := range slices.Sorted(maps.Keys(r.Drivers)) {
			rows = append(rows, []string{string(p.Name) + ", " + d, orDash(r.Drivers[d][p.Name])})
		}
	}
	return grid(w, []string{"ATTRIBUTE", "VALUE"}, rows)
}
