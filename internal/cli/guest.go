package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/guest"
	"neutrino/internal/ledger"
)

// guestTree is `neutrino guest`: which guest is meant.
type guestTree struct {
	o    *output
	root string
}

// guestCommand is `neutrino guest`.
func guestCommand(o *output) *cobra.Command {
	g := &guestTree{o: o}
	cmd := group("guest", "Have guests on VFs get their address on the first boot", g.fix(), g.undo(), g.cloudConfig(), g.check())
	cmd.GroupID = "host"
	return cmd
}

// with opens the guest that is named by an image or by --root, and closes it after f.
func (g *guestTree) with(cmd *cobra.Command, args []string, changes bool, f func(root string) error) error {
	switch {
	case len(args) == 1 && g.root != "":
		return usagef("an image and --root: name one of them")
	case len(args) == 0 && g.root == "":
		return usagef("which guest: name a disk image, a mounted tree with --root DIR, or --root / inside of the guest")
	case changes && os.Geteuid() != 0:
		return coded{errRefused, cmd.CommandPath() + " changes a guest's files: it has to be run by root (sudo); --dry-run shows the plan"}
	}
	if len(args) == 0 {
		return guestError(f(g.root))
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "open %s\n", args[0])
	root, unmount, err := guest.Mount(cmd.Context(), args[0], changes)
	if err != nil {
		return guestError(err)
	}
	err = f(root)
	fmt.Fprintf(cmd.ErrOrStderr(), "close %s\n", args[0])
	return guestError(errors.Join(err, unmount()))
}

// guestError gives what internal/guest says its exit code.
func guestError(err error) error {
	for _, k := range []struct{ is, kind error }{
		{guest.ErrNoGuest, errNotFound},
		{guest.ErrNoTool, errUnavailable},
		{ledger.ErrNothing, errNotFound},
		{ledger.ErrLeft, errRefused},
		{ledger.ErrBusy, errUnavailable},
		{os.ErrNotExist, errNotFound},
		{os.ErrPermission, errRefused},
	} {
		if errors.Is(err, k.is) {
			return coded{k.kind, err.Error()}
		}
	}
	return err
}

func (g *guestTree) rootFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&g.root, "root", "", "a mounted guest in `DIR`, not an image; / inside of the guest")
	_ = cmd.MarkFlagDirname("root")
}

func (g *guestTree) fix() *cobra.Command {
	var dry, yes, rebuild bool
	cmd := &cobra.Command{
		Use: "fix [IMAGE]", Short: "Prepare a guest's image or tree for VFs", Args: args(0, 1, "a disk image"),
		Long: "Prepare a guest for VFs: their drivers are loaded before anything wants the network, and are in the initial\n" +
			"RAM disk; DHCP is asked for on whatever the VF is called (en*, eth*); a NIC that is not there is not waited\n" +
			"for. What configures the guest's network is found: systemd-networkd, NetworkManager, netplan, ifupdown.\n" +
			"Names stay as the guest makes them: a VF's depends on the slot that the host puts it in.\n\n" +
			"The plan is shown first. What was there before is kept in the guest, in /var/lib/neutrino/guest: `neutrino\n" +
			"guest undo` puts it back byte for byte. An IMAGE is opened with guestmount (libguestfs).",
		Example: "  neutrino guest fix debian-12.qcow2\n  neutrino guest fix --root /mnt --initramfs --yes\n  neutrino guest fix --root /            # inside of a guest",
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.with(cmd, a, !dry, func(root string) error {
				f, err := guest.Plan(root, rebuild)
				if err != nil {
					return err
				}
				return g.carryOut(cmd, f, dry, yes)
			})
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	g.rootFlag(cmd)
	f.BoolVar(&rebuild, "initramfs", false, "make the guest's initial RAM disks anew too, with its own program")
	f.BoolVar(&dry, "dry-run", false, "show the plan, and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// fixed is a fix for programs.
type fixed struct {
	OS       string          `json:"os"`
	Managers []guest.Manager `json:"managers"`
	Files    []plannedFile   `json:"files"`
	Programs []string        `json:"programs"`
	Notes    []string        `json:"notes"`
	Done     bool            `json:"done"`
}

func (g *guestTree) carryOut(cmd *cobra.Command, f *guest.Fix, dry, yes bool) error {
	out := cmd.OutOrStdout()
	structured := g.o.format.String() != "table"
	text := out
	if structured {
		text = io.Discard
	}
	showFix(text, f)
	doing := !dry && !f.Nothing()
	if doing && !yes {
		if err := ask(cmd, "Do it?"); err != nil {
			return err
		}
	}
	if doing {
		progress := cmd.ErrOrStderr()
		if err := f.Run(cmd.Context(), func(step string) { fmt.Fprintln(progress, step) }); err != nil {
			return fmt.Errorf("%w\nwhat was done until then stays: run it again, or neutrino guest undo takes it back", err)
		}
		fmt.Fprintln(text, "done; neutrino guest undo takes it back")
	}
	if !structured {
		return nil
	}
	j := fixed{OS: f.Facts.OS.Name, Managers: f.Facts.Managers, Files: plannedFiles(f.Diffs), Programs: f.Programs, Notes: f.Notes, Done: doing}
	return g.o.plain(out, j, nil)
}

func showFix(out io.Writer, f *guest.Fix) {
	fmt.Fprintf(out, "%s; network by %v\n", orDash(f.Facts.OS.Name), f.Facts.Managers)
	for _, n := range f.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	if f.Nothing() {
		fmt.Fprintln(out, "it is so already: nothing to do")
		return
	}
	for _, d := range f.Diffs {
		fmt.Fprintf(out, "\n%s:\n%s", d.Why, fileDiff(d))
	}
	for _, p := range f.Programs {
		fmt.Fprintf(out, "\nthen, in the guest's tree: %s\n", p)
	}
	fmt.Fprintln(out)
}

func (g *guestTree) undo() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use: "undo [IMAGE]", Short: "Bring a guest back to what it was before `neutrino guest fix`", Args: args(0, 1, "a disk image"),
		Long: "Bring a guest back to what it was before the first `neutrino guest fix`, byte for byte. A file that\n" +
			"somebody else has changed since is left, and the exit code is 4; --force puts it back too.",
		RunE: func(cmd *cobra.Command, a []string) error {
			return g.with(cmd, a, true, func(root string) error {
				progress := cmd.ErrOrStderr()
				out, err := guest.Undo(cmd.Context(), root, force, func(step string) { fmt.Fprintln(progress, step) })
				for _, x := range out {
					if x.Fate == ledger.Theirs {
						fmt.Fprintf(progress, "/%s was changed by somebody else since: left\n", x.Path)
					}
				}
				if g.o.format.String() != "table" && out != nil {
					return errors.Join(err, g.o.plain(cmd.OutOrStdout(), out, nil))
				}
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), "done: the guest is as it was")
				}
				return err
			})
		},
	}
	g.rootFlag(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "put back also files that somebody else has changed since")
	return cmd
}

