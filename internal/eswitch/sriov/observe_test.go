package sriov_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/pci"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func TestStateIsWhatTheKernelAndSysfsSay(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	st := observe(t, s)
	pf := st.PFs[0]
	if pf.Name != "eth6" || pf.PCISlot != "0000:06:00.0" || pf.Driver != "mlx5_core" || pf.NUMANode != 1 || pf.MTU != 1500 || !pf.Carrier || pf.TotalVFs != 63 || len(pf.VFs) != 4 {
		t.Errorf("PF %+v", pf)
	}
	v := pf.VFs[2]
	if v.PCISlot != "0000:06:10.2" || v.Netdev != "eth6v2" || v.Driver != "mlx5_core" || v.Attrs.VLAN != eswitch.Set(0) || v.Attrs.MAC != eswitch.Set("00:00:00:00:00:00") {
		t.Errorf("VF %+v", v)
	}
	if !v.Attrs.MTU.IsUnsupported() || !v.Attrs.Allowed.IsUnsupported() {
		t.Errorf("what no NIC has reads as %v, %v", v.Attrs.MTU, v.Attrs.Allowed)
	}
}

func TestVFInAGuestOrAnotherNamespaceHasNoNetdev(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.away(mlx5, 0)
	r.unbind(mlx5, 1)
	r.write("bus/pci/drivers/vfio-pci/module", "")
	r.link("devices/pci0000:00/"+mlx5.vfSlot(1)+"/driver", "bus/pci/drivers/vfio-pci")
	st := observe(t, s)
	if v, _ := vf(st, "eth6", 0); v.Netdev != "" || v.Driver != "mlx5_core" {
		t.Errorf("VF in another namespace: %+v", v)
	}
	if v, _ := vf(st, "eth6", 1); v.Netdev != "" || v.Driver != "vfio-pci" {
		t.Errorf("VF on vfio-pci: %+v", v)
	}
}

// Weakness 1 of neutron's agent: a full dump per VF.
func TestOneReadingPerPFHoweverManyVFs(t *testing.T) {
	eth7 := mlx5
	eth7.name, eth7.number, eth7.vfs = "eth7", 7, 64
	r := newRack(t, mlx5, eth7)
	s := r.open()
	observe(t, s)
	if n := r.k.Counts(); n.Gets != 2 || n.Sets != 0 {
		t.Errorf("two PFs took %+v", n)
	}
}

// Weakness 1 as well: and nothing at all while nothing happens.
func TestIdleHostSendsNothing(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	r.k.Counts()
	if event(s, 700*time.Millisecond) {
		t.Error("an event although nothing happened")
	}
	if n := r.k.Counts(); n != (vfnltest.Counts{}) {
		t.Errorf("an idle host sent %+v", n)
	}
}

// Weakness 2: more than 108 or 127 VFs did not fit the receive buffer.
func Test255VFsAreSeenWithAndWithoutCounters(t *testing.T) {
	big := mlx5
	big.vfs, big.vfDriver = 255, ""
	r := newRack(t, big)
	s := r.open()
	if n := len(observe(t, s).PFs[0].VFs); n != 255 {
		t.Errorf("%d VFs seen", n)
	}
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs[254].Stats = vfnl.Stats{RxBytes: 1 << 40, Broadcast: 7} })
	c, err := s.Counters(t.Context())
	if v := c[eswitch.VFID{PF: "eth6", Index: 254}]; err != nil || len(c) != 255 || v.RxBytes != 1<<40 || v.RxBroadcast != 7 {
		t.Errorf("%d counters, the last %+v, %v", len(c), v, err)
	}
}

// Weakness 3, the reading half: one bad PF must not hide the others.
func TestOneBadPFHidesNoOther(t *testing.T) {
	eth7 := mlx5
	eth7.name, eth7.number = "eth7", 7
	r := newRack(t, mlx5, eth7)
	s := r.open()
	r.k.Remove(7)
	st := observe(t, s)
	if len(st.PFs) != 1 || st.PFs[0].Name != "eth6" {
		t.Errorf("with one PF gone the state is %+v", st)
	}
	if c, err := s.Counters(t.Context()); err == nil || !strings.Contains(err.Error(), "eth7") || len(c) != 4 {
		t.Errorf("counters: %d, %v", len(c), err)
	}
	r.k.Remove(6)
	if _, err := s.Observe(t.Context()); !errors.Is(err, vfnl.ErrNoPF) {
		t.Errorf("with every PF gone: %v", err)
	}
}

// Weakness 8: what a PF reset or somebody's command took away was not seen.
func TestSettingsLostByAPFResetAreSeen(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, port()))
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs[0].VLAN, l.VFs[0].Spoof = vfnl.VLAN{Proto: vfnl.Dot1Q}, false })
	v := look(t, s, "eth6", 0)
	todo, _ := eswitch.Diff(port(), v.Attrs)
	if todo.VLAN != eswitch.Set(77) || todo.SpoofCheck != eswitch.Set(true) || todo.MAC.IsSet() {
		t.Errorf("to be put right is %+v", todo)
	}
}

