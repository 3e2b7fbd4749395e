package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
	"neutrino/internal/bench/paths"
	"neutrino/internal/bench/wire"
)

// benchLabFlags are what `bench lab` is asked for.
type benchLabFlags struct {
	campaign          wire.Campaign
	effort            paths.Effort
	paths             []string
	tests, cpus, dir  string
	save, page, pf    string
	dryRun, onlyClean bool
	kinds             []paths.Kind
}

func benchLab(o *output) *cobra.Command {
	b := benchLabFlags{}
	cmd := &cobra.Command{
		Use: "lab", Short: "Compare the ways to a virtual machine, on this host, in one run",
		Long: "Compare the ways to a virtual machine, on this host, in one run: a direct wire, neutrino's software NIC, macvlan,\n" +
			"a Linux bridge, Open vSwitch and VXLAN, as ratios to the wire.\n\n" +
			"Each path is built in network namespaces of its own; nothing else of the host is touched. All paths are\n" +
			"measured in turn, --rounds times, in an order drawn by lot, with both ends on one CPU (or on two, with --cpu 2,3),\n" +
			"so that what else the machine does meets all alike and the path's own cost shows. Everything is taken away at\n" +
			"the end; after a kill -9 with --clean, or by the next run. What this host lacks is said and left out.\n\n" +
			"macvtap is measured as macvlan: on the host the two are the same, and a namespace takes the guest's place.",
		Example: "  neutrino bench lab --save lab.json --report lab.html\n  neutrino bench lab --paths veb,bridge,ovs-user --tests udp --rounds 20\n  neutrino bench lab --dry-run",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return b.run(cmd, o) },
	}
	c := &b.campaign
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&b.paths, "paths", nil, "paths beside the wire (default all)")
	f.StringVar(&b.pf, "vf", "", "also two VFs of this PF that nobody uses; they are given back")
	f.StringVar(&b.tests, "tests", "udp,tcp,stream", "what to measure: as for bench run")
	f.IntSliceVar(&c.Sizes, "size", nil, "bytes of a message, several with commas (default as for bench run)")
	f.IntVar(&c.Flows, "flows", 1, "how many flows beside each other")
	f.DurationVar(&c.Time, "time", 500*time.Millisecond, "how long one run of a test counts")
	f.DurationVar(&c.Warmup, "warmup", 100*time.Millisecond, "what does not count before it")
	f.IntVar(&c.Runs, "rounds", 8, "how often each path is visited; intervals of ratios take 6 or more")
	f.StringVar(&b.cpus, "cpu", "", "CPU of both ends, or one for each as in 2,3 (default the last one)")
	f.StringVar(&b.save, "save", "", "write the result to a file, for bench compare, check and report")
	f.StringVar(&b.page, "report", "", "write a page with plots")
	f.BoolVar(&b.dryRun, "dry-run", false, "say what would be made, and how long it takes")
	f.BoolVar(&b.onlyClean, "clean", false, "take away what a killed run left, and do nothing else")
	f.StringVar(&b.dir, "state-dir", paths.DefaultDir, "directory for pins and databases")
	_ = f.MarkHidden("state-dir")
	return cmd
}

func (b *benchLabFlags) check() (err error) {
	c := &b.campaign
	if c.Tests, err = wire.ParseTests(b.tests); err != nil {
		return usagef("--tests: %s", err)
	}
	if b.kinds, err = paths.Choose(b.paths); err != nil {
		return usagef("--paths: %s", err)
	}
	if b.pf != "" {
		b.kinds = slices.Insert(b.kinds, 1, paths.VFs(b.pf))
	}
	if c.Runs < 1 || c.Runs > 1000 {
		return usagef("--rounds is 1 to 1000")
	}
	b.effort.Specs, b.effort.Rounds = c.Specs(), c.Runs
	for _, s := range b.effort.Specs {
		if err = s.Check(wire.DefaultLimits); err != nil {
			return usagef("%s", err)
		}
	}
	if b.effort.CPUs, err = ownCPUs(b.cpus); err != nil {
		return err
	}
	if len(b.effort.CPUs) > 2 {
		return usagef("--cpu: one CPU, or one for each end")
	}
	if len(b.effort.CPUs) == 0 {
		b.effort.CPUs = paths.LastCPU()
	}
	return nil
}

func (b *benchLabFlags) run(cmd *cobra.Command, o *output) error {
	if err := b.check(); err != nil {
		return err
	}
	if b.dryRun {
		return b.plan(cmd.OutOrStdout())
	}
	if os.Geteuid() != 0 {
		return coded{errRefused, cmd.CommandPath() + " makes network namespaces: it has to be run by root (sudo); --dry-run says what it would make"}
	}
	if b.onlyClean {
		n, err := paths.Clean(cmd.Context(), b.dir)
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "%d namespaces removed\n", n)
		}
		return labError(err)
	}
	r, err := b.measure(cmd)
	if err != nil {
		return labError(err)
	}
	if b.save != "" {
		if err = r.Write(b.save); err != nil {
			return err
		}
	}
	if b.page != "" {
		if err = writePage(b.page, r.Title, []bench.Named{{Name: "lab", Result: r}}); err != nil {
			return err
		}
	}
	if o.format.String() != "table" {
		return o.plain(cmd.OutOrStdout(), r, nil)
	}
	return printPaths(cmd.OutOrStdout(), r)
}

