package guest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An image is fixed through libguestfs, which boots a machine of its own to open it, and looked into without it.
func TestGuestFixOfAnImage(t *testing.T) {
	wanted(t)
	for _, p := range []string{"guestmount", "guestunmount"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%v: apt-get install --no-install-recommends libguestfs-tools", err)
		}
	}
	debugfs, err := exec.LookPath("debugfs")
	if err != nil {
		t.Skipf("%v: apt-get install e2fsprogs", err)
	}
	t.Setenv("LIBGUESTFS_BACKEND", "direct")
	t.Setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg") // a /dev/kvm may be there on which it does not boot
	bin, tree := neutrino(t), debian(t)
	image := filepath.Join(t.TempDir(), "debian.img")
	command(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, image, "1536M")
	in := func(file string) string { // "" where there is none
		out, derr := exec.CommandContext(t.Context(), debugfs, "-R", "cat /"+file, image).Output()
		if derr != nil {
			t.Fatal(derr)
		}
		return string(out)
	}
	interfaces, err := os.ReadFile(filepath.Join(tree, "etc/network/interfaces"))
	if err != nil || in("etc/network/interfaces") != string(interfaces) {
		t.Fatalf("%v: the image has %q", err, in("etc/network/interfaces"))
	}
	fresh := command(t, "sha256sum", image)

	if plan := run(t, bin, "guest", "fix", image, "--dry-run"); !strings.Contains(plan, "/etc/modules-load.d/neutrino-guest.conf") {
		t.Errorf("the plan is\n%s", plan)
	}
	if now := command(t, "sha256sum", image); now != fresh {
		t.Errorf("a plan has changed the image: %s, was %s", now, fresh)
	}
	start := time.Now()
	run(t, bin, "guest", "fix", image, "--yes")
	t.Logf("the image was fixed in %s", time.Since(start).Round(time.Second))
	if got := in("etc/modules-load.d/neutrino-guest.conf"); !strings.Contains(got, "igbvf") {
		t.Errorf("the image does not have the fix: %q", got)
	}
	if got := in("etc/network/interfaces"); !strings.Contains(got, "source /etc/network/interfaces.d/neutrino") {
		t.Errorf("interfaces: %q", got)
	}
	run(t, bin, "guest", "undo", image)
	for _, name := range []string{"etc/modules-load.d/neutrino-guest.conf", "etc/network/neutrino-name", "var/lib/neutrino/guest/ledger.json"} {
		if got := in(name); got != "" {
			t.Errorf("undone, %s is %q", name, got)
		}
	}
	if got := in("etc/network/interfaces"); got != string(interfaces) {
		t.Errorf("undone, interfaces are %q", got)
	}
	command(t, "e2fsck", "-fn", image)
}
