package tune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"neutrino/internal/pci"
)

// apply tunes for a profile.
func apply(t testing.TB, h *Host, w Want) []Done {
	t.Helper()
	d, err := h.Draft(w)
	must(t, err)
	done, err := d.Apply(t.Context(), nil)
	must(t, err)
	return done
}

func undo(t testing.TB, h *Host) map[Fate]int {
	t.Helper()
	all, err := h.Undo(context.WithoutCancel(t.Context()), false)
	must(t, err)
	count := map[Fate]int{}
	for _, u := range all {
		count[u.Fate]++
	}
	return count
}

// texts are findings in words.
func texts(findings []Finding) string {
	var out strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&out, "%s: %s: %s -> %s", f.Rule, f.What, f.Now, f.Want)
		if f.Verdict != Change {
			fmt.Fprintf(&out, " %s %s", f.Verdict, f.Reason)
		}
		out.WriteString("\n")
	}
	return out.String()
}

func TestLatencyOfASmallMachine(t *testing.T) {
	h := small(t)
	before := state(t, h)
	apply(t, h, Want{Profile: Latency, Persist: true})
	after := state(t, h)
	for what, want := range map[string]string{
		"ens3f0 coalesce rx-usecs": "1", // what the driver makes of 0
		"ens3f0 coalesce tx-usecs": "3", // igb has none of its own
		irqFile(34):                "2-3,6-7",
		irqFile(35):                "2",
		irqFile(36):                "3",
		irqFile(40):                "6", // the guest's VF goes on after the PF
		"sys/class/net/ens3f0/queues/tx-0/xps_cpus":                         "55",
		"sys/class/net/ens3f0/queues/tx-1/xps_cpus":                         "aa",
		"sys/devices/system/cpu/cpu7/cpufreq/scaling_governor":              "performance", // both sockets
		"sys/devices/system/cpu/cpu2/power/pm_qos_resume_latency_us":        "2",
		"sys/devices/system/cpu/cpu0/power/pm_qos_resume_latency_us":        "0", // far from the NIC
		"sys/kernel/mm/transparent_hugepage/enabled":                        "madvise",
		"proc/sys/net/core/busy_poll":                                       "50",
		"proc/sys/net/core/netdev_max_backlog":                              "1000",
		"sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference": "performance",
	} {
		have, ok := after[what]
		if !ok { // behind a link
			have, _ = h.text(what)
		}
		if have != want {
			t.Errorf("%s is %q, want %q (it was %q)", what, have, want, before[what])
		}
	}
	s, err := h.Status()
	must(t, err)
	for _, v := range s.Values {
		if v.As != "kept" {
			t.Errorf("%s: %s", v.What, v.As)
		}
	}
	undo(t, h)
	if d := cmp.Diff(settled(before), settled(state(t, h))); d != "" {
		t.Error(d)
	}
}

// settled takes the choice out of files that a tree of plain files does not keep the
// other words of, and masks' zeros.
func settled(all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if strings.Contains(k, "transparent_hugepage") {
			v = chosen(v)
		}
		if strings.HasSuffix(k, "ps_cpus") {
			v = setOfMask(v)
		}
		out[k] = v
	}
	return out
}

// Whatever is applied after whatever, stopped anywhere: undo leads back to the start.
func TestUndoIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := small(t)
		before := state(t, h)
		for range rapid.IntRange(1, 4).Draw(rt, "applies") {
			w := Want{Profile: rapid.SampledFrom(Profiles).Draw(rt, "profile").Name, Persist: true}
			if rapid.Bool().Draw(rt, "pinned") {
				w = Want{NICs: []string{"ens3f0"}, Pins: map[string]string{"ens3f0": rapid.SampledFrom([]string{"0", "0-1,5", "7"}).Draw(rt, "cpus")}}
			}
			d, err := h.Draft(w)
			must(t, err)
			stop, at := rapid.IntRange(1, 80).Draw(rt, "stop"), 0
			ctx, cancel := context.WithCancel(t.Context())
			_, err = d.Apply(ctx, func(Done) {
				if at++; at == stop {
					cancel()
				}
			})
			cancel()
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		undo(t, h)
		if d := cmp.Diff(settled(before), settled(state(t, h))); d != "" {
			rt.Fatal(d)
		}
		if _, err := os.Stat(h.path(DefaultDir)); !errors.Is(err, os.ErrNotExist) {
			rt.Fatalf("the record is still there: %v", err)
		}
		if _, err := h.Undo(t.Context(), false); !errors.Is(err, ErrNotTuned) {
			rt.Fatalf("undone twice: %v", err)
		}
	})
}

func TestAppliedTwiceChangesNothingMore(t *testing.T) {
	for _, p := range Profiles {
		h := small(t)
		apply(t, h, Want{Profile: p.Name, Persist: true})
		if again := apply(t, h, Want{Profile: p.Name, Persist: true}); len(again) > 0 {
			t.Errorf("%s: %+v", p.Name, again)
		}
	}
}

