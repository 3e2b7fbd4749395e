package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"neutrino/internal/hostprep"
	"neutrino/internal/ledger"
	"neutrino/internal/mstconfig"
)

// hostPrepare is `neutrino host prepare` and `neutrino host undo`.
type hostPrepare struct {
	vfs *hostVFs
	o   *output
}

func (h *hostPrepare) host() hostprep.Host {
	out := h.vfs.host(0)
	if h.vfs.root == "" {
		out.Firmware = cardFirmware{}
	}
	return out
}

// cardFirmware is that of this machine's cards.
type cardFirmware struct{}

// Query implements hostprep.Firmware.
func (cardFirmware) Query(ctx context.Context, slot string) (mstconfig.Card, error) {
	return mstconfig.Query(ctx, slot)
}

// Set implements hostprep.Firmware.
func (cardFirmware) Set(ctx context.Context, slot string, values map[string]string) error {
	return mstconfig.Set(ctx, slot, values)
}

// flags are those that both commands have.
func (h *hostPrepare) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&h.vfs.root, "root", "", "a mounted `DIR` that is to be prepared, not this machine")
	h.vfs.l.flag(cmd)
}

// needRoot refuses before anything is planned that cannot be carried out.
func (h *hostPrepare) needRoot(cmd *cobra.Command, dry bool) error {
	if !dry && h.vfs.root == "" && os.Geteuid() != 0 {
		return coded{errRefused, cmd.CommandPath() + " changes this machine: it has to be run by root (sudo); --dry-run shows the plan"}
	}
	return nil
}

func (h *hostPrepare) prepare() *cobra.Command {
	w := hostprep.Prep{Options: map[string]string{}}
	var mode, ports, probe string
	var options []string
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "prepare --pf PF --vfs N", Short: "Prepare this host for VFs: kernel, modules, boot, and the VFs themselves", Args: noArgs,
		Long: "Prepare this host for VFs: the kernel's command line (GRUB, systemd-boot), modules, options of mlx4_core,\n" +
			"the number of VFs now and at each boot, what keeps NetworkManager and networkd from VFs, and firmware\n" +
			"settings with --firmware. The plan is shown first: every file as a diff, what traffic stops meanwhile,\n" +
			"and whether a reboot is needed. neutrino never reboots.\n\n" +
			"What was there before is kept in /var/lib/neutrino/prepare: `neutrino host undo` puts it back byte for\n" +
			"byte, also after a crash or a power cut in the midst of it. What is so already is not done again.\n\n" +
			"Modes: hostdev gives VFs to guests (VFIO; needs an IOMMU), macvtap leaves them to the host with a macvtap\n" +
			"for each guest (needs none), both is for ports of either kind.",
		Example: "  neutrino host prepare --pf eth6 --vfs 16 --dry-run\n  neutrino host prepare --pf eth6 --vfs 16 --mode both --yes\n" +
			"  neutrino host prepare --pf eth6 --vfs 16 --mlx4-ports 8,8,0      # ConnectX-3: 8 VFs on each port",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.needRoot(cmd, dry); err != nil {
				return err
			}
			var err error
			if w.Mode, err = hostprep.ParseMode(mode); err != nil {
				return usagef("%s", err)
			}
			if w.VFs < 1 {
				return usagef("--vfs %d: want 1 or more", w.VFs)
			}
			if w.Ports, err = perPort("--mlx4-ports", ports); err != nil {
				return err
			}
			if w.Probe, err = perPort("--probe-vfs", probe); err != nil {
				return err
			}
			for _, o := range options {
				name, value, ok := strings.Cut(o, "=")
				if !ok {
					return usagef("--module-option %q: want name=value", o)
				}
				w.Options[name] = value
			}
			p, err := hostprep.Prepare(cmd.Context(), h.host(), w)
			if err != nil {
				return prepareError(err)
			}
			return prepareError(h.carryOut(cmd, p, w, dry, yes))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&w.PF, "pf", "", "the `NIC`, by name or PCI address")
	f.IntVar(&w.VFs, "vfs", 0, "how many VFs it is to have")
	f.StringVar(&mode, "mode", string(hostprep.HostDev), "what VFs are for: hostdev, macvtap or both")
	f.StringVar(&ports, "mlx4-ports", "", "ConnectX-3: VFs of port 1, of port 2 and of both, `A,B,C` (default all on the port that is named)")
	f.StringVar(&probe, "probe-vfs", "", "ConnectX-3: how many of them the host drives itself, `N` or A,B,C (default all for macvtap and both, none for hostdev)")
	f.StringArrayVar(&options, "module-option", nil, "ConnectX-3: an option of mlx4_core, `name=value` (more than once)")
	f.BoolVar(&w.KeepLine, "keep-kernel-line", false, "leave the kernel's command line alone")
	f.BoolVar(&w.Firmware, "firmware", false, "set SRIOV_EN, NUM_OF_VFS and LINK_TYPE in the card's firmware too (mstconfig)")
	f.BoolVar(&w.ManagementToo, "even-management", false, "although this host is reached over the NIC")
	f.BoolVar(&dry, "dry-run", false, "show the plan, and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	h.flags(cmd)
	_ = cmd.MarkFlagRequired("pf")
	_ = cmd.MarkFlagRequired("vfs")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"hostdev", "macvtap", "both"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("pf", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return h.vfs.complete(nil)
	})
	return cmd
}

