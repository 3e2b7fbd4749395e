package guest

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"neutrino/internal/ledger"
)

// LedgerDir is where it is kept what a guest was before.
const LedgerDir = "var/lib/neutrino/guest"

// Fix is a guest's tree, and what has to be done to it.
type Fix struct {
	Root  string
	Facts Facts
	Made
	Diffs    []ledger.Diff
	Programs []string // that will run in it
	work     ledger.Work
}

// Plan looks at a tree and says what is missing. With rebuild, the guest's own program makes its initial
// RAM disks anew, inside the tree. Nothing is changed.
//
// Errors: ErrNoGuest, ledger.ErrBad.
func Plan(root string, rebuild bool) (*Fix, error) {
	facts, err := Look(root)
	if err != nil {
		return nil, err
	}
	f := &Fix{Root: root, Facts: facts, Made: Make(facts), Programs: []string{}}
	l := f.ledger()
	if f.Diffs, err = l.Plan(f.Files); err != nil {
		return nil, err
	}
	r, err := l.Load()
	if err != nil {
		return nil, err
	}
	f.work.Changes = f.Files
	for _, m := range f.Makers {
		cut := false
		if r != nil {
			for _, x := range r.Makers {
				cut = cut || x.Running && strings.Join(x.Argv, " ") == strings.Join(m.Argv, " ")
			}
		}
		changed := false
		for _, d := range f.Diffs {
			changed = changed || d.Why == whyDisk
		}
		switch name := strings.Join(m.Argv, " "); {
		case !cut && !changed:
		case !rebuild:
			f.Notes = append(f.Notes, "the initial RAM disk is not made anew: --initramfs does it, or have the guest run: "+name)
		default:
			f.work.Makers, f.work.Always = append(f.work.Makers, m), f.work.Always || cut
			f.Programs = append(f.Programs, name)
		}
	}
	return f, nil
}

func (f *Fix) ledger() *ledger.Ledger { return ledger.New(f.Root, LedgerDir) }

// Nothing reports whether the guest is prepared already.
func (f *Fix) Nothing() bool { return len(f.Diffs)+len(f.Programs) == 0 }

// Run carries it out. Before anything is changed, what was there is on disk.
func (f *Fix) Run(ctx context.Context, tell func(step string)) error {
	w := f.work
	w.Progress, w.Run = tell, inside(f.Root)
	return f.ledger().Apply(ctx, w)
}

// Undo brings a guest's tree back to what it was.
//
// Errors: those of ledger.Undo.
func Undo(ctx context.Context, root string, force bool, tell func(step string)) ([]ledger.Outcome, error) {
	return ledger.New(root, LedgerDir).Undo(ctx, ledger.Back{Force: force, Run: inside(root), Progress: tell})
}

// Record is what a guest's ledger says; nil = it was not fixed.
func Record(root string) (*ledger.Record, error) { return ledger.New(root, LedgerDir).Load() }

// inside runs a guest's program in its tree: in namespaces of its own, where the kernel's own file systems are
// mounted below the tree, and that die with neutrino.
func inside(root string) func(context.Context, []string) error {
	return func(ctx context.Context, argv []string) error {
		runtime.LockOSThread() // the signal comes when the thread ends
		defer runtime.UnlockOSThread()
		var cmd *exec.Cmd
		if filepath.Clean(root) == "/" {
			program, err := exec.LookPath(argv[0])
			if err != nil {
				return fmt.Errorf("%w: it is part of the system: install it", err)
			}
			cmd = exec.CommandContext(ctx, program, argv[1:]...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
		} else {
			sh, err := exec.LookPath("sh")
			if err != nil {
				return err
			}
			cmd = exec.CommandContext(ctx, sh, append([]string{"-c", enter, root}, argv...)...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		}
		cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "TERM=dumb"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			return fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-5):], "; "))
		}
		return nil
	}
}

// enter is the way into a tree. The mounts are the namespace's own and go with it; so does what the program
// leaves in directories for what does not last, all the more when it is killed.
const enter = `set -e
mount --make-rprivate /
mount --rbind /dev "$0/dev"
mount -t proc proc "$0/proc"
mount -t sysfs -o ro sysfs "$0/sys"
for d in run tmp var/tmp; do
	[ ! -d "$0/$d" ] || mount -t tmpfs tmpfs "$0/$d"
done
exec chroot "$0" "$@"
`