// From one profile to another is as if only the other had been applied.
func TestAnotherProfileLeavesNothingOfTheFirst(t *testing.T) {
	for _, a := range Profiles {
		for _, b := range Profiles {
			h, alone := small(t), small(t)
			apply(t, h, Want{Profile: a.Name})
			apply(t, h, Want{Profile: b.Name})
			apply(t, alone, Want{Profile: b.Name})
			if d := cmp.Diff(settled(state(t, alone)), settled(state(t, h))); d != "" {
				t.Errorf("%s, then %s: %s", a.Name, b.Name, d)
			}
		}
	}
}

func tuneAndDie(root, after string) {
	left, _ := strconv.Atoi(after)
	h := &Host{Root: root, Sys: &pci.Sys{Root: root}}
	d, err := h.Draft(Want{Profile: Latency, Persist: true})
	if err == nil {
		_, err = d.Apply(context.Background(), func(Done) {
			if left--; left == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		})
	}
	fmt.Fprintln(os.Stderr, "was not killed:", err)
	os.Exit(3)
}

func TestKilledInTheMiddle(t *testing.T) {
	for _, after := range []string{"1", "7", "19"} {
		h := small(t)
		h.Ethtool = nil
		before := state(t, h)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), "TUNE_AND_DIE="+h.Root, "DIE_AFTER="+after)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != -1 {
			t.Fatalf("%v: %s", err, out)
		}
		if cmp.Equal(settled(before), settled(state(t, h))) {
			t.Error("it had changed nothing when it was killed")
		}
		undo(t, h)
		if d := cmp.Diff(settled(before), settled(state(t, h))); d != "" {
			t.Errorf("killed after %s: %s", after, d)
		}
	}
}

func TestWhatOthersSetIsLeft(t *testing.T) {
	h := small(t)
	apply(t, h, Want{Profile: Latency, Persist: true})
	files(t, h.Root, map[string]string{"proc/sys/net/core/busy_poll": "77"})
	s, err := h.Status()
	must(t, err)
	drifted := 0
	for _, v := range s.Values {
		if v.As == "drifted" {
			drifted++
		}
	}
	if drifted != 1 {
		t.Errorf("%d values drifted", drifted)
	}
	all, err := h.Undo(t.Context(), false)
	if !errors.Is(err, ErrNotUndone) || len(all) < 10 {
		t.Errorf("%d values, %v", len(all), err)
	}
	if v, _ := h.text("proc/sys/net/core/busy_poll"); v != "77" {
		t.Errorf("busy_poll is %s", v)
	}
	if _, err = h.Undo(t.Context(), true); err != nil {
		t.Error(err)
	}
	if v, _ := h.text("proc/sys/net/core/busy_poll"); v != "0" {
		t.Errorf("busy_poll is %s", v)
	}
}

// After a boot every value is its own default again: nothing is to be undone, and what
// is found is the new original.
func TestABootEndsTheValues(t *testing.T) {
	h := small(t)
	apply(t, h, Want{Profile: Latency, Persist: true})
	files(t, h.Root, map[string]string{"proc/sys/kernel/random/boot_id": "boot-2", "proc/sys/net/core/busy_poll": "5"})
	if count := undo(t, h); count[Restored] != 0 {
		t.Errorf("%v", count)
	}
	if v, _ := h.text("proc/sys/net/core/busy_poll"); v != "5" {
		t.Errorf("busy_poll is %s", v)
	}
}

func TestWhatADriverMadeAnewHasGone(t *testing.T) {
	h := small(t)
	apply(t, h, Want{Profile: Throughput, Persist: true})
	files(t, h.Root, map[string]string{
		// IRQ 36 is somebody else's by now; queue 0 has the driver's own mask since the link came back.
		"proc/interrupts": strings.Replace(interrupts, "ens3f0-TxRx-1", "nvme0q1", 1),
		"sys/class/net/ens3f0/queues/tx-0/xps_cpus": "0f",
		"sys/class/net/ens3f0/carrier_changes":      "4",
	})
	was, _ := h.text(irqFile(36))
	count := undo(t, h)
	if now, _ := h.text(irqFile(36)); now != was {
		t.Errorf("another device's interrupt was moved from %s to %s", was, now)
	}
	if v, _ := h.text("sys/class/net/ens3f0/queues/tx-0/xps_cpus"); v != "0f" {
		t.Errorf("queue 0 has %s", v)
	}
	if count[Gone] != 2 {
		t.Errorf("%v, want 2 gone", count)
	}
}

func TestContainersAreRefused(t *testing.T) {
	h := small(t)
	files(t, h.Root, map[string]string{"run/systemd/container": "lxc"})
	if _, err := h.Draft(Want{Profile: Latency}); !errors.Is(err, ErrContainer) || !strings.Contains(err.Error(), "lxc") {
		t.Error(err)
	}
	must(t, os.Remove(h.path("run/systemd/container")))
	must(t, os.MkdirAll(h.path("proc/self/ns"), 0o755))
	must(t, os.Symlink("pid:[4026532200]", h.path("proc/self/ns/pid")))
	must(t, os.Symlink(initialUser, h.path("proc/self/ns/user")))
	if _, err := h.Draft(Want{Profile: Latency}); !errors.Is(err, ErrContainer) {
		t.Error(err)
	}
	must(t, os.Remove(h.path("proc/self/ns/pid")))
	must(t, os.Symlink(initialPID, h.path("proc/self/ns/pid")))
	files(t, h.Root, map[string]string{".dockerenv": ""}) // of the image that the machine was made from
	if _, err := h.Draft(Want{Profile: Latency}); err != nil {
		t.Error(err)
	}
}

