package tune

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/ethtool"
)

// rig is the real kernel with the first PF of NEUTRINO_SRIOV_PFS, which is up.
func rig(t *testing.T) (*Host, string) {
	t.Helper()
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	h, err := New("")
	must(t, err)
	t.Cleanup(func() { h.Close() })
	h.Dir = t.TempDir()
	ip(t, "link", "set", name, "up")
	t.Cleanup(func() { ip(t, "link", "set", name, "down") })
	until(t, "the PF's interrupts", func() bool { return len(nicOf(t, h, name).IRQs) > 1 })
	return h, name
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func nicOf(t testing.TB, h *Host, name string) NIC {
	t.Helper()
	f, err := h.Facts([]string{name})
	must(t, err)
	return f.NICs[0]
}

// routing is where the interrupts of a NIC go, from the kernel.
func routing(t testing.TB, h *Host, name string) string {
	t.Helper()
	out := ""
	for _, q := range nicOf(t, h, name).IRQs {
		out += fmt.Sprintf("%d=%s ", q.Number, h.tree().List(irqFile(q.Number)))
	}
	return out
}

func TestRigInterruptsMoveAndComeBack(t *testing.T) {
	h, name := rig(t)
	before := routing(t, h, name)
	for _, cpus := range []string{"1", "0"} {
		apply(t, h, Want{NICs: []string{name}, Pins: map[string]string{name: cpus}})
		for _, q := range nicOf(t, h, name).IRQs {
			if now := h.tree().List(irqFile(q.Number)); now.String() != cpus {
				t.Errorf("IRQ %d %s on %s, want %s", q.Number, q.Name, now, cpus)
			}
		}
		t.Log(routing(t, h, name))
	}
	undo(t, h)
	if now := routing(t, h, name); now != before {
		t.Errorf("interrupts %s, want %s", now, before)
	}
}

// All that a profile sets on an igb and its VFs, and back.
func TestRigProfilesAndBack(t *testing.T) {
	h, name := rig(t)
	for _, p := range Profiles {
		before, err := h.Ethtool.Read(name)
		must(t, err)
		was, first := routing(t, h, name), drafted(t, h, name, p.Name)
		for _, x := range apply(t, h, Want{Profile: p.Name, NICs: []string{name}}) {
			t.Logf("%s: %s: %s -> %s %v", p.Name, x.What, x.Now, x.Want, x.Err)
		}
		s, err := h.Status()
		must(t, err)
		for _, v := range s.Values {
			// igb settles pause frames anew when its link is up again, which its rings have
			// taken away (igb_config_fc_after_link_up): the keeper's affair.
			if v.As != "kept" && v.Target.Key.Group() != ethtool.Pause {
				t.Errorf("%s: %s is %s, %s", p.Name, v.What, v.Now, v.As)
			}
		}
		undo(t, h)
		after, err := h.Ethtool.Read(name)
		must(t, err)
		if now := routing(t, h, name); now != was || fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: interrupts %s, want %s; settings\n%v\nwant\n%v", p.Name, now, was, after, before)
		}
		if last := drafted(t, h, name, p.Name); last != first {
			t.Errorf("%s: after undo\n%s\nwant\n%s", p.Name, last, first)
		}
	}
}

func drafted(t testing.TB, h *Host, name string, p Profile) string {
	t.Helper()
	d, err := h.Draft(Want{Profile: p, NICs: []string{name}})
	must(t, err)
	return texts(d.Findings)
}

// A link that goes and comes makes an igb's interrupts anew: the keeper places them
// again, and undo leads to what was before apply.
func TestRigKeeperOverALinkChange(t *testing.T) {
	h, name := rig(t)
	before := routing(t, h, name)
	apply(t, h, Want{NICs: []string{name}, Pins: map[string]string{name: "1"}, Persist: true})
	stop := keeper(t, h, time.Second)
	for range 3 {
		for _, q := range nicOf(t, h, name).IRQs { // as another tool, or a driver that forgets
			must(t, h.put(irqFile(q.Number), "0"))
		}
		ip(t, "link", "set", name, "down")
		ip(t, "link", "set", name, "up")
		until(t, "the interrupts on CPU 1 again", func() bool {
			irqs := nicOf(t, h, name).IRQs
			for _, q := range irqs {
				if h.tree().List(irqFile(q.Number)).String() != "1" {
					return false
				}
			}
			return len(irqs) > 1
		})
	}
	if err := stop(); err != nil && !strings.Contains(err.Error(), "context canceled") {
		t.Error(err)
	}
	undo(t, h)
	if now := routing(t, h, name); now != before {
		t.Errorf("interrupts %s, want %s", now, before)
	}
}

// VFs of a guest have their interrupts placed with those of the PF.
func TestRigVFsGoWithTheirPF(t *testing.T) {
	h, name := rig(t)
	n := nicOf(t, h, name)
	if n.VFs == nil {
		must(t, h.Sys.SetNumVFs(t.Context(), n.Slot, 2))
	}
	p, err := h.Sys.PF(n.Slot)
	must(t, err)
	must(t, h.Sys.BindDefault(t.Context(), p.VFs[0].Slot))
	d, ok := h.Sys.Netdev(p.VFs[0].Slot, 0)
	if !ok {
		t.Fatal("the VF has no network device")
	}
	ip(t, "link", "set", d.Name, "up")
	defer ip(t, "link", "set", d.Name, "down")
	until(t, "the VF's interrupts", func() bool { return len(nicOf(t, h, d.Name).IRQs) > 1 })
	apply(t, h, Want{NICs: []string{name}, Pins: map[string]string{name: "1"}})
	for _, q := range nicOf(t, h, d.Name).IRQs {
		if now := h.tree().List(irqFile(q.Number)); now.String() != "1" {
			t.Errorf("IRQ %d %s of VF 0 on %s", q.Number, q.Name, now)
		}
	}
	undo(t, h)
}

// The real irqbalance is told, and says so.
func TestRigIrqbalanceIsTold(t *testing.T) {
	h, name := rig(t)
	path, err := exec.LookPath("irqbalance")
	if err != nil {
		t.Skip("irqbalance is not installed")
	}
	must(t, os.MkdirAll("/run/irqbalance", 0o755))
	cmd := exec.Command(path, "--foreground")
	must(t, cmd.Start())
	defer func() {
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
	}()
	until(t, "irqbalance's socket", func() bool { b := h.irqbalance(); return b != nil && b.Socket != "" })
	before := list(h.irqbalance().Banned)
	apply(t, h, Want{NICs: []string{name}, Pins: map[string]string{name: "1"}})
	for _, q := range nicOf(t, h, name).IRQs {
		if !strings.Contains(" "+list(h.irqbalance().Banned)+" ", fmt.Sprintf(" %d ", q.Number)) {
			t.Errorf("irqbalance leaves %s alone, not IRQ %d", list(h.irqbalance().Banned), q.Number)
		}
	}
	undo(t, h)
	if now := list(h.irqbalance().Banned); now != before {
		t.Errorf("irqbalance leaves %s alone, before it were %s", now, before)
	}
}