// perPort reads N or A,B,C; nil = nothing was asked for.
func perPort(flag, text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var out []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || len(out) == 3 {
			return nil, usagef("%s %q: want N, or three numbers: VFs of port 1, of port 2, of both", flag, text)
		}
		out = append(out, n)
	}
	return out, nil
}

// prepareError gives what prepare and undo say its exit code.
func prepareError(err error) error {
	for _, k := range []struct{ is, kind error }{
		{hostprep.ErrHalfDone, nil},
		{ledger.ErrNothing, errNotFound},
		{ledger.ErrLeft, errRefused},
		{ledger.ErrBusy, errUnavailable},
		{hostprep.ErrContradiction, errRefused},
		{hostprep.ErrLoader, errRefused},
		{hostprep.ErrNoProgram, errRefused},
		{hostprep.ErrBadOption, errUsage},
	} {
		switch {
		case !errors.Is(err, k.is):
		case k.kind == nil:
			return err
		default:
			return coded{k.kind, err.Error()}
		}
	}
	return hostError(err)
}

// planned is a preparation for programs.
type planned struct {
	*hostprep.Preparation
	VFs   int           `json:"vfs"`
	Mode  hostprep.Mode `json:"mode"`
	Files []plannedFile `json:"files"`
	Steps []string      `json:"vf_steps"`
	Done  bool          `json:"done"`
}

type plannedFile struct {
	Path   string `json:"path"`
	Why    string `json:"why"`
	Link   string `json:"link,omitempty"`
	Before string `json:"before"`
	After  string `json:"after"`
}

func plannedFiles(diffs []ledger.Diff) []plannedFile {
	out := []plannedFile{}
	for _, d := range diffs {
		out = append(out, plannedFile{"/" + d.Path, d.Why, d.Want.Target, string(d.Before), string(d.Want.Data)})
	}
	return out
}

func planOf(p *hostprep.Preparation, w hostprep.Prep) planned {
	out := planned{Preparation: p, VFs: w.VFs, Mode: w.Mode, Files: plannedFiles(p.Files), Steps: []string{}}
	if p.VFs != nil {
		for _, s := range p.VFs.Steps {
			out.Steps = append(out.Steps, s.Describe)
		}
	}
	return out
}

func (h *hostPrepare) carryOut(cmd *cobra.Command, p *hostprep.Preparation, w hostprep.Prep, dry, yes bool) error {
	out := cmd.OutOrStdout()
	structured := h.o.format.String() != "table"
	text := out
	if structured {
		text = io.Discard
	}
	if err := showPlan(text, p, w); err != nil {
		return err
	}
	doing := !dry && !p.Nothing()
	if doing && !yes {
		if err := ask(cmd, "Do it?"); err != nil {
			return err
		}
	}
	if doing {
		progress := cmd.ErrOrStderr()
		if err := p.Run(cmd.Context(), func(step string) { fmt.Fprintln(progress, step) }); err != nil {
			return err
		}
		fmt.Fprintln(text, "done; neutrino host undo takes it back")
		if len(p.Reboot) > 0 {
			fmt.Fprintln(text, "reboot now, then: neutrino host check")
		}
	}
	if structured {
		j := planOf(p, w)
		j.Done = doing
		return h.o.plain(out, j, []string{p.Slot})
	}
	return nil
}

// showPlan prints a plan for people.
func showPlan(out io.Writer, p *hostprep.Preparation, w hostprep.Prep) error {
	fmt.Fprintf(out, "%s (%s): %d VFs, %s\n", p.PF, p.Slot, w.VFs, w.Mode)
	for _, n := range p.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	if p.Nothing() {
		fmt.Fprintln(out, "it is so already: nothing to do")
		return nil
	}
	for _, d := range p.Files {
		fmt.Fprintf(out, "\n%s:\n%s", d.Why, fileDiff(d))
	}
	fmt.Fprintln(out)
	n := 0
	step := func(format string, args ...any) {
		n++
		fmt.Fprintf(out, "%d. %s\n", n, fmt.Sprintf(format, args...))
	}
	if len(p.Files) > 0 {
		step("write %d files, as above", len(p.Files))
	}
	for _, s := range p.Programs {
		step("run %s", s)
	}
	for _, s := range p.Modules {
		step("load %s", s)
	}
	for _, k := range p.Firmware {
		step("set %s from %s to %s in the firmware of %s", k.Key, k.Was, k.To, p.PF)
	}
	if p.VFs != nil {
		for _, s := range p.VFs.Steps {
			step("%s", s.Describe)
		}
	}
	if len(p.Cuts) == 0 {
		fmt.Fprintln(out, "traffic: none stops")
	}
	for _, c := range p.Cuts {
		fmt.Fprintf(out, "traffic: %s\n", c)
	}
	if len(p.Reboot) == 0 {
		fmt.Fprintln(out, "reboot: not needed")
	}
	for _, r := range p.Reboot {
		fmt.Fprintf(out, "reboot: needed, %s\n", r)
	}
	return nil
}

