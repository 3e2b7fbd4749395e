package sriov_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/pci"
)

// rig opens the first PF of NEUTRINO_SRIOV_PFS, up and with VFs, on the real kernel.
func rig(t *testing.T) (*sriov.Switch, pci.PF, string) {
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("iproute2 is not installed")
	}
	run(t, "ip", "link", "set", name, "up")
	var sys pci.Sys
	p, err := sys.PF(name)
	must(t, err)
	if p.NumVFs == 0 {
		must(t, sys.SetNumVFs(t.Context(), p.Slot, min(4, p.TotalVFs)))
	}
	s, err := sriov.Open(t.Context(), sriov.Options{PFs: []string{name}})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	for range 100 { // VF drivers are probed, and the PF's link comes up
		st := observe(t, s)
		p, err = sys.PF(name)
		must(t, err)
		if len(st.PFs[0].VFs) == p.NumVFs && st.PFs[0].Carrier && st.PFs[0].VFs[0].Netdev != "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return s, p, name
}

func run(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// quiet waits until no event comes any more.
func quiet(s *sriov.Switch) {
	for event(s, 500*time.Millisecond) {
	}
}

func TestRigProgramsEveryAttributeAndGivesItBack(t *testing.T) {
	s, p, name := rig(t)
	want := port()
	want.MinTxRate = eswitch.Set(0)
	start := time.Now()
	cannot := settleOn(t, s, name, 0, want)
	t.Logf("%s: programmed in %v, cannot %v, capabilities %+v", p.Driver, time.Since(start), cannot, s.Capabilities(name))
	if p.Driver == "igb" && (len(cannot) != 1 || cannot[0] != "link_state") {
		t.Errorf("igb cannot do %v", cannot)
	}
	v := look(t, s, name, 0)
	settleOn(t, s, name, 0, v.BaselineAttrs())
	after := look(t, s, name, 0)
	if todo, _ := eswitch.Diff(v.BaselineAttrs(), after.Attrs); !todo.Empty() {
		t.Errorf("not at the baseline: %+v", todo)
	}
}

func TestRigBindsAVFDriverAgainAfterANewMAC(t *testing.T) {
	s, p, name := rig(t)
	before := look(t, s, name, 1)
	if before.Netdev == "" {
		t.Fatalf("VF 1 of %s has no netdev: %+v", name, before)
	}
	start := time.Now()
	settleOn(t, s, name, 1, eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:00:00:21")})
	t.Logf("%s: new MAC in force after %v", p.Driver, time.Since(start))
	v := look(t, s, name, 1)
	i, err := net.InterfaceByName(v.Netdev)
	if err != nil || i.HardwareAddr.String() != "fa:16:3e:00:00:21" {
		t.Errorf("netdev %s: %v, %v", v.Netdev, i, err)
	}
	settleOn(t, s, name, 1, v.BaselineAttrs())
}

func TestRigNeverBindsAVFWithAMacvtapAgain(t *testing.T) {
	s, _, name := rig(t)
	v := look(t, s, name, 2)
	if out, err := exec.Command("ip", "link", "add", "link", v.Netdev, "name", "tap77", "type", "macvtap", "mode", "passthru").CombinedOutput(); err != nil {
		t.Skipf("no macvtap here: %s", out)
	}
	defer run(t, "ip", "link", "del", "tap77")
	before, err := net.InterfaceByName(v.Netdev)
	must(t, err)
	must(t, apply(t, s, name, 2, eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:00:00:22")}))
	after, err := net.InterfaceByName(v.Netdev)
	if err != nil || after.Index != before.Index {
		t.Errorf("the netdev is another now: %v, %v", after, err)
	}
}

func TestRigVFOfAGuestIsProgrammedAndLeftToIt(t *testing.T) {
	s, p, name := rig(t)
	var sys pci.Sys
	slot := p.VFs[3].Slot
	if err := sys.Bind(t.Context(), slot, pci.VFIODriver); err != nil {
		t.Skipf("no vfio-pci here: %v", err)
	}
	defer func() { must(t, sys.Bind(context.Background(), slot, look(t, s, name, 0).Driver)) }()
	must(t, apply(t, s, name, 3, eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:00:00:23"), VLAN: eswitch.Set(77)}))
	v := look(t, s, name, 3)
	if v.Driver != pci.VFIODriver || v.Netdev != "" || v.Attrs.MAC != eswitch.Set("fa:16:3e:00:00:23") || v.Attrs.VLAN != eswitch.Set(77) {
		t.Errorf("VF %+v", v)
	}
	settleOn(t, s, name, 3, v.BaselineAttrs())
}

func TestRigVFInAnotherNamespaceIsProgrammedAndLeftThere(t *testing.T) {
	s, _, name := rig(t)
	v := look(t, s, name, 2)
	run(t, "ip", "netns", "add", "tenant")
	defer run(t, "ip", "netns", "del", "tenant") // the VF's netdev comes back by that
	quiet(s)
	observe(t, s)
	run(t, "ip", "link", "set", v.Netdev, "netns", "tenant")
	if !event(s, time.Second) {
		t.Error("no event although the netdev went away")
	}
	if now := look(t, s, name, 2); now.Netdev != "" || now.Driver != v.Driver {
		t.Errorf("VF %+v", now)
	}
	must(t, apply(t, s, name, 2, eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:00:00:24")}))
	run(t, "ip", "netns", "exec", "tenant", "ip", "link", "show", v.Netdev) // still there: not bound again
}

func TestRigForeignChangeIsAnEventWithinASecond(t *testing.T) {
	s, _, name := rig(t)
	for _, state := range []string{"up", "down"} {
		run(t, "ip", "link", "set", name, state)
		settleOn(t, s, name, 0, eswitch.Attrs{VLAN: eswitch.Set(0)})
		quiet(s)
		observe(t, s)
		start := time.Now()
		run(t, "ip", "link", "set", name, "vf", "0", "vlan", "9")
		if !event(s, time.Second) {
			t.Errorf("PF %s: no event within a second", state)
		}
		settleOn(t, s, name, 0, eswitch.Attrs{VLAN: eswitch.Set(0)})
		t.Logf("PF %s: put right after %v, the command's start included", state, time.Since(start))
	}
	run(t, "ip", "link", "set", name, "up")
}

func TestRigApplyRaisesNoEvent(t *testing.T) {
	s, _, name := rig(t)
	quiet(s)
	observe(t, s)
	must(t, apply(t, s, name, 3, eswitch.Attrs{VLAN: eswitch.Set(5), SpoofCheck: eswitch.Set(true)}))
	if event(s, 300*time.Millisecond) {
		t.Error("Apply raised an event")
	}
	must(t, apply(t, s, name, 3, eswitch.Attrs{VLAN: eswitch.Set(0)}))
}

func TestRigNumberOfVFsGoesThroughZero(t *testing.T) {
	s, p, name := rig(t)
	var sys pci.Sys
	for _, n := range []int{0, 2, 0, p.NumVFs} {
		quiet(s)
		must(t, sys.SetNumVFs(t.Context(), p.Slot, n))
		if !event(s, time.Second) {
			t.Errorf("%d VFs: no event", n)
		}
		deadline := time.Now().Add(10 * time.Second)
		for {
			st := observe(t, s)
			if len(st.PFs[0].VFs) == n {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d VFs are seen, %d were made", len(st.PFs[0].VFs), n)
			}
			event(s, time.Second)
		}
	}
	if v := look(t, s, name, 0); v.Attrs.LinkState.IsUnsupported() && p.Driver != "igb" {
		t.Errorf("link state is %v", v.Attrs.LinkState)
	}
}

func TestRigCountersAreThereOnRequest(t *testing.T) {
	s, p, name := rig(t)
	c, err := s.Counters(t.Context())
	if _, ok := c[eswitch.VFID{PF: name}]; err != nil || !ok || len(c) != p.NumVFs {
		t.Errorf("%d counters, %v", len(c), err)
	}
	if look(t, s, name, 0).Attrs.LinkState == eswitch.Set(model.LinkDisable) {
		t.Log("VF 0 is at rest")
	}
}

func BenchmarkRigObserve(b *testing.B) {
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		b.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	s, err := sriov.Open(b.Context(), sriov.Options{PFs: []string{name}})
	must(b, err)
	defer s.Close()
	b.Run(strconv.Itoa(len(observe(b, s).PFs[0].VFs))+" VFs", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Observe(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
