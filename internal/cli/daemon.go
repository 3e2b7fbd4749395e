package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

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
		if files.none() {
			return usagef("neutrino %s needs --config-file or --config-dir", name)
		}
		cfg, warnings, err := files.load(r)
		if err != nil {
			printWarnings(cmd.ErrOrStderr(), warnings)
			return err
		}
		return serve(cmd.Context(), cmd.ErrOrStderr(), cfg, warnings, d, r)
	}
}

// serve sets up the log and tells the service manager, and runs d until ctx ends.
func serve(ctx context.Context, stderr io.Writer, cfg *config.Config, warnings []config.Warning, d Daemon, r role) (err error) {
	log, closeLog, err := newLogger(cfg, stderr, r.name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	for _, w := range warnings {
		log.Warn("this is accepted, but should be put right", "option", w.Name.String(), "at", w.Pos.String(), "because", w.Text)
	}
	for _, s := range cfg.Unacted() {
		log.Warn("this option is known but not acted on", "option", s.Name.String(), "at", s.Pos.String(), "because", s.Reason)
	}
	ctx, stop := watchdog(ctx, log)
	defer stop()
	err = d(ctx, cfg, log, func() { notify(log, daemon.SdNotifyReady) })
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was told to end
	}
	return err
}

// configFiles are the flags that name option files.
type configFiles struct {
	files []string
	dir   string
}

func (f *configFiles) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.files, "config-file", nil, "option `FILE`; may be given several times, the last one wins")
	cmd.Flags().StringVar(&f.dir, "config-dir", "", "`DIR` of option files (*.conf, *.ini), read after --config-file in the order of their names")
	_ = cmd.MarkFlagFilename("config-file", "conf", "ini")
	_ = cmd.MarkFlagDirname("config-dir")
}

func (f *configFiles) none() bool { return len(f.files) == 0 && f.dir == "" }

// load reads and checks the files for a role.
func (f *configFiles) load(r role) (*config.Config, []config.Warning, error) {
	paths := f.files
	if f.dir != "" {
		more, err := config.InDir(f.dir)
		if err != nil {
			return nil, nil, coded{errUsage, err.Error()}
		}
		paths = append(append([]string{}, paths...), more...)
	}
	cfg, warnings, err := config.Load(paths)
	if err == nil {
		err = cfg.Check(r.config)
	}
	if err != nil {
		return nil, warnings, coded{errUsage, err.Error()}
	}
	return cfg, warnings, nil
}

func printWarnings(w io.Writer, warnings []config.Warning) {
	for _, x := range warnings {
		fmt.Fprintf(w, "neutrino: warning: %s\n", x)
	}
}