// fileDiff is what becomes of a file, as diff -u has it.
func fileDiff(d ledger.Diff) string {
	name := "/" + d.Path
	switch {
	case d.Want.Kind == ledger.Symlink:
		return fmt.Sprintf("+++ %s -> %s\n", name, d.Want.Target)
	case d.Want.Kind == ledger.Absent:
		return fmt.Sprintf("--- %s\n", name)
	case d.Now.Kind == ledger.Absent:
		return fmt.Sprintf("+++ %s (new)\n%s", name, indented("+", d.Want.Data))
	}
	text := diff.Diff(name, d.Before, name, d.Want.Data)
	if _, rest, ok := bytes.Cut(text, []byte("\n")); ok { // its first line repeats the names
		text = rest
	}
	return string(text)
}

func indented(with string, data []byte) string {
	var b strings.Builder
	for line := range strings.Lines(string(data)) {
		b.WriteString(with + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

func (h *hostPrepare) undo() *cobra.Command {
	w := hostprep.UndoWant{}
	var dry, yes bool
	cmd := &cobra.Command{
		Use: "undo", Short: "Bring this host back to what it was before `neutrino host prepare`", Args: noArgs,
		Long: "Bring this host back to what it was before the first `neutrino host prepare`: VFs and their drivers,\n" +
			"firmware settings, and every file byte for byte. It may run again after a crash.\n\n" +
			"VFs that are in use are not taken away: the command names who uses them. A file that somebody else has\n" +
			"changed since is left, and the exit code is 4; --force puts it back too.",
		Example: "  neutrino host undo --dry-run\n  neutrino host undo --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := h.needRoot(cmd, dry); err != nil {
				return err
			}
			u, err := hostprep.PlanUndo(cmd.Context(), h.host(), w)
			if errors.Is(err, ledger.ErrNothing) {
				fmt.Fprintln(h.text(cmd), "this host was not prepared by neutrino: nothing to undo")
				err = nil
				if !dry {
					err = h.host().Tidy(cmd.Context())
				}
				return errors.Join(prepareError(err), h.undone(cmd, hostprep.Undone{Files: []ledger.Outcome{}, Notes: []string{}, Reboot: []string{}}))
			}
			if err != nil {
				return prepareError(err)
			}
			h.showUndo(cmd, u)
			if dry {
				return h.undone(cmd, hostprep.Undone{Files: []ledger.Outcome{}, Notes: u.Notes, Reboot: u.Reboot})
			}
			if !yes {
				if err = ask(cmd, "Put it back?"); err != nil {
					return err
				}
			}
			progress := cmd.ErrOrStderr()
			done, err := u.Run(cmd.Context(), func(step string) { fmt.Fprintln(progress, step) })
			for _, f := range done.Files {
				if f.Fate == ledger.Theirs {
					fmt.Fprintf(progress, "/%s was changed by somebody else since: left\n", f.Path)
				}
			}
			if err == nil {
				fmt.Fprintln(h.text(cmd), "done: this host is as it was")
			}
			return errors.Join(prepareError(err), h.undone(cmd, done))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&dry, "dry-run", false, "list what would be put back, and do nothing")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask")
	f.BoolVar(&w.Force, "force", false, "put back also what somebody else has changed since")
	f.BoolVar(&w.KeepVFs, "keep-vfs", false, "leave VFs as they are until the next boot")
	f.BoolVar(&w.ManagementToo, "even-management", false, "although this host is reached over the NIC")
	h.flags(cmd)
	return cmd
}

// text is where words for people go: nowhere when a program reads.
func (h *hostPrepare) text(cmd *cobra.Command) io.Writer {
	if h.o.format.String() != "table" {
		return io.Discard
	}
	return cmd.OutOrStdout()
}

// showUndo prints what will be done.
func (h *hostPrepare) showUndo(cmd *cobra.Command, u *hostprep.Undoing) {
	out := h.text(cmd)
	for _, n := range u.Notes {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	for _, s := range u.Steps {
		fmt.Fprintln(out, s)
	}
	for _, e := range u.Files {
		fmt.Fprintf(out, "/%s: %s\n", e.Path, wasText(e.Was))
	}
	for _, r := range u.Reboot {
		fmt.Fprintf(out, "reboot: needed, %s\n", r)
	}
}

// undone prints what a program reads.
func (h *hostPrepare) undone(cmd *cobra.Command, u hostprep.Undone) error {
	if h.o.format.String() == "table" {
		return nil
	}
	return h.o.plain(cmd.OutOrStdout(), u, nil)
}

// wasText says what a file goes back to.
func wasText(s ledger.State) string {
	switch s.Kind {
	case ledger.Absent:
		return "goes"
	case ledger.Symlink:
		return "a link to " + s.Target + " again"
	}
	return fmt.Sprintf("as it was (%o, %d:%d, %s)", s.Mode, s.UID, s.GID, s.Time.Format("2006-01-02 15:04:05"))
}