func (g *guestTree) cloudConfig() *cobra.Command {
	var manager, initramfs string
	cmd := &cobra.Command{
		Use: "cloud-config", Short: "Print what `fix` does as user data for cloud-init", Args: noArgs,
		Long: "Print what `fix` does as user data for cloud-init, for images that cannot be changed. It has to be on a\n" +
			"config drive: over the network that needs the driver it would come too late.",
		Example: "  neutrino guest cloud-config --manager systemd-networkd > user-data\n  openstack server create ... --user-data user-data --config-drive True",
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := guest.FactsFor(guest.Manager(manager), initramfs)
			if err != nil {
				return usagef("%s", err)
			}
			text, err := guest.CloudConfig(f)
			if err == nil {
				fmt.Fprint(cmd.OutOrStdout(), text)
			}
			return err
		},
	}
	names := []string{string(guest.Networkd), string(guest.NetworkManager), string(guest.Netplan), string(guest.Ifupdown)}
	cmd.Flags().StringVar(&manager, "manager", names[0], "what configures the guest's network: systemd-networkd, NetworkManager, netplan or ifupdown")
	cmd.Flags().StringVar(&initramfs, "initramfs", "initramfs-tools", "what makes its initial RAM disk: initramfs-tools, dracut, or none")
	_ = cmd.RegisterFlagCompletionFunc("manager", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (g *guestTree) check() *cobra.Command {
	var ask time.Duration
	var strict bool
	cmd := &cobra.Command{
		Use: "check", Short: "Inside of a guest: say why it has no address", Args: noArgs,
		Long: "Inside of a guest: say why it has no address. Driver, MAC, link, DHCP clients; and with root, whether a DHCP\n" +
			"server offers one (no lease is taken).\n\n" +
			"Exit codes: 0 nothing wrong was found, 7 warnings, 1 something fails; with --strict also warnings and\n" +
			"unknowns give 1.",
		Example: "  neutrino guest check\n  neutrino guest check --ask 30s -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := guest.Observe(cmd.Context(), guest.Ask{For: ask, Progress: func(what string) { fmt.Fprintf(cmd.ErrOrStderr(), "%s ...\n", what) }})
			if err != nil {
				return err
			}
			r := guest.Judge(s)
			if err = printReport(cmd.OutOrStdout(), g.o, r); err != nil {
				return err
			}
			return fitness("guest", r, strict)
		},
	}
	cmd.Flags().DurationVar(&ask, "ask", 10*time.Second, "how long to ask for an offer on a NIC without address; 0 = do not ask")
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings and unknowns are failures too")
	return cmd
}
