package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/bench"
)

// built is the binary, made once.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// build makes neutrino as it is delivered.
func build(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "neutrino-peers-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", built.dir+"/neutrino", "neutrino/cmd/neutrino")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build neutrino: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.dir + "/neutrino"
}

func testSpace(t *testing.T) *space {
	t.Helper()
	s, err := newSpace(fmt.Sprintf("neutrino-peert-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testPlace(t *testing.T) place {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	cpus := allowed(set)
	return place{cpus[0], cpus[len(cpus)-1]}
}

// Every tool that is there measures what it is asked for, neutrino everything. How well, is not for a test:
// the machine may be at work.
func TestToolsMeasure(t *testing.T) {
	neutrino := build(t)
	s, p := testSpace(t), testPlace(t)
	tools, missing := findTools(neutrino)
	t.Logf("not here: %v", missing)
	ctx := context.Background()
	for _, tool := range tools {
		for _, name := range cases {
			once := map[string]string{"sockperf": "udp", "iperf3": "pps", "qperf": "stream"}[tool.name]
			if once != "" && once != name {
				continue
			}
			got, err := turn(ctx, s, p, tool, name, 300*time.Millisecond)
			if err != nil {
				t.Errorf("%s %s: %v", tool.name, name, err)
				continue
			}
			t.Logf("%s %s: %v", tool.name, name, got)
			if len(got) == 0 {
				t.Errorf("%s has nothing of %s", tool.name, name)
			}
			for k, v := range got {
				if v <= 0 {
					t.Errorf("%s: %s is %v", tool.name, k, v)
				}
			}
		}
	}
}

// The delivered binaries, end to end: what run saves, compare and check read, and SIGTERM ends the server.
func TestResultsPassThrough(t *testing.T) {
	neutrino := build(t)
	s := testSpace(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server := exec.Command(neutrino, "bench", "serve", "--allow", near)
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	if err := s.start(server, s.b, -1); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = server.Process.Kill()
			_ = server.Wait()
		}
	}()
	if err := s.bound(ctx, "tcp", neutrinoPort); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one.json"), filepath.Join(dir, "two.json")
	for _, file := range []string{one, two} {
		argv := []string{neutrino, "bench", "run", far, "--runs", "2", "--time", "200ms", "--warmup", "50ms", "--both", "--numa", "auto", "--flows", "2", "--save", file, "--report", file + ".html"}
		out, err := s.run(ctx, -1, argv...)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(out), "udp, 64 bytes, 2 flows") || !strings.Contains(string(out), "from the peer") {
			t.Errorf("the table lacks something:\n%s", out)
		}
	}
	if page, err := os.ReadFile(one + ".html"); err != nil || !bytes.Contains(page, []byte("<svg")) {
		t.Errorf("a page of %d bytes, with no plot or not there: %v", len(page), err)
	}
	r, err := bench.Read(one)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Series) != 9 || r.Local.NIC == nil || r.Local.NIC.Driver != "veth" || r.Remote == nil || r.Remote.Kernel != r.Local.Kernel {
		t.Errorf("%d series between %+v and %+v", len(r.Series), r.Local, r.Remote)
	}
	for _, x := range r.Series {
		for _, run := range x.Runs {
			if len(x.Runs) != 2 || run.Messages == 0 || run.LocalUsage.Process <= 0 {
				t.Errorf("%s: %d runs; %+v", x.Measurement, len(x.Runs), run)
			}
		}
	}
	if out, err := s.run(ctx, -1, neutrino, "bench", "compare", one, two); err != nil || !strings.Contains(string(out), "p99.9") {
		t.Errorf("compare: %v\n%s", err, out)
	}
	if out, err := s.run(ctx, -1, neutrino, "bench", "check", "--baseline", one, "--max-regress", "5%", one); err != nil {
		var exit *exec.ExitError // two runs are too few to tell: that is an answer of its own
		if !errors.As(err, &exit) || exit.ExitCode() != 8 {
			t.Errorf("check against itself: %v\n%s", err, out)
		}
	}
	if err = server.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err = server.Wait(); err != nil {
		t.Errorf("the server did not end as it should: %v\n%s", err, said.String())
	}
	ended = true
	out, err := s.run(ctx, -1, neutrino, "bench", "run", far, "--tests", "icmp", "--runs", "1", "--time", "100ms", "--warmup", "0s", "-o", "json")
	if err != nil {
		t.Fatalf("ICMP without a server: %v", err)
	}
	got, err := parseNeutrino(out, "icmp")
	if err != nil || got["icmp-p50"] <= 0 || got["icmp-p50"] > 1e6 {
		t.Errorf("ICMP without a server: %v, %v", got, err)
	}
}
