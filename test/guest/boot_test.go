package guest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"neutrino/test/rig"
)

//go:embed machine.sh
var script string

const (
	vfMAC     = "02:00:00:00:00:11"
	vfAddress = "10.77.0.50"
	// limit is how long the first guest is waited for. The second is waited for 75 s, and twice as long as the
	// first took.
	limit = 8 * time.Minute
)

// disk writes a guest's tree into an image, with its kernel and initial RAM disk beside it.
func disk(t *testing.T, tree, share, name string) {
	t.Helper()
	command(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, filepath.Join(share, name+".img"), "1536M")
	command(t, "cp", one(t, filepath.Join(tree, "boot/vmlinuz-*")), filepath.Join(share, name+".kernel"))
	command(t, "cp", one(t, filepath.Join(tree, "boot/initrd.img-*")), filepath.Join(share, name+".initrd"))
}

// event is what happened to a guest.
type event struct {
	guest   string
	seconds int
	what    string
}

// events are those of a machine's output.
func events(output string) []event {
	var out []event
	for line := range strings.Lines(output) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "guest: ")
		f := strings.SplitN(rest, " ", 3)
		if !ok || len(f) < 3 {
			continue
		}
		if n, err := strconv.Atoi(f[1]); err == nil {
			out = append(out, event{f[0], n, f[2]})
		}
	}
	return out
}

// boot boots the guests of a share one after the other, anew where the emulator fails.
func boot(t *testing.T, share string, guests ...string) []event {
	t.Helper()
	for again := 2; ; again-- {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		code, err := rig.Machine{
			NICs: 1, Memory: 1536, Share: share, Script: script, Output: &out,
			Env: []string{"MAC=" + vfMAC, "ADDRESS=" + vfAddress, fmt.Sprintf("LIMIT=%d", int(limit.Seconds())), "GUESTS=" + strings.Join(guests, " ")},
		}.Run(ctx)
		cancel()
		if rig.EmulatorFailed(err) && again > 0 {
			t.Logf("again: %v", err)
			continue
		}
		if err != nil || code != 0 {
			t.Fatalf("the machine: exit code %d, %v:\n%s", code, err, out.String())
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the machine:\n%s", out.String())
			}
		})
		return events(out.String())
	}
}

// outcome is how one guest fared.
type outcome struct {
	offers, acks int
	after        time.Duration // to the lease
	online       time.Duration // to network-online.target; 0 = never
	waited       time.Duration // in all
	answers, ran bool          // it answers a ping; it ran to the end
	all          []string
}

func fared(all []event, name string) outcome {
	var o outcome
	for _, e := range all {
		if e.guest != name {
			continue
		}
		o.all = append(o.all, fmt.Sprintf("%d s: %s", e.seconds, e.what))
		switch {
		case strings.Contains(e.what, "sending OFFER to "+vfAddress):
			o.offers++
		case strings.Contains(e.what, "sending ACK to "+vfAddress):
			o.acks, o.after = o.acks+1, time.Duration(e.seconds)*time.Second
		case e.what == "answers":
			o.answers = true
		case e.what == "online":
			o.online = time.Duration(e.seconds) * time.Second
		case e.what == "ran":
			o.ran, o.waited = true, time.Duration(e.seconds)*time.Second
		}
	}
	return o
}

// A guest as it was made gets no address on its VF, and one that was prepared has it at the first offer.
func TestGuestHasItsAddressOnTheFirstBoot(t *testing.T) {
	wanted(t)
	bin, tree, share := neutrino(t), debian(t), t.TempDir()
	disk(t, tree, share, "unprepared")
	run(t, bin, "guest", "fix", "--root", tree, "--initramfs", "--yes")
	disk(t, tree, share, "ifupdown")
	run(t, bin, "guest", "undo", "--root", tree)
	toNetworkd(t, tree)
	run(t, bin, "guest", "fix", "--root", tree, "--initramfs", "--yes")
	disk(t, tree, share, "networkd")

	all := boot(t, share, "networkd", "ifupdown", "unprepared")
	for _, name := range []string{"ifupdown", "networkd"} {
		o := fared(all, name)
		// What is configured on hotplug has not to be there when the network counts as online. What is waited
		// for must not be waited for until a time limit, which is 30 s.
		if o.offers != 1 || o.acks != 1 || !o.answers || o.online == 0 || o.online > o.after+25*time.Second {
			t.Errorf("%s, prepared: %+v; %s", name, o, console(t, share, name))
		}
		t.Logf("%s, prepared: its address %s after QEMU's start, at offer %d; the network is online after at most %s", name, o.after, o.offers, o.online)
	}
	// One that has not booted has no address either.
	without := fared(all, "unprepared")
	if up := console(t, share, "unprepared"); without.acks != 0 || !without.ran || !strings.Contains(up, "guest login:") {
		t.Errorf("unprepared: it was to boot, and to get no address: %+v; %s", without, up)
	}
	t.Logf("ifupdown, unprepared: up, and no address within %s", without.waited)
}

// toNetworkd has systemd-networkd configure a tree's network, which was ifupdown's, and something wait for it.
func toNetworkd(t *testing.T, tree string) {
	t.Helper()
	err := os.Remove(filepath.Join(tree, "etc/network/interfaces"))
	for unit, target := range map[string]string{"systemd-networkd.service": "multi-user", "systemd-networkd-wait-online.service": "network-online"} {
		dir := filepath.Join(tree, "etc/systemd/system", target+".target.wants")
		err = errors.Join(err, os.MkdirAll(dir, 0o755), os.Symlink("/lib/systemd/system/"+unit, filepath.Join(dir, unit)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// console is the end of what a guest said.
func console(t *testing.T, share, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(share, name+".console"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}