// Weakness 8: a changed number of VFs was not seen.
func TestChangedNumberOfVFsIsSeen(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	more := mlx5
	more.vfs = 5
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs = append(l.VFs, vfnltest.VF{}) })
	r.addVF(more, 4)
	r.ue <- sriov.Uevent{Action: "change", Path: "/devices/pci0000:00/0000:06:00.0", Subsystem: "pci"}
	if !event(s, time.Second) {
		t.Error("no event")
	}
	if v := look(t, s, "eth6", 4); v.PCISlot != "0000:06:10.4" {
		t.Errorf("the new VF: %+v", v)
	}
}

// Weakness 8: re-enumeration. What identifies a VF is where virtfnN points.
func TestVFIsWhatItsLinkPointsAt(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.link("devices/pci0000:00/0000:06:00.0/virtfn1", "devices/pci0000:00/0000:06:10.3")
	r.link("devices/pci0000:00/0000:06:00.0/virtfn3", "devices/pci0000:00/0000:06:10.1")
	if v := look(t, s, "eth6", 1); v.PCISlot != "0000:06:10.3" || v.Netdev != "eth6v3" {
		t.Errorf("VF 1 is %+v", v)
	}
}

// Weakness 9: a VF used again with the same MAC was no event, and stayed as it was.
func TestObservationNeverComesFromMemory(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, port()))
	observe(t, s)
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs[0].Trust, l.VFs[0].Max = false, 5 })
	v := look(t, s, "eth6", 0)
	if v.Attrs.Trust != eswitch.Set(false) || v.Attrs.MaxTxRate != eswitch.Set(5) || v.Attrs.MAC != eswitch.Set(tenant) {
		t.Errorf("reads %+v", v.Attrs)
	}
}

// Weakness 11: VFs missing from the list for a moment.
func TestVFMissingForAMomentIsReadAgain(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	r.k.Hide(6, 1, 2)
	if _, ok := vf(observe(t, s), "eth6", 1); !ok {
		t.Error("the VF was given up at once")
	}
}

// Weakness 11: and one that stays away is neither free nor dirty, and not forgotten.
func TestVFThatStaysMissingIsLeftOutAndLookedForAgain(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	r.k.Hide(6, 1, -1)
	st := observe(t, s)
	if _, ok := vf(st, "eth6", 1); ok || len(st.PFs[0].VFs) != 3 {
		t.Errorf("the state has %+v", st.PFs[0].VFs)
	}
	if err := apply(t, s, "eth6", 1, port()); !errors.Is(err, eswitch.ErrBusy) {
		t.Errorf("a change of it: %v", err)
	}
	if !event(s, 2*time.Second) {
		t.Error("no event asks for another look")
	}
	r.k.Hide(6, 1, 0)
	look(t, s, "eth6", 1)
}

// Weakness 12: VFs not yet created at start.
func TestVFsThatComeLaterAreSeen(t *testing.T) {
	late := mlx5
	late.vfs = 0
	r := newRack(t, late)
	s := r.open()
	if n := len(observe(t, s).PFs[0].VFs); n != 0 {
		t.Fatalf("%d VFs", n)
	}
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs = make([]vfnltest.VF, 2) }) // the driver is ahead of sysfs
	if n := len(observe(t, s).PFs[0].VFs); n != 0 {
		t.Errorf("%d VFs without a link to their function", n)
	}
	late.vfs = 2
	r.addVF(late, 0)
	r.addVF(late, 1)
	if !event(s, 2*time.Second) {
		t.Error("no event asks for another look")
	}
	look(t, s, "eth6", 1)
}

func TestPFThatComesLaterIsSeen(t *testing.T) {
	r := newRack(t)
	r.k = vfnltest.New()
	r.cards = []card{mlx5}
	s := r.open()
	if _, err := s.Observe(t.Context()); !errors.Is(err, pci.ErrNoDevice) {
		t.Errorf("without its only PF: %v", err)
	}
	r.addPF(mlx5)
	r.k.Change(6, func(l *vfnltest.Link) { *l = vfnltest.PF(6, "eth6", mlx5.behave, 0) })
	if !event(s, time.Second) {
		t.Error("no event")
	}
	if st := observe(t, s); len(st.PFs) != 1 {
		t.Errorf("%+v", st)
	}
}

func TestNoVLANOfMellanoxIsNoVLAN(t *testing.T) {
	r := newRack(t, mlx4)
	s := r.open()
	if v := look(t, s, "eth6", 0); v.Attrs.VLAN != eswitch.Set(0) || !v.Attrs.MaxTxRate.IsUnsupported() {
		t.Errorf("VLAN %v, rate %v", v.Attrs.VLAN, v.Attrs.MaxTxRate)
	}
}

func TestVLANWithPriorityBitsIsPutRight(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, port()))
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs[0].VLAN.QoS = 5 })
	v := look(t, s, "eth6", 0)
	todo, _ := eswitch.Diff(port(), v.Attrs)
	must(t, apply(t, s, "eth6", 0, todo))
	if n := r.k.VF(6, 0).VLAN; n.QoS != 0 || n.ID != 77 {
		t.Errorf("VLAN is %+v", n)
	}
}

