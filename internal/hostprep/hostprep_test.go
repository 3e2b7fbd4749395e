package hostprep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"neutrino/internal/hostapi"
	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent is one that answers.
type agent struct {
	vfs []hostapi.VF
	err error
}

func (a agent) VFs(context.Context, bool) ([]hostapi.VF, error) { return a.vfs, a.err }

func build(t testing.TB, cards ...pcitest.Card) (Host, *pcitest.Tree) {
	t.Helper()
	tree := pcitest.New(t, cards...)
	return Host{Sys: tree.Sys, Wait: 50 * time.Millisecond}, tree
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func words(p Plan) []string {
	out := []string{}
	for _, s := range p.Steps {
		out = append(out, s.Describe)
	}
	return out
}

// set plans and runs.
func set(t testing.TB, h Host, w Want) Plan {
	t.Helper()
	p, err := PlanVFs(t.Context(), h, w)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	return p
}

// state is what a PF has: the count, the drivers of its VFs, autoprobe.
func state(t testing.TB, h Host, name string) (n int, drivers []string, autoprobe bool) {
	t.Helper()
	p, err := h.Sys.PF(name)
	must(t, err)
	for _, v := range p.VFs {
		d, derr := h.Sys.Driver(v.Slot)
		must(t, derr)
		drivers = append(drivers, d)
	}
	return p.NumVFs, drivers, p.Autoprobe
}

func wantState(t testing.TB, h Host, name string, autoprobe bool, drivers ...string) {
	t.Helper()
	n, have, auto := state(t, h, name)
	if n != len(drivers) || !slices.Equal(have, drivers) || auto != autoprobe {
		t.Errorf("%s has %d VFs %v, autoprobe %v; want %v, %v", name, n, have, auto, drivers, autoprobe)
	}
}

func of(driver string, n int) []string { return slices.Repeat([]string{driver}, n) }

func TestCountGoesThroughZeroAndStepsSaySo(t *testing.T) {
	h, _ := build(t, pcitest.IGB())
	p, err := PlanVFs(t.Context(), h, Want{PF: "ens3f0", N: 3, Autoprobe: true, Persist: true})
	must(t, err)
	want := []string{
		"write down in " + h.file("0000:03:00.0") + " what to do at boot",
		"remove the 7 VFs of ens3f0",
		"make 3 VFs on ens3f0",
	}
	if have := words(p); !slices.Equal(have, want) {
		t.Errorf("steps\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
	if len(p.Findings) != 1 || !strings.Contains(p.Findings[0], "through 0") {
		t.Errorf("findings %q", p.Findings)
	}
	wantState(t, h, "ens3f0", true, of("igbvf", 7)...) // a plan changes nothing
	must(t, p.Run(t.Context(), nil))
	wantState(t, h, "ens3f0", true, of("igbvf", 3)...)
	r, ok, err := h.record("0000:03:00.0")
	if want := (Record{PF: "ens3f0", Slot: "0000:03:00.0", MAC: "52:54:00:05:ea:00", Count: 3, Autoprobe: true}); err != nil || !ok || r != want {
		t.Errorf("record %+v, %v, %v; want %+v", r, ok, err, want)
	}
	p, err = PlanVFs(t.Context(), h, Want{PF: "0000:03:00.0", N: 3, Autoprobe: true, Persist: true})
	if err != nil || len(p.Steps) != 0 {
		t.Errorf("asked again: %v, %v; want no steps", words(p), err)
	}
}

func TestVFsForGuestsNeverMeetTheirNetworkDriver(t *testing.T) {
	h, tree := build(t, pcitest.IXGBE())
	var probed []string
	react := tree.Sys.Wrote
	tree.Sys.Wrote = func(path, text string) error {
		err := react(path, text)
		if d, _ := tree.Sys.Driver(pcitest.IXGBE().VFSlot(5)); d == "ixgbevf" {
			probed = append(probed, path)
		}
		return err
	}
	set(t, h, Want{PF: "ens4f1", N: 6, Driver: "vfio-pci", Autoprobe: true})
	wantState(t, h, "ens4f1", true, of("vfio-pci", 6)...)
	if len(probed) > 0 {
		t.Errorf("VF 5 had ixgbevf after %v", probed)
	}
	if _, ok, _ := h.record(pcitest.IXGBE().Slot); ok {
		t.Error("written down without Persist")
	}
	set(t, h, Want{PF: "ens4f1", N: 6, Autoprobe: true})
	wantState(t, h, "ens4f1", true, of("ixgbevf", 6)...)
	set(t, h, Want{PF: "ens4f1", N: 6, Driver: "vfio-pci"})
	wantState(t, h, "ens4f1", false, of("vfio-pci", 6)...)
	set(t, h, Want{PF: "ens4f1", N: 2})
	wantState(t, h, "ens4f1", false, of("", 2)...)
	set(t, h, Want{PF: "ens4f1", N: 2, Autoprobe: true})
	wantState(t, h, "ens4f1", true, of("ixgbevf", 2)...)
	set(t, h, Want{PF: "ens4f1", N: 0})
	wantState(t, h, "ens4f1", true)
}

func TestKernelWithoutAutoprobeHasVFsBoundAllTheSame(t *testing.T) {
	c := pcitest.IGB()
	c.NoAutoprobe = true
	h, _ := build(t, c)
	set(t, h, Want{PF: c.Slot, N: 2, Driver: "vfio-pci", Autoprobe: true})
	wantState(t, h, c.Slot, true, of("vfio-pci", 2)...)
}

func TestNothingIsTakenFromItsUser(t *testing.T) {
	for name, tt := range map[string]struct {
		use  func(*pcitest.Tree, pcitest.Card) error
		want string
	}{
		"guest": {func(tree *pcitest.Tree, c pcitest.Card) error {
			if err := tree.Sys.Bind(context.Background(), c.VFSlot(2), pci.VFIODriver); err != nil {
				return err
			}
			return tree.Hold(77, "vm1", c.VFSlot(2))
		}, "VF 2 (0000:03:10.4) by guest vm1"},
		"macvtap":   {func(tree *pcitest.Tree, _ pcitest.Card) error { return tree.Upper("ens3f0v1", "macvtap3") }, "VF 1 (0000:03:10.2) by device macvtap3"},
		"namespace": {func(tree *pcitest.Tree, c pcitest.Card) error { return tree.Away(c.VFSlot(6)) }, "VF 6 (0000:03:11.4) by another network namespace"},
		"addresses": {func(tree *pcitest.Tree, _ pcitest.Card) error { return tree.Route("ens3f0v0", "0002000A") }, "VF 0 (0000:03:10.0) by this host"},
	} {
		t.Run(name, func(t *testing.T) {
			c := pcitest.IGB()
			h, tree := build(t, c)
			must(t, tt.use(tree, c))
			_, before, _ := state(t, h, c.Slot)
			for _, n := range []int{0, 3} {
				_, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: n, Autoprobe: true, ManagementToo: true})
				if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%d VFs: %v, want %q", n, err, tt.want)
				}
			}
			wantState(t, h, c.Slot, true, before...)
		})
	}
}