func labError(err error) error {
	switch {
	case errors.Is(err, paths.ErrBusy):
		return coded{errUnavailable, err.Error()}
	case errors.Is(err, os.ErrPermission):
		return coded{errRefused, err.Error()}
	}
	return benchError(err)
}

func (b *benchLabFlags) plan(w io.Writer) error {
	s := &paths.Site{Prefix: paths.Prefix}
	for _, k := range b.kinds {
		fmt.Fprintln(w, s.Plan(k))
	}
	_, err := fmt.Fprintf(w, "Both ends on CPUs %s, %d rounds, about %s. All of it is taken away at the end.\n",
		b.effort.CPUs, b.effort.Rounds, b.effort.Took(len(b.kinds)).Round(time.Second))
	return err
}

// measure builds the paths, measures them and takes them away.
func (b *benchLabFlags) measure(cmd *cobra.Command) (r *bench.Result, err error) {
	ctx, w := cmd.Context(), cmd.ErrOrStderr()
	site, err := paths.Open(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, site.Close(clean))
	}()
	r = bench.New()
	r.Title, r.Started, r.Command, r.Local, r.Interleaved = "The ways to a virtual machine, on one host", time.Now(), os.Args, environment(""), true
	r.Local.Congestion = paths.Congestion()
	var built []paths.Path
	var missing []bench.Series
	for _, k := range b.kinds {
		fmt.Fprintf(w, "building %s\n", k.Title)
		p, failed := site.Build(ctx, k)
		switch {
		case ctx.Err() != nil:
			return nil, fmt.Errorf("build the paths: %w", ctx.Err())
		case failed != nil:
			fmt.Fprintf(w, "  left out: %s\n", failed)
			missing = append(missing, b.effort.Missing(p, failed)...)
		default:
			built = append(built, p)
		}
	}
	if len(built) == 0 || built[0].Key != b.kinds[0].Key {
		return nil, fmt.Errorf("the wire could not be built: %s", missing[0].Err)
	}
	began, took := time.Now(), b.effort.Took(len(built))
	r.Series, err = paths.Measure(ctx, built, b.effort, func(n, of int, what string) {
		left := max(took-time.Since(began), time.Second)
		fmt.Fprintf(w, "%d/%d %s; %s left\n", n, of, what, left.Round(time.Second))
	})
	r.Series = append(r.Series, missing...)
	return r, err
}

// printPaths shows a table per measurement, a row per path.
func printPaths(w io.Writer, r *bench.Result) error {
	var order []bench.Measurement
	by := map[bench.Measurement][]bench.Series{}
	for _, s := range r.Series {
		if by[s.Measurement] == nil {
			order = append(order, s.Measurement)
		}
		by[s.Measurement] = append(by[s.Measurement], s)
	}
	for i, m := range order {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: median over the rounds (lowest-highest)\n\n", m)
		if err := printMeasurement(w, by[m], r.Interleaved); err != nil {
			return err
		}
	}
	if noise := r.Noise(); noise != "" {
		fmt.Fprintf(w, "\nNoise: %s\n", noise)
	}
	return nil
}

func printMeasurement(w io.Writer, all []bench.Series, interleaved bool) error {
	heads := []string{"PATH"}
	var rows [][]string
	var failed []string
	for i, s := range all {
		switch {
		case s.Err != "" && len(s.Runs) > 0:
			failed = append(failed, fmt.Sprintf("%s failed after %d rounds: %s", s.Name(), len(s.Runs), s.Err))
		case s.Err != "":
			failed = append(failed, fmt.Sprintf("%s is left out: %s", s.Name(), s.Err))
		}
		if len(s.Runs) == 0 {
			continue
		}
		row := []string{s.Name()}
		for _, m := range s.Metrics() {
			if !m.Judged {
				continue
			}
			if i == 0 {
				heads = append(heads, m.Title, "x "+s.Path, "95 % WITHIN")
			}
			against := s.Against(all[0], m, interleaved)
			if i == 0 {
				against = nil
			}
			row = append(row, spread(bench.SpreadOf(s.Values(m)))+" "+m.Unit, ratio(against), within(against))
		}
		rows = append(rows, row)
	}
	if err := grid(w, heads, rows); err != nil {
		return err
	}
	for _, f := range failed {
		fmt.Fprintf(w, "%s\n", printable(f))
	}
	return nil
}