func TestFunctionWithTwoNetdevsShowsTheOneOfThePFsPort(t *testing.T) {
	r := newRack(t, mlx4)
	dev := "devices/pci0000:00/" + mlx4.vfSlot(0) + "/net/"
	r.write(dev+"a/dev_port", "1")
	r.write(dev+"a/address", "02:00:00:00:00:01")
	r.write("devices/pci0000:00/"+mlx4.slot()+"/net/eth6/dev_port", "1")
	if v := look(t, r.open(), "eth6", 0); v.Netdev != "a" {
		t.Errorf("netdev %q", v.Netdev)
	}
}

// Whichever of the two was changed, the agent is not to take the MAC for right.
func TestNoMACIsInForceWhileNetdevAndPFDisagree(t *testing.T) {
	r := newRack(t, igb)
	s := r.open()
	r.k.Silently(6, func(l *vfnltest.Link) { l.VFs[0].MAC = vfnl.MAC{0xfa, 0x16, 0x3e, 0, 0, 1} })
	if v := look(t, s, "eth6", 0); v.Attrs.MAC != eswitch.Unset[string]() {
		t.Errorf("MAC %v", v.Attrs.MAC)
	}
	r.write("devices/pci0000:00/"+igb.vfSlot(0)+"/net/eth6v0/upper_macvtap0", "")
	if v := look(t, s, "eth6", 0); v.Attrs.MAC != eswitch.Set(tenant) {
		t.Errorf("with a macvtap on top: MAC %v", v.Attrs.MAC)
	}
}

func TestParkingAddressIsStableLocalAndOfOneVFOnly(t *testing.T) {
	eth7 := igb
	eth7.name, eth7.number = "eth7", 7
	r := newRack(t, igb, eth7)
	seen := map[string]bool{}
	for _, s := range []*sriov.Switch{r.open(), r.open()} {
		for _, pf := range observe(t, s).PFs {
			for _, v := range pf.VFs {
				base := v.BaselineAttrs()
				m, _ := base.MAC.Get()
				if !strings.HasPrefix(m, "02:") || base.SpoofCheck != eswitch.Set(true) || base.LinkState != eswitch.Set(model.LinkDisable) {
					t.Errorf("baseline %+v", base)
				}
				seen[m] = true
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("8 VFs seen twice have the addresses %v", seen)
	}
	v := look(t, newRack(t, mlx5).open(), "eth6", 0)
	if base := v.BaselineAttrs(); base.MAC != eswitch.Set("00:00:00:00:00:00") {
		t.Errorf("mlx5 has baseline %v", base.MAC)
	}
}

func TestHangingDriverHoldsUpItsOwnPFOnly(t *testing.T) {
	eth7 := mlx5
	eth7.name, eth7.number = "eth7", 7
	r := newRack(t, mlx5, eth7)
	s := r.open(func(o *sriov.Options) { o.Patience = 50 * time.Millisecond })
	observe(t, s)
	release := r.k.Hang(7)
	t.Cleanup(release)
	results := s.Apply(t.Context(), []eswitch.Change{
		{VF: eswitch.VFID{PF: "eth7"}, Attrs: port()}, {VF: eswitch.VFID{PF: "eth6"}, Attrs: port()},
	})
	if err := results[0].Err; !errors.Is(err, eswitch.ErrBusy) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the PF whose driver hangs: %v", err)
	}
	if results[1].Err != nil {
		t.Errorf("the other PF: %v", results[1].Err)
	}
	st := observe(t, s)
	if _, ok := vf(st, "eth6", 0); !ok || len(st.PFs) != 1 {
		t.Errorf("while one hangs the state is %+v", st)
	}
	release()
	deadline := time.Now().Add(5 * time.Second)
	for len(observe(t, s).PFs) != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the PF does not come back after its driver let go")
		}
	}
}

func TestEndedContextIsSaidAtOnce(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Observe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("observe: %v", err)
	}
	if err := s.Apply(ctx, []eswitch.Change{{VF: eswitch.VFID{PF: "eth6"}, Attrs: port()}})[0].Err; !errors.Is(err, context.Canceled) {
		t.Errorf("apply: %v", err)
	}
}

func TestPFNamedTwiceIsRefused(t *testing.T) {
	r := newRack(t, mlx5)
	_, err := sriov.Open(t.Context(), sriov.Options{
		PFs: []string{"eth6", "eth6"}, Sys: r.sys, Dial: func() (*vfnl.Conn, error) { return r.k.Conn(), nil },
		Monitor: func() (*vfnl.Monitor, error) { return r.k.Monitor(), nil },
	})
	if err == nil || !strings.Contains(err.Error(), "eth6") {
		t.Errorf("%v", err)
	}
	_, err = sriov.Open(t.Context(), sriov.Options{PFs: []string{"eth6"}, Sys: r.sys, Dial: func() (*vfnl.Conn, error) { return nil, unix.EMFILE }})
	if !errors.Is(err, unix.EMFILE) {
		t.Errorf("%v", err)
	}
}