func TestManagedInterruptsStay(t *testing.T) {
	h := small(t)
	must(t, os.Chmod(h.path(irqFile(35)), 0o444))
	d, err := h.Draft(Want{Profile: Balanced})
	must(t, err)
	if text := texts(d.Findings); !strings.Contains(text, "IRQ 35 ens3f0-TxRx-0: 0-7 -> 2 refused the kernel manages it") {
		t.Error(text)
	}
}

func TestTheHostsOwnLinkIsNotCutUnasked(t *testing.T) {
	h := small(t)
	files(t, h.Root, map[string]string{"proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\nens3f0\t00000000\t0100007F\t0003\t0\t0\t0\t00000000\t0\t0\t0"})
	d, err := h.Draft(Want{Profile: Throughput})
	must(t, err)
	if text := texts(d.Findings); !strings.Contains(text, "rings rx: 256 -> 4096 refused the default route goes over ens3f0") || d.Again() {
		t.Error(text)
	}
	d, err = h.Draft(Want{Profile: Throughput, EvenManagement: true})
	must(t, err)
	if !d.Again() {
		t.Error(texts(d.Findings))
	}
}

func TestABadRecordStopsEverything(t *testing.T) {
	for _, text := range []string{
		"", "{", `{"version":2}`, `{"version":1,"profile":"fast"}`, `{"version":1,"x":1}`,
		`{"version":1,"profile":"latency","values":[{"target":{"kind":"file","path":"proc/../etc/passwd"}}]}`,
		`{"version":1,"profile":"latency","values":[{"target":{"kind":"file","path":"etc/passwd"}}]}`,
	} {
		h := small(t)
		before := state(t, h)
		must(t, os.MkdirAll(h.path(DefaultDir), 0o755))
		must(t, os.WriteFile(filepath.Join(h.path(DefaultDir), recordFile), []byte(text), 0o600))
		if _, err := h.Draft(Want{Profile: Latency}); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%q: draft: %v", text, err)
		}
		if _, err := h.Undo(t.Context(), true); !errors.Is(err, ErrBadRecord) {
			t.Errorf("%q: undo: %v", text, err)
		}
		must(t, os.RemoveAll(h.path("var")))
		if d := cmp.Diff(before, state(t, h)); d != "" {
			t.Error(d)
		}
	}
}

func TestOnlyOneAtATime(t *testing.T) {
	h := small(t)
	h.patience = time.Millisecond
	release, err := h.store().lock()
	must(t, err)
	d, err := h.Draft(Want{Profile: Latency})
	must(t, err)
	if _, err = d.Apply(t.Context(), nil); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	release()
	if _, err = d.Apply(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

func TestChosenCPUs(t *testing.T) {
	h := small(t)
	for _, tt := range []struct {
		node       int
		list, want string
	}{{-1, "", "2-3,6-7"}, {0, "", "0-1,4-5"}, {-1, "0-1,5,90", "0-1,5"}} {
		pins, err := h.Pins([]string{"0000:03:00.0"}, tt.node, tt.list)
		if err != nil || pins["ens3f0"] != tt.want {
			t.Errorf("%+v: %v, %v", tt, pins, err)
		}
	}
	for _, tt := range []struct {
		node int
		list string
	}{{7, ""}, {-1, "90-99"}, {-1, "x"}} {
		if _, err := h.Pins([]string{"ens3f0"}, tt.node, tt.list); !errors.Is(err, ErrBadCPUs) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if _, err := h.Pins([]string{"eth99"}, -1, ""); !errors.Is(err, ErrNoNIC) {
		t.Error(err)
	}
	apply(t, h, Want{NICs: []string{"ens3f0"}, Pins: map[string]string{"ens3f0": "0-1,5"}})
	for irq, want := range map[int]string{34: "0-1,5", 35: "0", 36: "1", 40: "5"} {
		if have, _ := h.text(irqFile(irq)); have != want {
			t.Errorf("IRQ %d on %s, want %s", irq, have, want)
		}
	}
	apply(t, h, Want{Profile: Balanced}) // goes by what was chosen
	if have, _ := h.text(irqFile(35)); have != "0" {
		t.Errorf("IRQ 35 on %s", have)
	}
}

// What another has tuned while a plan was looked at is not forgotten.
func TestAnOldPlanKeepsNewOriginals(t *testing.T) {
	h := small(t)
	before := state(t, h)
	d, err := h.Draft(Want{Profile: Balanced})
	must(t, err)
	apply(t, h, Want{Profile: Latency})
	_, err = d.Apply(t.Context(), nil)
	must(t, err)
	undo(t, h)
	if diff := cmp.Diff(settled(before), settled(state(t, h))); diff != "" {
		t.Error(diff)
	}
}
