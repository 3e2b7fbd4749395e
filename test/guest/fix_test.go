package guest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// drivers that have to be in the initial RAM disk of a prepared guest.
var drivers = []string{"igbvf", "ixgbevf", "iavf", "mlx4_core", "mlx4_en", "mlx5_core", "virtio_net"}

// inDisk lists those of the drivers that are in a tree's initial RAM disk.
func inDisk(t *testing.T, tree string) []string {
	t.Helper()
	list := command(t, "chroot", tree, "lsinitramfs", "/boot/"+filepath.Base(one(t, filepath.Join(tree, "boot/initrd.img-*"))))
	var out []string
	for _, d := range drivers {
		if strings.Contains(list, "/"+d+".ko") {
			out = append(out, d)
		}
	}
	return out
}

func TestGuestFixOfADebianTreeAndUndo(t *testing.T) {
	wanted(t)
	bin, tree := neutrino(t), debian(t)
	before := walk(t, tree)
	if had := inDisk(t, tree); len(had) > 0 {
		t.Fatalf("the fresh tree's initial RAM disk has %v already", had)
	}

	plan := run(t, bin, "guest", "fix", "--root", tree, "--initramfs", "--dry-run")
	same(t, "after the plan", before, walk(t, tree))
	start := time.Now()
	run(t, bin, "guest", "fix", "--root", tree, "--initramfs", "--yes")
	t.Logf("fixed in %s", time.Since(start).Round(time.Millisecond))
	for name, words := range map[string][]string{
		"etc/modules-load.d/neutrino-guest.conf":   drivers,
		"etc/initramfs-tools/hooks/neutrino":       drivers,
		"etc/udev/rules.d/70-neutrino-guest.rules": {`SUBSYSTEM=="pci"`, "mlx4_en"},
		"etc/network/interfaces.d/neutrino":        {"allow-hotplug /en* /eth*", "iface neutrino inet dhcp"},
		"etc/network/interfaces":                   {"auto eth0", "source /etc/network/interfaces.d/neutrino"},
	} {
		text, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Error(err)
		}
		for _, w := range words {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s does not say %q:\n%.400s", name, w, text)
			}
		}
		if _, had := before[name]; !had && strings.HasPrefix(name, "etc/") && !strings.Contains(plan, "/"+name) {
			t.Errorf("the plan does not say that /%s will be written:\n%s", name, plan)
		}
	}
	if has := inDisk(t, tree); len(has) != len(drivers) {
		t.Errorf("of %v the initial RAM disk has %v", drivers, has)
	}

	fixed := walk(t, tree)
	if again := run(t, bin, "guest", "fix", "--root", tree, "--initramfs", "--yes"); !strings.Contains(again, "nothing to do") {
		t.Errorf("a second fix says:\n%s", again)
	}
	same(t, "after a second fix", fixed, walk(t, tree))
	run(t, bin, "guest", "undo", "--root", tree)
	same(t, "after the undo", before, walk(t, tree))
}

// killed runs a fix of the tree and kills it, and nothing else, with SIGKILL: at its nth line of progress, or,
// with while, when a file of that pattern appears. It reports whether it came to that.
func killed(t *testing.T, bin, tree string, nth int, while string) (line string, hit bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, "guest", "fix", "--root", tree, "--initramfs", "--yes")
	words, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = io.Discard
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(words)
	for n := 1; lines.Scan(); n++ {
		if line = lines.Text(); n == nth && while == "" {
			hit = true
			break
		}
		if while != "" && strings.HasPrefix(line, "run ") {
			hit = appears(t, filepath.Join(tree, while))
			break
		}
	}
	if hit {
		if err = cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.Copy(io.Discard, words) // whoever else holds it has ended, too
	err = cmd.Wait()
	if hit != (err != nil) {
		t.Fatalf("killed: %v, and it ended with %v", hit, err)
	}
	return line, hit
}

// appears waits until a directory has a file of a pattern.
func appears(t *testing.T, pattern string) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err = unix.InotifyAddWatch(fd, filepath.Dir(pattern), unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		found, gerr := filepath.Glob(pattern)
		if gerr != nil {
			t.Fatal(gerr)
		}
		if len(found) > 0 {
			return true
		}
		if _, err = f.Read(buf); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGuestKilledFixIsUndone(t *testing.T) {
	wanted(t)
	bin, tree := neutrino(t), debian(t)
	before := walk(t, tree)
	for nth := 1; ; nth++ {
		line, hit := killed(t, bin, tree, nth, "")
		if !hit {
			if nth < 4 {
				t.Errorf("it shows %d steps", nth-1)
			}
			break
		}
		back(t, bin, tree, fmt.Sprintf("killed at %q", line), before)
	}
	back(t, bin, tree, "not killed", before)
	if _, hit := killed(t, bin, tree, 0, "boot/initrd.img-*.new"); !hit {
		t.Fatal("the initial RAM disk was not being written")
	}
	back(t, bin, tree, "killed while the initial RAM disk was written", before)
}

// back undoes, and compares. A fix that was killed before it wrote its ledger has nothing to undo.
func back(t *testing.T, bin, tree, when string, before map[string]string) {
	t.Helper()
	out, words, err := try(t.Context(), bin, "guest", "undo", "--root", tree)
	if err != nil {
		if _, serr := os.Stat(filepath.Join(tree, "var/lib/neutrino/guest/ledger.json")); serr == nil {
			t.Fatalf("%s: undo: %v: %s%s", when, err, out, words)
		}
	}
	same(t, when+", undone", before, walk(t, tree))
}
