package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"neutrino/internal/config"
)

// Daemon is a process that runs until ctx ends. It calls ready once it serves.
type Daemon func(ctx context.Context, cfg *config.Config, log *slog.Logger, ready func()) error

// Daemons is what the binary can run; main fills it in.
type Daemons struct {
	Controller Daemon
	Agent      Daemon
	Lab        *cobra.Command
}

// role of a daemon, by which its option files are checked.
type role struct {
	name   string
	config config.Role
}

var (
	roleController = role{"controller", config.Controller}
	roleAgent      = role{"agent", config.Agents}
)

func controllerCommand(d Daemon) *cobra.Command {
	cmd := &cobra.Command{Use: "controller", Short: "The Networking API and the fabric, with etcd inside or outside"}
	asDaemon(cmd, "controller", d, roleController)
	return cmd
}

// asDaemon makes the command, run without a subcommand, the daemon.
func asDaemon(cmd *cobra.Command, name string, d Daemon, r role) {
	var files configFiles
	files.flags(cmd)
	cmd.GroupID = "daemon"
	cmd.Args = noArgs
	cmd.Long = cmd.Short + ".\n\n`neutrino " + name + " --config-file FILE` runs the daemon in the foreground. " +
		"It tells systemd when it serves (Type=notify) and that it lives (WatchdogSec=). SIGTERM ends it."
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if d == nil {
			return fmt.Errorf("%s: this binary was built without it", name)
		}
		if len(files.files) == 0 && files.dir == "" {
			return usagef("neutrino %s needs --config-file or --config-dir", name)
		}
		cfg, err := files.load(cmd.ErrOrStderr(), r)
		if err != nil {
			return err
		}
		log, closeLog, err := newLogger(cfg, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		defer closeLog()
		for _, s := range cfg.Unacted() {
			log.Warn("this option is known but not acted on", "option", s.Name.String(), "at", s.Pos.String())
		}
		ctx, stop := watchdog(cmd.Context(), log)
		defer stop()
		return d(ctx, cfg, log, func() { notify(log, daemon.SdNotifyReady) })
	}
}

// configFiles are the flags that name option files.
type configFiles struct {
	files []string
	dir   string
}

func (f *configFiles) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "config-file", nil, "option `FILE`; may be given several times, the last one wins")
	cmd.Flags().StringVar(&f.dir, "config-dir", "", "`DIR` of option files (*.conf), read after --config-file in the order of their names")
}

// load reads and checks the files for a role. Warnings go to w.
func (f *configFiles) load(w io.Writer, r role) (*config.Config, error) {
	paths := f.files
	if f.dir != "" {
		more, err := config.InDir(f.dir)
		if err != nil {
			return nil, coded{errUsage, err.Error()}
		}
		paths = append(append([]string{}, paths...), more...)
	}
	cfg, warnings, err := config.Load(paths)
	for _, x := range warnings {
		fmt.Fprintf(w, "neutrino: warning: %s\n", x)
	}
	if err == nil {
		err = cfg.Check(r.config)
	}
	if err != nil {
		return nil, coded{errUsage, err.Error()}
	}
	return cfg, nil
}

// newLogger writes text with colours to a terminal, plain text or JSON elsewhere.
func newLogger(cfg *config.Config, stderr io.Writer) (log *slog.Logger, done func(), err error) {
	level := slog.LevelInfo
	if cfg.Default.Debug {
		level = slog.LevelDebug
	}
	out, done := stderr, func() {}
	if file := cfg.Default.LogFile; file != "" {
		if !filepath.IsAbs(file) {
			file = filepath.Join(cfg.Default.LogDir, file)
		}
		f, openErr := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if openErr != nil {
			return nil, nil, fmt.Errorf("[DEFAULT] log_file: %w", openErr)
		}
		out, done = f, func() { _ = f.Close() }
	}
	options := &slog.HandlerOptions{Level: level}
	f, isFile := out.(*os.File)
	switch {
	case cfg.Default.UseJSON:
		log = slog.New(slog.NewJSONHandler(out, options))
	case isFile && term.IsTerminal(int(f.Fd())):
		log = slog.New(tint.NewHandler(out, &tint.Options{Level: level, TimeFormat: time.TimeOnly}))
	case os.Getenv("JOURNAL_STREAM") != "": // journald stamps lines itself
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return a
		}
		log = slog.New(slog.NewTextHandler(out, options))
	default:
		log = slog.New(slog.NewTextHandler(out, options))
	}
	return log, done, nil
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "err", err)
	}
}

// watchdog tells systemd at half of WatchdogSec that the process lives, until stop,
// which waits for it.
func watchdog(ctx context.Context, log *slog.Logger) (_ context.Context, stop func()) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog systemd asks for is not understood", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	if every <= 0 || errors.Is(ctx.Err(), context.Canceled) {
		return ctx, cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every / 2)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				notify(log, daemon.SdNotifyWatchdog)
			}
		}
	}()
	return ctx, func() {
		cancel()
		<-done
		notify(log, daemon.SdNotifyStopping)
	}
}