func TestPortsOfTheAgentAreUsersToo(t *testing.T) {
	c := pcitest.IGB()
	h, _ := build(t, c)
	h.Agent = agent{vfs: []hostapi.VF{
		{PCISlot: c.VFSlot(0)},
		{PCISlot: c.VFSlot(1), PortID: "5f0c"},
		{PCISlot: c.VFSlot(2), PortID: "6a", Plugged: "domain vm2"},
		{PCISlot: "0000:99:00.0", PortID: "elsewhere"},
	}}
	w := Want{PF: c.Slot, N: 3, Autoprobe: true}
	_, err := PlanVFs(t.Context(), h, w)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "VF 1 (0000:03:10.2) by port 5f0c; VF 2 (0000:03:10.4) by port 6a, plugged into domain vm2:") {
		t.Error(err)
	}
	w.Driver, w.N = "vfio-pci", 7
	if _, err = PlanVFs(t.Context(), h, w); !errors.Is(err, ErrInUse) {
		t.Errorf("another driver: %v", err)
	}
	h.Agent = agent{err: hostapi.ErrUnavailable}
	if p, perr := PlanVFs(t.Context(), h, w); perr != nil || len(p.Findings) != 0 {
		t.Errorf("no agent runs: %v, %q", perr, p.Findings)
	}
	h.Agent = agent{err: errors.New("gone mad")}
	if p, perr := PlanVFs(t.Context(), h, w); perr != nil || len(p.Findings) != 1 || !strings.Contains(p.Findings[0], "gone mad") {
		t.Errorf("the agent fails: %v, %q", perr, p.Findings)
	}
}

