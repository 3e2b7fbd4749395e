package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// Where the tables go in the document.
const (
	begin = "<!-- figures: written by make figures -->"
	end   = "<!-- end of figures -->"
)

func main() {
	into := flag.String("into", "", "document whose part between the marks is replaced")
	lab := flag.String("lab", "", "report of neutrino lab run, as JSON")
	flag.Parse()
	if err := run(*into, *lab, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(into, labReport string, files []string) error {
	if len(files) == 0 {
		return errors.New("name the output of make bench: figures [-into docs/performance.md] out/bench.txt")
	}
	r := results{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = errors.Join(r.read(f), f.Close())
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	text := r.tables()
	if labReport != "" {
		paths, err := labTable(labReport)
		if err != nil {
			return err
		}
		text += paths
	}
	if into == "" {
		_, err := io.WriteString(os.Stdout, text)
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
	return os.WriteFile(into, []byte(before+begin+"\n\n"+text+end+after), 0o644)
}

// results has the values of each benchmark's metrics, one per run, by
// "package benchmark unit".
type results map[string][]float64

// read takes what go test prints: lines of "pkg: neutrino/internal/store" and of
// "BenchmarkName-2  100  12.3 ns/op  4.5 unit".
func (r results) read(f io.Reader) error {
	pkg := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		if p, ok := strings.CutPrefix(line, "pkg: neutrino/"); ok {
			pkg = p
			continue
		}
		words := strings.Fields(line)
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at] // of GOMAXPROCS
		}
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return fmt.Errorf("%s: %w", line, err)
			}
			key := pkg + " " + name + " " + words[i+1]
			r[key] = append(r[key], v)
		}
	}
	return lines.Err()
}

func (r results) tables() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Taken with %s on %s, %d CPUs.\n\n", runtime.Version(), machine(), runtime.NumCPU())
	for _, t := range all {
		fmt.Fprintf(&b, "### %s\n\n| | median | lowest to highest | aim | |\n|---|---|---|---|---|\n", t.title)
		for _, f := range t.figures {
			b.WriteString(r.row(t.pkg, f))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r results) row(pkg string, f figure) string {
	values := slices.Clone(r[pkg+" "+f.metric])
	if len(values) == 0 {
		return fmt.Sprintf("| %s | not measured | | %s | |\n", f.what, f.aim)
	}
	slices.Sort(values)
	low, high := values[0], values[len(values)-1]
	for _, v := range r[pkg+" "+f.low] {
		low = min(low, v)
	}
	for _, v := range r[pkg+" "+f.high] {
		high = max(high, v)
	}
	value := values[len(values)/2]
	return fmt.Sprintf("| %s | **%s** %s | %s to %s | %s | %s |\n",
		f.what, digits(value), f.unit, digits(low), digits(high), f.aim, f.verdict(value))
}

// digits prints three of them.
func digits(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// machine is the processor and the kernel.
func machine() string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		model += ", Linux " + strings.TrimSpace(string(b))
	}
	return model
}
