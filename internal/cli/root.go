package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs the command that args (without the program's name) name, and returns the
// process's exit code. The first SIGINT or SIGTERM cancels what runs; a second one
// ends the process at once.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, d Daemons) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return run(ctx, args, stdin, stdout, stderr, d)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, d Daemons) int {
	root := New(d)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitDone
	}
	for line := range strings.Lines(explain(err)) {
		fmt.Fprintf(stderr, "neutrino: %s\n", strings.TrimRight(line, "\n"))
	}
	if errors.Is(err, errUsage) {
		fmt.Fprintf(stderr, "neutrino: see '%s --help'\n", cmd.CommandPath())
	}
	return exitCode(err)
}

// New returns the root command with everything below it.
func New(d Daemons) *cobra.Command {
	o := &output{}
	root := &cobra.Command{
		Use:   "neutrino",
		Short: "Virtual machines' ports on the NIC's own switch",
		Long: "neutrino puts virtual machines on the embedded switch of SR-IOV NICs and speaks the OpenStack\n" +
			"Networking API. This one binary is the controller, the host agent, the lab and the client.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(cmd.ValidateRequiredFlags(), cmd.ValidateFlagGroups()); err != nil {
				return coded{errUsage, err.Error()}
			}
			return nil
		},
	}
	c := &client{}
	root.PersistentFlags().VarP(&o.format, "output", "o", "output: table, json, yaml or id")
	root.PersistentFlags().StringVar(&c.endpoint, "endpoint", "",
		"Networking API without authentication (default $NEUTRINO_ENDPOINT, else what OS_* and clouds.yaml say, else "+defaultEndpoint+")")
	root.PersistentFlags().StringVar(&c.cloud, "os-cloud", "", "cloud of clouds.yaml to use (default $OS_CLOUD)")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml", "id"}, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return coded{errUsage, err.Error()} })
	root.AddGroup(&cobra.Group{ID: "daemon", Title: "Daemons:"}, &cobra.Group{ID: "resource", Title: "Resources:"},
		&cobra.Group{ID: "host", Title: "This host:"})

	agent := agentCommand(c, o)
	asDaemon(agent, "agent", d.Agent, roleAgent)
	root.AddCommand(
		controllerCommand(d.Controller), agent,
		networkCommand(c, o), subnetCommand(c, o), portCommand(c, o), securityCommand(c, o),
		routerCommand(c, o), floatingCommand(c, o), quotaCommand(c, o),
		vifCommand(o), vfCommand(o), hostCommand(o), tuneCommand(o), guestCommand(o), numaCommand(o), benchCommand(o),
		traceCommand(c, o), fabricCommand(c, o),
		configCommand(o), versionCommand(o), manCommand(),
	)
	if d.Lab != nil {
		root.AddCommand(d.Lab)
	}
	return root
}

const exitHelp = `Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not found,
4 refused (conflict, quota, permission, a value the API does not accept), 5 unavailable,
6 the physical network drops what it should carry (fabric verify), 7 it works, with warnings (host check),
8 it cannot be told (bench check).`

// noArgs refuses arguments, naming the nearest subcommand.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s", text)
}

// args bounds the number of arguments; hi < 0 = any number.
func args(lo, hi int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, a []string) error {
		if len(a) < lo {
			return usagef("%s is missing", what)
		}
		if hi >= 0 && len(a) > hi {
			return usagef("too many arguments: %s", strings.Join(a[hi:], " "))
		}
		return nil
	}
}

// group makes a command that only has subcommands.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return usagef("%s needs a subcommand", cmd.CommandPath())
	}}
	cmd.AddCommand(sub...)
	return cmd
}
