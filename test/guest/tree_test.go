package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/ledger/ledgertest"
	"neutrino/test/rig"
)

// packages of the guest, beside what Debian's minimal system has.
const packages = "systemd-sysv,udev,dbus,ifupdown,isc-dhcp-client,kmod,iproute2,initramfs-tools,zstd,linux-image-amd64/bookworm-backports"

const mirror = "http://deb.debian.org/debian"

// files that whoever made the image has written: the network as it is written for a virtio
// NIC under its old name, and an initial RAM disk that has what the disk needs.
var files = map[string]string{
	"etc/hostname":                       "guest\n",
	"etc/fstab":                          "/dev/vda / ext4 errors=remount-ro 0 1\n",
	"etc/network/interfaces":             "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
	"etc/initramfs-tools/conf.d/modules": "MODULES=list\n",
	"etc/initramfs-tools/modules":        "virtio_pci\nvirtio_blk\next4\n",
}

// wanted skips where the test was not asked for, or cannot be run.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("NEUTRINO_GUEST") == "" {
		t.Skip("NEUTRINO_GUEST is not set: run it by make test-guest")
	}
	if err := rig.Check(t.Context()); err != nil {
		cannot(t, err)
	}
	for _, p := range []string{"mmdebstrap", "mke2fs", "tar", "chroot"} {
		program(t, p)
	}
}

// cannot skips, but where nothing may be skipped.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("RIG_STRICT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		cannot(t, fmt.Errorf("%w: apt-get install mmdebstrap e2fsprogs tar", err))
	}
	return path
}

// command runs a program to its end, and returns what it says.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	runtime.LockOSThread() // it ends with the thread that started it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(t.Context(), program(t, name), args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// neutrino builds the product's program.
func neutrino(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "neutrino")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", bin, "neutrino/cmd/neutrino")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build neutrino: %v: %s", err, out)
	}
	return bin
}

// debian unpacks a fresh tree of the guest, made now or in an earlier run.
func debian(t *testing.T) string {
	t.Helper()
	sum := sha256.Sum256(fmt.Append(nil, packages, mirror))
	packed := filepath.Join(os.TempDir(), "neutrino-test-guest-"+hex.EncodeToString(sum[:8])+".tar")
	if _, err := os.Stat(packed); err != nil {
		start := time.Now()
		made := filepath.Join(t.TempDir(), "made.tar")
		command(t, "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", `--aptopt=APT::Install-Recommends "false"`,
			"--include="+packages, "bookworm", made, "deb "+mirror+" bookworm main", "deb "+mirror+" bookworm-backports main")
		// Under its name there is a whole one or none.
		command(t, "cp", made, packed+".new")
		if err = os.Rename(packed+".new", packed); err != nil {
			t.Fatal(err)
		}
		t.Logf("the tree was made in %s: %s", time.Since(start).Round(time.Second), packed)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "tar", "-C", tree, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", packed)
	for name, text := range files {
		file := filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "chroot", tree, "update-initramfs", "-u", "-k", "all")
	return tree
}

// one is the one file that a pattern names.
func one(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q, %v", pattern, found, err)
	}
	return found[0]
}

// walk lists every file below a root.
func walk(t *testing.T, root string) map[string]string {
	t.Helper()
	return ledgertest.Snapshot(t, root, nil)
}

// same fails where two walks differ.
func same(t *testing.T, when string, before, after map[string]string) {
	t.Helper()
	if d := ledgertest.Diff(before, after); d != "" {
		t.Fatalf("%s, files are not as they were:\n%.6000s", when, d)
	}
	t.Logf("%s: all %d files are as they were", when, len(after))
}

// try runs the product to its end.
func try(ctx context.Context, bin string, args ...string) (stdout, stderr string, err error) {
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Stdout, cmd.Stderr = &out, &words
	err = cmd.Run()
	return out.String(), words.String(), err
}

func run(t *testing.T, bin string, args ...string) string {
	t.Helper()
	out, words, err := try(t.Context(), bin, args...)
	if err != nil {
		t.Fatalf("neutrino %s: %v: %s%s", strings.Join(args, " "), err, out, words)
	}
	return out
}
