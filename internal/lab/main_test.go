package lab_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"neutrino/internal/config"
	"neutrino/internal/controller"
	"neutrino/internal/host"
	"neutrino/internal/lab"
)

// TestMain lets the test's own binary stand in for neutrino: a lab that a test brings
// up starts it again as controller and agents, and tests start it as "lab".
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "controller", "agent", "lab":
			os.Exit(stand(os.Args[1], os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

func stand(role string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, role, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func play(ctx context.Context, role string, args []string) error {
	if role == "lab" {
		cmd := lab.Command()
		cmd.SetArgs(args)
		return cmd.ExecuteContext(ctx)
	}
	if len(args) != 2 || args[0] != "--config-file" {
		return fmt.Errorf("%s: --config-file FILE is wanted", role)
	}
	cfg, _, err := config.Load(args[1:])
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if role == "controller" {
		return controller.Run(ctx, cfg, controller.Options{Log: log})
	}
	return host.Run(ctx, cfg, host.Options{Log: log})
}