func TestGuestThatStartsAfterThePlanKeepsItsVF(t *testing.T) {
	c := pcitest.IGB()
	h, tree := build(t, c)
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 3, Autoprobe: true, Persist: true})
	must(t, err)
	must(t, tree.Upper("ens3f0v1", "macvtap3"))
	if err = p.Run(t.Context(), nil); !errors.Is(err, ErrInUse) || errors.Is(err, ErrHalfDone) {
		t.Error(err)
	}
	wantState(t, h, c.Slot, true, of("igbvf", 7)...)
	if _, ok, _ := h.record(c.Slot); ok {
		t.Error("it is written down although it was refused")
	}
}

func TestCountThatSomebodyElseChangedMeanwhileStays(t *testing.T) {
	c := pcitest.IGB()
	h, _ := build(t, c)
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 3, Autoprobe: true})
	must(t, err)
	must(t, h.Sys.SetNumVFs(t.Context(), c.Slot, 0))
	must(t, h.Sys.SetNumVFs(t.Context(), c.Slot, 5))
	if err = p.Run(t.Context(), nil); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	wantState(t, h, c.Slot, true, of("igbvf", 5)...)
}

func TestFailureBringsOldCountDriversAndRecordBack(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(*pcitest.Tree)
		want  error
	}{
		"no room": {func(tree *pcitest.Tree) { refuse(tree, "sriov_numvfs", "5", syscall.ENOMEM) }, syscall.ENOMEM},
		"driver":  {func(tree *pcitest.Tree) { refuse(tree, "driver_override", "vfio-pci", syscall.EIO) }, syscall.EIO},
		"autoprobe": {func(tree *pcitest.Tree) {
			refuse(tree, "sriov_drivers_autoprobe", "0", syscall.EIO)
		}, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			c := pcitest.IGB()
			h, tree := build(t, c)
			must(t, h.Sys.Bind(t.Context(), c.VFSlot(2), pci.VFIODriver))
			must(t, h.Sys.Bind(t.Context(), c.VFSlot(3), ""))
			must(t, h.put(c.Slot, "old\n"))
			_, before, _ := state(t, h, c.Slot)
			p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 5, Driver: "vfio-pci", Autoprobe: true, Persist: true})
			must(t, err)
			tt.spoil(tree)
			var told []string
			err = p.Run(t.Context(), func(s string) { told = append(told, s) })
			if !errors.Is(err, tt.want) || errors.Is(err, ErrHalfDone) && name != "driver" {
				t.Errorf("got %v, want %v and nothing half done", err, tt.want)
			}
			if name != "driver" { // there vfio-pci cannot be given back either, and that is said
				wantState(t, h, c.Slot, true, before...)
			} else if n, _, _ := state(t, h, c.Slot); n != 7 || !errors.Is(err, ErrHalfDone) {
				t.Errorf("%d VFs, %v", n, err)
			}
			if b, _ := os.ReadFile(h.file(c.Slot)); string(b) != "old\n" {
				t.Errorf("record %q", b)
			}
			if !strings.HasPrefix(told[len(told)-1], "take back: write down") {
				t.Errorf("told %q", told)
			}
		})
	}
}

// refuse has the kernel turn one write away, from now on.
func refuse(tree *pcitest.Tree, file, text string, with error) {
	react := tree.Sys.Wrote
	tree.Sys.Wrote = func(path, value string) error {
		if filepath.Base(path) == file && value == text {
			return errors.Join(undo(react, path, file), with)
		}
		return react(path, value)
	}
}

// undo puts back what the refused write left in the file.
func undo(react func(string, string) error, path, file string) error {
	switch file {
	case "driver_override":
		return react(path, "\n")
	case "sriov_drivers_autoprobe":
		return react(path, "1")
	}
	return react(path, "0")
}

