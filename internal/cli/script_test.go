package cli

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"neutrino/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(checked{m}, map[string]func(){
		"neutrino": func() {
			newSys = reacting
			os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, stand))
		},
	})
}

// checked looks for goroutines that the tests left behind.
type checked struct{ m *testing.M }

// Run implements testscript.TestingM.
func (c checked) Run() int {
	code := c.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return code
}

// stand are daemons that do nothing but what every daemon does at its ends.
var stand = Daemons{
	Controller: func(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error {
		log.Info("serving", "api", cfg.APIAddress())
		ready()
		if os.Getenv("STOP") != "" { // as `systemctl stop` does
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
		}
		<-ctx.Done()
		log.Info("ended")
		return ctx.Err()
	},
	Agent: func(context.Context, *config.Config, *slog.Logger, func()) error {
		return errors.New("start agent: no NIC")
	},
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			server := newFake()
			e.Defer(server.Close)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second under the race detector
			e.Setenv("NEUTRINO_ENDPOINT", server.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "pcitree": pcitree, "hold": hold, "wholetree": wholetree, "benchresult": benchresult,
		},
	})
}

// exits runs neutrino and compares its exit code: exits CODE ARGS...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	err := ts.Exec("neutrino", args[1:]...)
	got := "0"
	var code interface{ ExitCode() int }
	if errors.As(err, &code) {
		got = string(rune('0' + code.ExitCode()))
	} else if err != nil {
		ts.Fatalf("neutrino: %v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// TestServiceManagerIsTold: READY when the daemon serves, WATCHDOG while it runs,
// STOPPING when it ends.
func TestServiceManagerIsTold(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "20000")
	file := filepath.Join(dir, "c.conf")
	if writeErr := os.WriteFile(file, []byte("[DEFAULT]\nbind_port = 1\n"), 0o600); writeErr != nil {
		t.Fatal(writeErr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	var stderr bytes.Buffer
	go func() { code <- run(ctx, []string{"controller", "--config-file", file}, nil, &stderr, &stderr, stand) }()
	want := func(state string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", state, err)
			}
			if string(buf[:n]) == state {
				return
			}
		}
	}
	want("READY=1")
	want("WATCHDOG=1")
	cancel()
	want("STOPPING=1")
	if got := <-code; got != 0 {
		t.Errorf("exit code %d: %s", got, stderr.String())
	}
}

func TestJournalLines(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(newJournal(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	log.Debug("a")
	log.With("x", 1).Info("b", "y", 2)
	log.WithGroup("g").Warn("c", "y", 2)
	log.Error("d")
	want := "<7>msg=a\n<6>msg=b x=1 y=2\n<4>msg=c g.y=2\n<3>msg=d\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestLogFile(t *testing.T) {
	for _, tt := range []struct{ file, dir, want string }{
		{"", "", ""},
		{"a.log", "", "a.log"},
		{"", "/d", "/d/neutrino-agent.log"},
		{"a.log", "/d", "/d/a.log"},
		{"/e/a.log", "/d", "/e/a.log"},
	} {
		cfg := &config.Config{Default: config.Default{LogFile: tt.file, LogDir: tt.dir}}
		if got := logFile(cfg, "agent"); got != tt.want {
			t.Errorf("logFile(%q, %q) = %q, want %q", tt.file, tt.dir, got, tt.want)
		}
	}
}

// TestHelpOfEveryCommand: every command can be described, and every flag says what it
// is for.
func TestHelpOfEveryCommand(t *testing.T) {
	for _, args := range commands(t) {
		var out bytes.Buffer
		if code := run(t.Context(), append(args, "--help"), nil, &out, &out, stand); code != 0 {
			t.Errorf("%v --help: exit code %d", args, code)
		}
		if !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%v --help:\n%s", args, out.String())
		}
	}
}

func commands(t *testing.T) [][]string {
	t.Helper()
	var all [][]string
	for _, top := range New(stand).Commands() {
		all = append(all, []string{top.Name()})
		for _, sub := range top.Commands() {
			all = append(all, []string{top.Name(), sub.Name()})
			if sub.Short == "" {
				t.Errorf("%s has no description", sub.CommandPath())
			}
		}
	}
	return all
}
