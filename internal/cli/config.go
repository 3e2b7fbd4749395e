package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"neutrino/internal/config"
)

var roles = map[string]role{"controller": roleController, "agent": roleAgent}

func configCommand(o *output) *cobra.Command {
	return group("config", "Option files: check them, list what can be in them", configCheck(), configOptions(o), configExample())
}

func roleFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "role", "controller", "for `ROLE`: controller or agent")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"controller", "agent"}, cobra.ShellCompDirectiveNoFileComp))
}

func roleOf(name string) (role, error) {
	r, ok := roles[name]
	if !ok {
		return role{}, usagef("--role %s: want controller or agent", name)
	}
	return r, nil
}

func configCheck() *cobra.Command {
	var files configFiles
	var name string
	cmd := &cobra.Command{
		Use: "check", Short: "Read option files and say what is wrong, without starting anything", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := roleOf(name)
			if err != nil {
				return err
			}
			if files.none() {
				return usagef("neutrino config check needs --config-file or --config-dir")
			}
			cfg, warnings, err := files.load(r)
			printWarnings(cmd.ErrOrStderr(), warnings)
			if err != nil {
				return err
			}
			for _, s := range cfg.Unacted() {
				fmt.Fprintf(cmd.ErrOrStderr(), "neutrino: %s: known, but not acted on\n", s)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: good for the %s\n", strings.Join(cfg.Files(), ", "), r.name)
			return nil
		},
	}
	files.flags(cmd)
	roleFlag(cmd, &name)
	return cmd
}

func configOptions(o *output) *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "List every option that is understood", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var rows []object
			for _, x := range config.Options() {
				rows = append(rows, object{
					"section": x.Section, "option": x.Option, "type": x.Kind.String(), "default": x.Default,
					"role": x.Role.String(), "acted_on": x.Acted(), "help": x.Help,
				})
			}
			return o.list(cmd.OutOrStdout(), rows, []column{
				{"SECTION", attribute("section")},
				{"OPTION", attribute("option")},
				{"TYPE", attribute("type")},
				{"DEFAULT", attribute("default")},
				{"FOR", attribute("role")},
				{"ACTED ON", attribute("acted_on")},
			})
		},
	}
}

func configExample() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "example", Short: "Print a commented option file with every option that is acted on", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := roleOf(name)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), config.Example(r.config))
			return nil
		},
	}
	roleFlag(cmd, &name)
	return cmd
}