func TestEndOfTheCallersTimeIsAFailureToo(t *testing.T) {
	c := pcitest.IGB()
	h, tree := build(t, c)
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 3, Autoprobe: true})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	react := tree.Sys.Wrote
	tree.Sys.Wrote = func(path, text string) error {
		if text == "0" {
			cancel()
		}
		return react(path, text)
	}
	if err = p.Run(ctx, nil); !errors.Is(err, context.Canceled) || errors.Is(err, ErrHalfDone) {
		t.Error(err)
	}
	wantState(t, h, c.Slot, true, of("igbvf", 7)...)
}

func TestVFWithoutDriverIsAFailureThatSaysWhatToDo(t *testing.T) {
	c := pcitest.IGB()
	c.VFs, c.Loses = 0, true
	h, _ := build(t, c)
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 4, Autoprobe: true})
	must(t, err)
	if err = p.Run(t.Context(), nil); !errors.Is(err, pci.ErrNoDriver) || !strings.Contains(err.Error(), "VF 3 (0000:03:10.6)") || !strings.Contains(err.Error(), "--no-autoprobe") {
		t.Error(err)
	}
	wantState(t, h, c.Slot, true)
}

func TestManagementNICNeedsAWord(t *testing.T) {
	for name, tt := range map[string]struct {
		routes map[string]string // device -> network
		upper  []string          // chain above the PF
		want   string            // "" = not the management NIC
	}{
		"default route":       {routes: map[string]string{"ens3f0": "default", "eth9": "0002000A"}, want: "the default route goes over ens3f0"},
		"over bond and VLAN":  {routes: map[string]string{"vlan5": "default", "eth9": "0002000A"}, upper: []string{"bond0", "vlan5"}, want: "the default route goes over vlan5"},
		"only addresses":      {routes: map[string]string{"ens3f0": "0002000A"}, want: "the only addresses of the host are on ens3f0"},
		"one of two":          {routes: map[string]string{"ens3f0": "0002000A", "eth9": "0003000A"}},
		"another has default": {routes: map[string]string{"ens3f0": "0002000A", "eth9": "default"}},
		"nothing anywhere":    {},
	} {
		t.Run(name, func(t *testing.T) {
			c := pcitest.IGB()
			h, tree := build(t, c)
			at := "ens3f0"
			for _, u := range tt.upper {
				must(t, tree.Upper(at, u))
				at = u
			}
			for dev, network := range tt.routes {
				must(t, tree.Route(dev, network))
			}
			w := Want{PF: c.Slot, N: 3, Autoprobe: true}
			_, err := PlanVFs(t.Context(), h, w)
			if tt.want == "" {
				must(t, err)
				return
			}
			if !errors.Is(err, ErrManagement) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--even-management") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			w.N = 7
			w.Driver = "vfio-pci" // no link goes down for that
			_, err = PlanVFs(t.Context(), h, w)
			must(t, err)
			w.N, w.ManagementToo = 3, true
			p := set(t, h, w)
			if !slices.ContainsFunc(p.Findings, func(s string) bool { return strings.Contains(s, tt.want) }) {
				t.Errorf("findings %q", p.Findings)
			}
		})
	}
}

func TestDefaultRouteOfIPv6CountsToo(t *testing.T) {
	c := pcitest.IGB()
	h, tree := build(t, c)
	zero := strings.Repeat("0", 32)
	text := zero + " 00 " + zero + " 00 " + zero + " ffffffff 00000001 00000000 00200200       lo\n" +
		zero + " 00 " + zero + " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003   ens3f0\n"
	must(t, os.WriteFile(filepath.Join(tree.Root, "proc/net/ipv6_route"), []byte(text), 0o600))
	if _, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 3, Autoprobe: true}); !errors.Is(err, ErrManagement) {
		t.Error(err)
	}
}

