package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Where the tables go in the document.
const (
	begin = "<!-- peers: written by make bench-peers -->"
	end   = "<!-- end of peers -->"
)

// asked is what the user wants.
type asked struct {
	neutrino, into string
	rounds         int
	time           time.Duration
	one, two       place // processors of the two layouts
}

func main() {
	var a asked
	flag.StringVar(&a.neutrino, "neutrino", "bin/neutrino", "the binary")
	flag.StringVar(&a.into, "into", "", "document whose part between the marks is replaced")
	flag.IntVar(&a.rounds, "rounds", 7, "how often each tool measures each case")
	flag.DurationVar(&a.time, "time", 2*time.Second, "how long a measurement takes, in whole seconds for the others")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, a, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, a asked, out, progress io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it as root")
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("read this process's processors: %w", err)
	}
	cpus := allowed(set)
	a.one = place{cpus[len(cpus)-1], cpus[len(cpus)-1]}
	a.two = place{cpus[0], cpus[len(cpus)-1]}
	path, err := filepath.Abs(a.neutrino)
	if err != nil {
		return err
	}
	tools, missing := findTools(path)
	if len(missing) > 0 {
		fmt.Fprintf(progress, "not here, so not beside: %s (Debian has packages of these names)\n", strings.Join(missing, ", "))
	}
	s, err := newSpace(fmt.Sprintf("neutrino-peers-%d", os.Getpid()))
	if err != nil {
		return err
	}
	r := rounds{}
	err = errors.Join(r.measure(ctx, a, s, tools, progress), s.remove())
	if err != nil {
		return err
	}
	return write(a.into, r.text(a, missing), out)
}

func allowed(set unix.CPUSet) (out []int) {
	for i := range 1024 {
		if set.IsSet(i) {
			out = append(out, i)
		}
	}
	return out
}

// measure runs all rounds: in each, every case with every tool in turn, another one first each time.
func (r rounds) measure(ctx context.Context, a asked, s *space, tools []tool, progress io.Writer) error {
	for round := range a.rounds {
		for _, p := range []place{a.one, a.two} {
			if err := r.round(ctx, a, s, p, tools, round, progress); err != nil {
				return err
			}
		}
	}
	return nil
}

// round runs a round on one layout. Servers run only while their turn lasts, so that none is beside another's.
func (r rounds) round(ctx context.Context, a asked, s *space, p place, tools []tool, n int, progress io.Writer) error {
	for _, name := range cases {
		if !latency(name) && p == a.one && p != a.two {
			continue
		}
		for i := range tools {
			t := tools[(n+i)%len(tools)]
			got, err := turn(ctx, s, p, t, name, a.time)
			if err != nil {
				return err
			}
			if got != nil {
				fmt.Fprintf(progress, "round %d of %d, processors %d and %d, %s: %s %v\n", n+1, a.rounds, p.client, p.server, name, t.name, got)
			}
			r.add(t.name, onPlace(got, p == a.one && latency(name)))
		}
	}
	return nil
}

// onPlace marks the figures of one processor.
func onPlace(got map[string]float64, one bool) map[string]float64 {
	if !one {
		return got
	}
	out := map[string]float64{}
	for k, v := range got {
		out["one "+k] = v
	}
	return out
}

// turn measures a case with a tool.
func turn(ctx context.Context, s *space, p place, t tool, name string, d time.Duration) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, d+30*time.Second)
	defer cancel()
	stop, err := t.serve(ctx, s, p)
	if err != nil {
		return nil, err
	}
	defer func() {
		for _, f := range stop {
			f()
		}
	}()
	return t.measure(ctx, s, p, name, d)
}

// text is the tables, and on what they were made.
func (r rounds) text(a asked, missing []string) string {
	one := r.table("both ends on one processor", func(f figure) (string, bool) { return "one " + f.key, f.shared })
	two := r.table("on two processors", func(f figure) (string, bool) { return f.key, true })
	note := ""
	if len(missing) > 0 {
		note = "Not measured, not installed: " + strings.Join(missing, ", ") + ".\n\n"
	}
	return fmt.Sprintf("Median of %d rounds of %s, lowest and highest; %s, load %s.\n\n%s%s\n%s", a.rounds, a.time, machineName(), load(), note, one, two)
}

// write puts the text into a document, or out.
func write(into, text string, out io.Writer) error {
	if into == "" {
		_, err := io.WriteString(out, text)
		return err
	}
	old, err := os.ReadFile(into)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(old), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no marks %q and %q", into, begin, end)
	}
	return os.WriteFile(into, []byte(before+begin+"\n\n"+text+"\n"+end+after), 0o644)
}
