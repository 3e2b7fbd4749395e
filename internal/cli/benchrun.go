package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
	"neutrino/internal/bench/wire"
)

// benchRunFlags are what `bench run` is asked for.
type benchRunFlags struct {
	campaign    wire.Campaign
	tests, cpus string
	numa, save  string
	page        string
}

func benchRun(o *output) *cobra.Command {
	b := benchRunFlags{}
	cmd := &cobra.Command{
		Use: "run PEER", Short: "Measure the path to a host where `bench serve` runs",
		Long: "Measure the path to a host where `bench serve` runs; ICMP alone needs nobody there.\n\n" +
			"icmp, udp and tcp are round trips: one message at a time, or with --rate as many per second as asked for,\n" +
			"whether or not answers come. Those count from when each message was to be sent, so that a peer which stalls\n" +
			"is not measured by the messages it let wait alone. stream, udpstream and pps are throughput.\n\n" +
			"All tests take turns, --runs times. What is shown is the median over the runs, and the lowest and highest.",
		Example: "  neutrino bench run 10.0.0.2\n  neutrino bench run 10.0.0.2 --tests udp,tcp --size 64,1400 --numa auto --save wire.json\n" +
			"  neutrino bench run 10.0.0.2 --tests udp --rate 10000 --time 60s --runs 3\n  neutrino bench run 10.0.0.2 --tests stream --flows 4 --both",
		Args: args(1, 1, "the peer"),
		RunE: func(cmd *cobra.Command, a []string) error { return b.run(cmd, o, a[0]) },
	}
	c := &b.campaign
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&b.tests, "tests", "icmp,udp,tcp,stream,udpstream,pps", "what to measure")
	f.IntSliceVar(&c.Sizes, "size", nil, "bytes of a message, several with commas (default 64; stream 131072, udpstream 1452)")
	f.IntVar(&c.Flows, "flows", 1, "how many flows beside each other")
	f.DurationVar(&c.Time, "time", 10*time.Second, "how long one run of a test counts")
	f.DurationVar(&c.Warmup, "warmup", 500*time.Millisecond, "what does not count before it")
	f.IntVar(&c.Runs, "runs", 5, "how often each test is run")
	f.Float64Var(&c.Rate, "rate", 0, "open loop: messages a second and flow (0 = each when the one before is done)")
	f.StringVar(&b.cpus, "cpu", "", "CPUs that measure, as in 2 or 4-7; flow by flow (default any)")
	f.StringVar(&b.numa, "numa", "", "auto: both ends measure on CPUs of their NIC's NUMA node")
	f.BoolVar(&c.Reverse, "reverse", false, "throughput: the server sends")
	f.BoolVar(&c.BothWays, "both", false, "throughput: one direction after the other")
	f.StringVar(&b.save, "save", "", "write the result to a file, for bench compare, check and report")
	f.StringVar(&b.page, "report", "", "write a page with plots")
	return cmd
}

// check refuses what cannot be measured before anything begins.
func (b *benchRunFlags) check() (err error) {
	c := &b.campaign
	if c.Tests, err = wire.ParseTests(b.tests); err != nil {
		return usagef("--tests: %s", err)
	}
	if c.Runs < 1 || c.Runs > 1000 {
		return usagef("--runs is 1 to 1000")
	}
	if b.numa != "" && b.numa != "auto" || b.numa != "" && b.cpus != "" {
		return usagef("--numa is auto, and not beside --cpu")
	}
	if c.Rate > 0 && slices.Equal(c.Tests, []wire.Test{wire.Stream}) {
		return usagef("--rate is not for stream: TCP has a pace of its own")
	}
	for _, s := range c.Specs() {
		if err = s.Check(wire.DefaultLimits); err != nil {
			return usagef("%s", err)
		}
	}
	return nil
}

func (b *benchRunFlags) run(cmd *cobra.Command, o *output, peer string) error {
	if err := b.check(); err != nil {
		return err
	}
	with := &wire.Client{NUMA: b.numa == "auto"}
	var err error
	if with.CPUs, err = ownCPUs(b.cpus); err != nil {
		return err
	}
	at, err := lookup(cmd.Context(), peer)
	if err != nil {
		return err
	}
	if slices.Equal(b.campaign.Tests, []wire.Test{wire.ICMP}) {
		err = with.DialNobody(cmd.Context(), at.Addr())
	} else {
		err = with.Dial(cmd.Context(), at)
	}
	if err != nil {
		return benchError(err)
	}
	defer with.Close()
	if err = b.pin(with); err != nil {
		return err
	}
	result, err := b.measure(cmd, with)
	if err != nil {
		return benchError(err)
	}
	if b.save != "" {
		if err = result.Write(b.save); err != nil {
			return err
		}
	}
	if b.page != "" {
		name := "to " + peer
		if err = writePage(b.page, name, []bench.Named{{Name: name, Result: result}}); err != nil {
			return err
		}
	}
	if o.format.String() != "table" {
		return o.plain(cmd.OutOrStdout(), result, nil)
	}
	return printResult(cmd.OutOrStdout(), result)
}

// measure carries the campaign out and records between what.
func (b *benchRunFlags) measure(cmd *cobra.Command, with *wire.Client) (*bench.Result, error) {
	link, err := wire.Link(with.Local())
	if err != nil {
		return nil, err
	}
	r := bench.New()
	r.Started, r.Command, r.Local, r.Remote = time.Now(), os.Args, environment(link), with.Remote
	r.Interleaved = true
	r.Series, err = b.campaign.Measure(cmd.Context(), with, b.progress(cmd))
	return r, err
}

// pin chooses the CPUs of the NIC's node.
func (b *benchRunFlags) pin(with *wire.Client) (err error) {
	if b.numa != "auto" {
		return nil
	}
	if with.CPUs, err = wire.NodeCPUs("/", with.Local()); err != nil {
		return coded{errRefused, err.Error()}
	}
	return nil
}

// progress says what is being measured, and for how long still.
func (b *benchRunFlags) progress(cmd *cobra.Command) func(n, of int, s wire.Spec) {
	w := cmd.ErrOrStderr()
	return func(n, of int, s wire.Spec) {
		left := time.Duration(of-n+1) * (s.Warmup + s.Duration + 400*time.Millisecond)
		way := ""
		if s.Reverse {
			way = " from the server"
		}
		fmt.Fprintf(w, "%d/%d %s, %d bytes, %d flows%s; %s left\n", n, of, s.Test, s.Size, s.Flows, way, left.Round(time.Second))
	}
}

// lookup finds the address of HOST or HOST:PORT.
func lookup(ctx context.Context, peer string) (netip.AddrPort, error) {
	host, port := peer, wire.DefaultPort
	if h, p, err := net.SplitHostPort(peer); err == nil {
		if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
			return netip.AddrPort{}, usagef("%q is no port", p)
		}
		host = h
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(all) == 0 {
		return netip.AddrPort{}, coded{errNotFound, fmt.Sprintf("find the peer: %v", err)}
	}
	return netip.AddrPortFrom(all[0].Unmap(), uint16(port)), nil
}

// benchError gives what the engine says its exit code.
func benchError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, wire.ErrBusy), errors.Is(err, wire.ErrSilent):
		return coded{errUnavailable, err.Error()}
	case errors.Is(err, wire.ErrRefused), errors.Is(err, wire.ErrSpec), errors.Is(err, os.ErrPermission):
		return coded{errRefused, err.Error()}
	}
	return err
}