func TestWhatCannotBe(t *testing.T) {
	igb, mlx5, none := pcitest.IGB(), pcitest.MLX5(), pcitest.I40E()
	none.Group = "none"
	h, _ := build(t, igb, mlx5, none)
	for _, tt := range []struct {
		w    Want
		err  error
		text string
	}{
		{Want{PF: "ens3f0", N: 8}, ErrTooMany, "0 to 7"},
		{Want{PF: "ens3f0", N: -1}, ErrTooMany, "0 to 7"},
		{Want{PF: "ens7f0np0", N: 16}, ErrTooMany, "mstconfig -d 0000:07:00.0 set SRIOV_EN=1 NUM_OF_VFS=16"},
		{Want{PF: "eth7", N: 1}, pci.ErrNoDevice, "eth7"},
		{Want{PF: "ens3f0v1", N: 1}, pci.ErrNotPF, "it is a VF of ens3f0"},
		{Want{PF: "0000:03:10.2", N: 1}, pci.ErrNotPF, "it is a VF of ens3f0"},
		{Want{PF: "ens5f0", N: 2, Driver: "vfio-pci"}, ErrNoIOMMU, "intel_iommu=on"},
	} {
		if _, err := PlanVFs(t.Context(), h, tt.w); !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%+v: %v, want %v with %q", tt.w, err, tt.err, tt.text)
		}
	}
	if _, err := PlanVFs(t.Context(), h, Want{PF: "ens3f0", N: 1, Driver: "igb_uio"}); err == nil || !strings.Contains(err.Error(), "allowed are vfio-pci") {
		t.Error(err)
	}
}

func TestMLX4SaysWhatToWriteForItsModule(t *testing.T) {
	c := pcitest.MLX4(0, 0, 4)
	c.Total = 200
	one := c
	one.Slot, one.Netdevs, one.Triplet, one.VFs = "0000:0a:00.0", []string{"ens10"}, [3]int{}, 0
	h, _ := build(t, c, one)
	for _, tt := range []struct {
		pf, driver string
		n          int
		want       string
	}{
		{c.Slot, "", 8, "num_vfs=0,0,8 probe_vf=0,0,8\n"},
		{"ens8", "", 8, "num_vfs=8,0,0 probe_vf=8,0,0\n"},
		{"ens8d1", "vfio-pci", 8, "num_vfs=0,8,0 probe_vf=0,0,0\n"},
		{"ens8", "", 100, "num_vfs=63,37,0 probe_vf=63,37,0\n"},
		{"ens10", "", 8, "num_vfs=8 probe_vf=8\n"},
		{"ens10", "vfio-pci", 8, "num_vfs=8 probe_vf=0\n"},
	} {
		_, err := PlanVFs(t.Context(), h, Want{PF: tt.pf, N: tt.n, Driver: tt.driver, Autoprobe: true})
		if !errors.Is(err, ErrModuleOption) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "/etc/modprobe.d/mlx4_core.conf") || strings.Contains(err.Error(), "%!") {
			t.Errorf("%s %d %s: %v, want %q", tt.pf, tt.n, tt.driver, err, tt.want)
		}
	}
	for pf, n := range map[string]int{"ens8": 127, "ens10": 64} {
		if _, err := PlanVFs(t.Context(), h, Want{PF: pf, N: n, Autoprobe: true}); !errors.Is(err, ErrTooMany) {
			t.Errorf("%s %d: %v", pf, n, err)
		}
	}
	set(t, h, Want{PF: "ens8", N: 4, Driver: "vfio-pci", Autoprobe: true}) // the count is right: drivers can be changed
	wantState(t, h, c.Slot, true, of("vfio-pci", 4)...)
}

func TestTwoChangesExcludeEachOther(t *testing.T) {
	c := pcitest.IGB()
	h, _ := build(t, c)
	p, err := PlanVFs(t.Context(), h, Want{PF: c.Slot, N: 3, Autoprobe: true})
	must(t, err)
	unlock, err := h.lock(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err = p.Run(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside another change: %v", err)
	}
	wantState(t, h, c.Slot, true, of("igbvf", 7)...)
	unlock()
	must(t, p.Run(t.Context(), nil))
}

func TestEveryCardIsCounted(t *testing.T) {
	for _, c := range []pcitest.Card{pcitest.IXGBE(), pcitest.I40E(), pcitest.ICE(), pcitest.MLX5(), pcitest.Many()} {
		h, _ := build(t, c)
		set(t, h, Want{PF: c.Netdevs[0], N: 2, Autoprobe: true, Persist: true})
		set(t, h, Want{PF: c.Netdevs[0], N: c.Total, Driver: "vfio-pci", Persist: true})
		wantState(t, h, c.Slot, false, of("vfio-pci", c.Total)...)
		set(t, h, Want{PF: c.Netdevs[0], N: 0, Persist: true})
		if slots, err := h.slots(); err != nil || len(slots) != 0 {
			t.Errorf("records %v, %v; want none", slots, err)
		}
	}
}
