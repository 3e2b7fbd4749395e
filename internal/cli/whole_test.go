package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/config"
	"neutrino/internal/controller"
)

// TestRealController runs scripts against the real controller, started with the old
// ML2 file as a guide prints it.
func TestRealController(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	own := filepath.Join(dir, "own.conf")
	text := fmt.Sprintf("[DEFAULT]\nstate_path = %s\nbind_port = %d\n[fabric]\nlisten = unix://%s/fabric.sock\n[identity]\nenabled = true\n", dir, port, dir)
	if err := os.WriteFile(own, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	serving, ended := make(chan struct{}), make(chan int, 1)
	var stderr bytes.Buffer
	daemons := Daemons{Controller: func(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error {
		return controller.Run(ctx, cfg, controller.Options{Log: log, Ready: func(string) { ready(); close(serving) }})
	}}
	args := []string{"controller", "--config-file", "../config/testdata/guide/ml2_conf.ini", "--config-file", own}
	go func() { ended <- run(ctx, args, nil, &stderr, &stderr, daemons) }()
	t.Cleanup(func() {
		cancel()
		if code := <-ended; code != exitDone {
			t.Errorf("the controller ended with %d:\n%s", code, stderr.String())
		}
	})
	select {
	case <-serving:
	case code := <-ended:
		ended <- code
		t.Fatalf("the controller ended before it served")
	case <-time.After(time.Minute):
		t.Fatal("the controller does not serve")
	}
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir:                 "testdata/whole",
			RequireExplicitExec: true,
			Setup: func(e *testscript.Env) error {
				e.Setenv("GORACE", "atexit_sleep_ms=0") // else every command takes a second under the race detector
				endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
				e.Setenv("NEUTRINO_ENDPOINT", endpoint)
				e.Setenv("IDENTITY", endpoint+"/identity/v3")
				clouds := fmt.Sprintf("clouds:\n  lab:\n    region_name: RegionOne\n    auth:\n      auth_url: %s/identity/v3\n"+
					"      username: demo\n      password: secret\n      project_name: demo\n"+
					"      user_domain_name: Default\n      project_domain_name: Default\n", endpoint)
				return os.WriteFile(filepath.Join(e.WorkDir, "clouds.yaml"), []byte(clouds), 0o600)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
		})
	})
}
