package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// ErrNotOK: a run came to its end and found something that is not as it must be.
var ErrNotOK = errors.New("something is not as it must be")

// options common to the subcommands.
type flags struct {
	name, base string
}

func (f *flags) names() (Names, error) { return NewNames(f.name, f.base) }

// Command returns "neutrino lab" with its subcommands. It takes the form of its output
// from the flag "output" of a parent command, where there is one.
func Command() *cobra.Command {
	f := &flags{}
	cmd := &cobra.Command{
		Use:          "lab",
		Short:        "The whole system on this machine: controller, hosts, NICs, instances",
		SilenceUsage: true,
		Long: "A lab is the real controller and real agents on one machine. Its hosts are network namespaces, each\n" +
			"with a software NIC; a trunk joins them; instances are namespaces whose eth0 is a VF.\n" +
			"Root is needed; the internet is not. Several labs of different names live side by side.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	name := DefaultName
	if v := os.Getenv("NEUTRINO_LAB"); v != "" {
		name = v
	}
	cmd.PersistentFlags().StringVar(&f.name, "name", name, "name of the lab (default $NEUTRINO_LAB, else \"lab\")")
	cmd.PersistentFlags().StringVar(&f.base, "state-dir", DefaultBase, "directory that holds the state of labs")
	cmd.AddCommand(upCommand(f), runCommand(f), statusCommand(f), bootCommand(f), killCommand(f), execCommand(f), downCommand(f))
	return cmd
}

// complete offers the names of the lab's hosts and instances to the shell.
func (f *flags) complete(hosts, instances bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		n, err := f.names()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := Read(n)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, h := range s.Hosts {
			if hosts {
				out = append(out, h.Name)
			}
		}
		for _, in := range s.Instances {
			if instances {
				out = append(out, in.Name)
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// show prints v in the form that -o asks for; table draws it for people.
func show(cmd *cobra.Command, v any, table func(w io.Writer, color bool)) error {
	format := "table"
	if fl := cmd.Flag("output"); fl != nil {
		format = fl.Value.String()
	}
	switch format {
	case "table", "":
		table(cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout()))
		return nil
	case "json":
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	default:
		return fmt.Errorf("-o %s: the lab prints table or json", format)
	}
}

// isTerminal: colors are for people only (see no-color.org).
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func progressOf(cmd *cobra.Command) Progress {
	return NewProgress(cmd.ErrOrStderr(), isTerminal(cmd.ErrOrStderr()))
}

func upFlags(cmd *cobra.Command, o *Options) {
	cmd.Flags().IntVar(&o.APIPort, "api-port", 0, "loopback port of the Networking API (default 9696 if it is free, else any)")
	cmd.Flags().BoolVar(&o.Identity, "identity", true, "serve the built-in identity for clients that insist on Keystone")
	cmd.Flags().IntVar(&o.VFs, "vfs", 8, "VFs per host")
	cmd.Flags().BoolVar(&o.Routers, "routers", false, "let the network nodes carry routers, too")
	cmd.Flags().IntVar(&o.NetworkNodes, "network-nodes", 1, "hosts that serve DHCP, network1 and up: where one dies, another takes over")
}

func upCommand(f *flags) *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use: "up", Short: "Bring the lab up and leave it up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Names, err = f.names(); err != nil {
				return err
			}
			o.Progress = progressOf(cmd)
			s, err := Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			return show(cmd, s, func(w io.Writer, _ bool) {
				fmt.Fprintf(w, "\nThe lab %s is up. Its API is at %s.\n\n", s.Name, s.API)
				fmt.Fprintf(w, "  export OS_CLIENT_CONFIG_FILE=%s OS_CLOUD=lab\n", o.Names.File("clouds.yaml"))
				fmt.Fprintf(w, "  openstack network agent list\n  neutrino lab status%[1]s\n  neutrino lab down%[1]s\n", nameFlag(s.Name))
			})
		},
	}
	upFlags(cmd, &o)
	return cmd
}

func nameFlag(name string) string {
	if name == DefaultName {
		return ""
	}
	return " --name " + name
}

func runCommand(f *flags) *cobra.Command {
	o := RunOptions{Effort: DefaultEffort}
	var files []string
	cmd := &cobra.Command{
		Use: "run", Short: "Bring a lab up, check isolation, measure, report, take it down", Args: cobra.NoArgs,
		Long: "Brings a lab up, gives it two tenant networks with instances on both hosts, shows that they are\n" +
			"isolated, measures latency and throughput beside a direct veth pair, a bridge and bridge + VXLAN in\n" +
			"the same run, reports, and takes everything down, also after Ctrl-C.\n" +
			"Ends with 1 if something is not as it must be.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Names, err = f.names(); err != nil {
				return err
			}
			if o.Effort.Rounds < 1 || o.Effort.Rounds > 1000 {
				return fmt.Errorf("--rounds %d: 1 to 1000 are wanted", o.Effort.Rounds)
			}
			o.Progress = progressOf(cmd)
			r, err := Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			if err := show(cmd, r, r.WriteTable); err != nil {
				return err
			}
			for _, path := range files {
				if err := r.Save(path); err != nil {
					return err
				}
				o.Progress.Step("report in %s", path)
			}
			if !r.OK {
				return ErrNotOK
			}
			return nil
		},
	}
	upFlags(cmd, &o.Options)
	cmd.Flags().IntVar(&o.Effort.Rounds, "rounds", DefaultEffort.Rounds, "rounds of measuring, about 1.5 s each")
	cmd.Flags().StringArrayVar(&files, "report", nil, "file to write the report to: HTML, or JSON if its name ends in .json (may be repeated)")
	return cmd
}

func statusCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show hosts, agents, NICs, instances and ports", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := f.names()
			if err != nil {
				return err
			}
			s, err := Look(cmd.Context(), n)
			if errors.Is(err, ErrDown) {
				if others, listErr := All(n.Base); listErr == nil && len(others) > 0 {
					return fmt.Errorf("%w; there are: %s", err, strings.Join(others, ", "))
				}
			}
			if err != nil {
				return err
			}
			return show(cmd, s, s.WriteTable)
		},
	}
}

func bootCommand(f *flags) *cobra.Command {
	var o BootOptions
	var keys, userData string
	cmd := &cobra.Command{
		Use: "boot NAME --host HOST (--network NETWORK | --port PORT)", Short: "Start an instance", Args: cobra.ExactArgs(1),
		Long: "Starts an instance: picks a free VF of the host, creates the port (or takes an existing one), binds it as\n" +
			"Nova does, waits until it is ACTIVE, plugs the VF in as eth0 and asks for an address by DHCP.",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.names()
			if err != nil {
				return err
			}
			o.Name = args[0]
			if err = o.read(keys, userData); err != nil {
				return err
			}
			in, err := Boot(cmd.Context(), n, o)
			if err != nil {
				return err
			}
			return show(cmd, in, func(w io.Writer, _ bool) {
				fmt.Fprintf(w, "%s is up on %s: port %s, VF %s, %s\n", in.Name, in.Host, in.PortID, in.PCISlot, orDash(in.Address))
			})
		},
	}
	cmd.Flags().StringVar(&o.Host, "host", "", "host to run on: compute1, compute2, network1, ...")
	cmd.Flags().StringVar(&o.Network, "network", "", "network, by name or id")
	cmd.Flags().StringVar(&o.PortID, "port", "", "existing port, by id")
	cmd.Flags().StringVar(&keys, "ssh-key", "", "file of OpenSSH public keys that it gets by metadata, one a line")
	cmd.Flags().StringVar(&userData, "user-data", "", "file that it gets as user data by metadata")
	cmd.Flags().BoolVar(&o.NoDHCP, "no-dhcp", false, "leave eth0 without an address")
	_ = cmd.MarkFlagRequired("host")
	_ = cmd.RegisterFlagCompletionFunc("host", func(c *cobra.Command, _ []string, to string) ([]string, cobra.ShellCompDirective) {
		return f.complete(true, false)(c, nil, to)
	})
	cmd.MarkFlagsOneRequired("network", "port")
	cmd.MarkFlagsMutuallyExclusive("network", "port")
	return cmd
}

// read takes over the files; "" = none.
func (o *BootOptions) read(keys, userData string) error {
	if keys != "" {
		text, err := os.ReadFile(keys)
		if err != nil {
			return fmt.Errorf("--ssh-key: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				o.PublicKeys = append(o.PublicKeys, line)
			}
		}
	}
	if userData != "" {
		text, err := os.ReadFile(userData)
		if err != nil {
			return fmt.Errorf("--user-data: %w", err)
		}
		if !utf8.Valid(text) {
			return fmt.Errorf("--user-data: %s is not text (UTF-8)", userData)
		}
		o.UserData = string(text)
	}
	return nil
}

func killCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "kill NAME", Short: "End an instance; its VF goes back to the host", Args: cobra.ExactArgs(1),
		ValidArgsFunction: f.complete(false, true),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := f.names()
			if err != nil {
				return err
			}
			return Kill(cmd.Context(), n, args[0])
		},
	}
}

func execCommand(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use: "exec HOST|INSTANCE -- COMMAND [ARG]...", Short: "Execute a command inside a host or an instance", Args: cobra.MinimumNArgs(2),
		ValidArgsFunction: f.complete(true, true),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := f.names()
			if err != nil {
				return err
			}
			argv := args[1:]
			if argv[0] == "--" { // what follows is the command's, flags and all
				argv = argv[1:]
			}
			return Exec(n, args[0], argv)
		},
	}
	cmd.Flags().SetInterspersed(false)
	return cmd
}

func downCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Take the lab down, whatever is left of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := f.names()
			if err != nil {
				return err
			}
			return Down(cmd.Context(), n, progressOf(cmd))
		},
	}
}
