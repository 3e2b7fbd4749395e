package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/machine/machinetest"
)

// wholetree makes a whole fixture machine: wholetree DIR NAME.
func wholetree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wholetree DIR NAME")
	}
	spec, ok := machinetest.All()[args[1]]
	if !ok {
		ts.Fatalf("no machine %s", args[1])
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	_, err := machinetest.Build(dir, spec())
	ts.Check(err)
}

// Whoever is not root is told so before any plan is shown.
func TestTuningNeedsRoot(t *testing.T) {
	geteuid = func() int { return 1000 }
	defer func() { geteuid = os.Geteuid }()
	for _, args := range [][]string{
		{"tune", "apply", "--profile", "latency", "--yes"}, {"tune", "undo", "--yes"}, {"tune", "affinity", "--pf", "lo", "--yes"}, {"tune", "keep"},
	} {
		var out, stderr bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &stderr, stand); code != exitRefused {
			t.Errorf("%v: exit code %d", args, code)
		}
		if out.Len() > 0 || !strings.Contains(stderr.String(), "has to be run by root") {
			t.Errorf("%v: %s%s", args, out.String(), stderr.String())
		}
	}
}

// The keeper tunes a machine that has been started again, and tells systemd.
func TestTheKeeperTellsSystemd(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "host")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := machinetest.Build(root, machinetest.VMIGB()); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("proc/sys/kernel/random/boot_id", "one")
	var out, stderr bytes.Buffer
	if code := run(t.Context(), []string{"tune", "apply", "--profile", "latency", "--yes", "--root", root}, nil, &out, &stderr, stand); code != exitDone {
		t.Fatalf("apply: exit code %d: %s", code, stderr.String())
	}
	write("proc/sys/kernel/random/boot_id", "two")
	write("proc/sys/net/core/busy_poll", "0\n")

	path := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"tune", "keep", "--root", root}, nil, &out, &stderr, stand) }()
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		if err = socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		n, rerr := socket.Read(buf)
		if rerr != nil || string(buf[:n]) != want {
			t.Fatalf("told %q, %v; want %s", buf[:n], rerr, want)
		}
		if now, _ := os.ReadFile(filepath.Join(root, "proc/sys/net/core/busy_poll")); strings.TrimSpace(string(now)) != "50" {
			t.Errorf("busy_poll is %s when it says that it is ready", now)
		}
		cancel()
	}
	if got := <-code; got != exitDone {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}
