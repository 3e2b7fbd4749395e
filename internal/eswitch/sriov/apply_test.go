package sriov_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func TestAPortIsOneRequest(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.away(mlx5, 0)
	observe(t, s)
	r.k.Counts()
	must(t, apply(t, s, "eth6", 0, port()))
	if n := r.k.Counts(); n.Sets != 1 || n.Gets != 1 {
		t.Errorf("it took %+v", n)
	}
	v := look(t, s, "eth6", 0)
	if todo, cannot := eswitch.Diff(port(), v.Attrs); !todo.Empty() || cannot != nil {
		t.Errorf("left to do %+v, cannot %v", todo, cannot)
	}
}

// Weakness 3: one bad VF made all ports flap.
func TestOneBadVFAffectsNoOther(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	r.k.FailWith(func(q vfnltest.Request) *vfnltest.Fault {
		if q.VF == 2 {
			return &vfnltest.Fault{Errno: unix.EIO, Message: "firmware says no"}
		}
		return nil
	})
	var changes []eswitch.Change
	for i := range 4 {
		a := port()
		a.MAC = eswitch.Set(vfnl.MAC{0xfa, 0x16, 0x3e, 0, 0, byte(i)}.String())
		changes = append(changes, eswitch.Change{VF: eswitch.VFID{PF: "eth6", Index: i}, Attrs: a})
	}
	for i, res := range s.Apply(t.Context(), changes) {
		if res.VF != changes[i].VF {
			t.Errorf("result %d is of %v", i, res.VF)
		}
		if i != 2 {
			must(t, res.Err)
		} else if !errors.Is(res.Err, unix.EIO) || !strings.Contains(res.Err.Error(), "firmware says no") || !strings.Contains(res.Err.Error(), "VF 2 of eth6") {
			t.Errorf("the bad one: %v", res.Err)
		}
	}
}

// Weakness 10: spoof check and link state stayed on a VF that was given back.
func TestBaselineTakesEverythingBack(t *testing.T) {
	for _, c := range []card{igb, i40e, mlx4, mlx5} {
		r := newRack(t, c)
		s := r.open()
		for i := range c.vfs {
			r.away(c, i)
		}
		settleOn(t, s, "eth6", 0, port())
		v := look(t, s, "eth6", 0)
		settleOn(t, s, "eth6", 0, v.BaselineAttrs())
		got := r.k.VF(6, 0)
		base := v.BaselineAttrs()
		if m, _ := base.MAC.Get(); got.MAC.String() != m || got.VLAN.ID != 0 || !got.Spoof || got.Trust || got.Max != 0 || got.Min != 0 ||
			(c.driver != "igb" && got.Link != model.LinkDisable) {
			t.Errorf("%s: left is %+v", c.driver, got)
		}
	}
}

// settleOn does what the agent does: observe, compare, apply, until nothing is left.
func settleOn(t *testing.T, s *sriov.Switch, pf string, i int, want eswitch.Attrs) (cannot []string) {
	t.Helper()
	var errs error
	for range 5 {
		v := look(t, s, pf, i)
		var todo eswitch.Attrs
		todo, cannot = eswitch.Diff(want, v.Attrs)
		if todo.Empty() {
			return cannot
		}
		errs = errors.Join(errs, apply(t, s, pf, i, todo))
	}
	t.Fatalf("VF %d of %s does not come to %+v: %v", i, pf, want, errs)
	return nil
}

// Weakness 16: a minimum rate that the NIC does not have was logged only.
func TestMinimumRateThatTheNICLacksIsFoundAndTheRestIsDone(t *testing.T) {
	for _, c := range []card{igb, i40e} {
		r := newRack(t, c)
		s := r.open()
		r.away(c, 0)
		err := apply(t, s, "eth6", 0, port())
		if !errors.Is(err, eswitch.ErrUnsupported) || !strings.Contains(err.Error(), "min_tx_rate") {
			t.Errorf("%s: %v", c.driver, err)
		}
		if v := r.k.VF(6, 0); v.Max != 100 || v.VLAN.ID != 77 {
			t.Errorf("%s: done was %+v", c.driver, v)
		}
		v := look(t, s, "eth6", 0)
		if !v.Attrs.MinTxRate.IsUnsupported() || !v.Attrs.MaxTxRate.IsSet() || s.Capabilities("eth6").MinTxRate || !s.Capabilities("eth6").MaxTxRate {
			t.Errorf("%s: afterwards %+v", c.driver, v.Attrs)
		}
	}
}

// A value that is refused is no missing attribute.
func TestMinimumRateThatIsTooHighIsNotUnsupported(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	limit := vfnltest.MLX5()
	r.k.Silently(6, func(l *vfnltest.Link) { limit.MinAtMost = 5; l.Driver = limit })
	if err := apply(t, s, "eth6", 0, eswitch.Attrs{MinTxRate: eswitch.Set(10), MaxTxRate: eswitch.Set(100)}); !errors.Is(err, unix.EINVAL) || errors.Is(err, eswitch.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if v := look(t, s, "eth6", 0); !v.Attrs.MinTxRate.IsSet() {
		t.Error("the attribute counts as missing")
	}
	if v := r.k.VF(6, 0); v.Min != 0 || v.Max != 100 {
		t.Errorf("left is %d..%d", v.Min, v.Max)
	}
}

// Weakness 17: setting one rate clobbered the other (LP#1962844).
func TestOneRateDoesNotClobberTheOther(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MinTxRate: eswitch.Set(10), MaxTxRate: eswitch.Set(100)}))
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MaxTxRate: eswitch.Set(200)}))
	if v := r.k.VF(6, 0); v.Min != 10 || v.Max != 200 {
		t.Errorf("%d..%d", v.Min, v.Max)
	}
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MinTxRate: eswitch.Set(20)}))
	if v := r.k.VF(6, 0); v.Min != 20 || v.Max != 200 {
		t.Errorf("%d..%d", v.Min, v.Max)
	}
}

func TestMissingAttributeIsLearnedOnceAndForgottenWithTheDriver(t *testing.T) {
	r := newRack(t, igb)
	s := r.open()
	r.away(igb, 0)
	r.away(igb, 1)
	if v := look(t, s, "eth6", 0); v.Attrs.LinkState != eswitch.Set(model.LinkAuto) {
		t.Errorf("before it was tried, link state is %v", v.Attrs.LinkState)
	}
	link := eswitch.Attrs{LinkState: eswitch.Set(model.LinkEnable), VLAN: eswitch.Set(5)}
	if err := apply(t, s, "eth6", 0, link); !errors.Is(err, eswitch.ErrUnsupported) || !strings.Contains(err.Error(), "link_state") || strings.Contains(err.Error(), "vlan") {
		t.Errorf("tried: %v", err)
	}
	if v := look(t, s, "eth6", 1); !v.Attrs.LinkState.IsUnsupported() || s.Capabilities("eth6").LinkState {
		t.Errorf("then link state of the other VF is %v", v.Attrs.LinkState)
	}
	r.k.Asked()
	if err := apply(t, s, "eth6", 1, link); !errors.Is(err, eswitch.ErrUnsupported) {
		t.Errorf("asked again: %v", err)
	}
	if asked := r.k.Asked(); slices.ContainsFunc(asked, func(q vfnltest.Request) bool { return q.Attr == "link_state" }) || r.k.VF(6, 1).VLAN.ID != 5 {
		t.Errorf("the driver was asked %v", asked)
	}
	must(t, apply(t, s, "eth6", 1, eswitch.Attrs{LinkState: eswitch.Set(model.LinkAuto)})) // what it does anyway
	old := r.k.Link(6)
	r.k.Change(66, func(l *vfnltest.Link) { *l = old; l.Ifindex = 66 })
	r.write("devices/pci0000:00/0000:06:00.0/net/eth6/ifindex", "66")
	if v := look(t, s, "eth6", 0); !v.Attrs.LinkState.IsSet() {
		t.Error("after the driver was loaded again it is still unsupported")
	}
}

func TestNothingIsOpenedOnAVFThatIsNotIsolated(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkDisable)}))
	r.k.FailWith(func(q vfnltest.Request) *vfnltest.Fault {
		if q.Attr == "vlan" {
			return &vfnltest.Fault{Errno: unix.EINVAL}
		}
		return nil
	})
	err := apply(t, s, "eth6", 0, port())
	if !errors.Is(err, unix.EINVAL) || !strings.Contains(err.Error(), "vlan") || !strings.Contains(err.Error(), "not isolated") {
		t.Errorf("%v", err)
	}
	if v := r.k.VF(6, 0); v.Link != model.LinkDisable || v.Trust || v.Max != 100 {
		t.Errorf("done was %+v", v)
	}
}

func TestLinkGoesDownBeforeTheVLANGoes(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, port()))
	r.k.Asked()
	must(t, apply(t, s, "eth6", 0, eswitch.Baseline()))
	if asked := r.k.Asked(); asked[0].Attr != "link_state" {
		t.Errorf("asked was %v", asked)
	}
}

func TestBusyDriverIsAskedAgain(t *testing.T) {
	r := newRack(t, i40e)
	s := r.open()
	left := 3
	r.k.FailWith(func(vfnltest.Request) *vfnltest.Fault {
		if left--; left >= 0 {
			return &vfnltest.Fault{Errno: unix.EAGAIN}
		}
		return nil
	})
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{VLAN: eswitch.Set(5)}))
}

func TestMlx4TakesARateAwayBeforeTheVLAN(t *testing.T) {
	r := newRack(t, mlx4)
	s := r.open()
	r.away(mlx4, 0)
	a := eswitch.Attrs{MAC: eswitch.Set(tenant), VLAN: eswitch.Set(77), MaxTxRate: eswitch.Set(100)}
	settleOn(t, s, "eth6", 0, a)
	r.k.Counts()
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{VLAN: eswitch.Set(0)}))
	if n := r.k.Counts(); n.Sets != 1 {
		t.Errorf("it took %+v", n)
	}
	if v := r.k.VF(6, 0); v.VLAN.ID != 0 || v.Max != 0 {
		t.Errorf("left is %+v", v)
	}
	settleOn(t, s, "eth6", 0, a)
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{VLAN: eswitch.Set(78)}))
	if v := r.k.VF(6, 0); v.VLAN.ID != 78 || v.Max != 100 {
		t.Errorf("another VLAN leaves %+v", v)
	}
	err := apply(t, s, "eth6", 1, eswitch.Attrs{MaxTxRate: eswitch.Set(100)})
	if !errors.Is(err, eswitch.ErrUnsupported) || !strings.Contains(err.Error(), "without a VLAN") {
		t.Errorf("a rate without a VLAN: %v", err)
	}
}

func TestDriverThatTakesNoZeroMACParks(t *testing.T) {
	odd := mlx5
	odd.driver = "bnx2x"
	r := newRack(t, odd)
	s := r.open()
	r.k.FailWith(func(q vfnltest.Request) *vfnltest.Fault {
		if q.Attr == "mac" && q.VF == 0 {
			return &vfnltest.Fault{Errno: unix.EADDRNOTAVAIL}
		}
		return nil
	})
	if err := apply(t, s, "eth6", 0, eswitch.Attrs{MAC: eswitch.Set("00:00:00:00:00:00")}); !errors.Is(err, unix.EADDRNOTAVAIL) {
		t.Errorf("%v", err)
	}
	v := look(t, s, "eth6", 0)
	if base := v.BaselineAttrs(); !strings.HasPrefix(base.MAC.String(), "02:") {
		t.Errorf("the baseline is %v", base.MAC)
	}
}

func TestExcludedAndForeignAreNeverWritten(t *testing.T) {
	eth7 := mlx5
	eth7.name, eth7.number = "eth7", 7
	r := newRack(t, mlx5, eth7)
	s := r.open(func(o *sriov.Options) {
		o.PFs = []string{"eth6"}
		o.Exclude = map[string][]string{"eth6": {mlx5.vfSlot(1)}}
	})
	results := s.Apply(t.Context(), []eswitch.Change{
		{VF: eswitch.VFID{PF: "eth6", Index: 1}, Attrs: port()},
		{VF: eswitch.VFID{PF: "eth7", Index: 0}, Attrs: port()},
		{VF: eswitch.VFID{PF: "eth6", Index: 9}, Attrs: port()},
	})
	for i, want := range []error{sriov.ErrExcluded, eswitch.ErrNoVF, eswitch.ErrNoVF} {
		if !errors.Is(results[i].Err, want) {
			t.Errorf("%v: %v, want %v", results[i].VF, results[i].Err, want)
		}
	}
	if st := observe(t, s); len(st.PFs) != 1 {
		t.Errorf("a foreign PF is in the state: %+v", st)
	}
	if asked := r.k.Asked(); len(asked) != 0 {
		t.Errorf("written was %v", asked)
	}
	look(t, s, "eth6", 1) // but it is shown
}

func TestWrongValuesAreNotSent(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	for _, a := range []eswitch.Attrs{{MAC: eswitch.Set("nonsense")}, {VLAN: eswitch.Set(4095)}, {MaxTxRate: eswitch.Set(-1)}} {
		if err := apply(t, s, "eth6", 0, a); !errors.Is(err, vfnl.ErrInvalid) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	for _, a := range []eswitch.Attrs{{MTU: eswitch.Set(9000)}, {Allowed: eswitch.Set([]model.AllowedSource{{}})}} {
		if err := apply(t, s, "eth6", 0, a); !errors.Is(err, eswitch.ErrUnsupported) {
			t.Errorf("%+v: %v", a, err)
		}
	}
	if n := r.k.Counts(); n.Sets != 0 {
		t.Errorf("%d requests were sent", n.Sets)
	}
}

func TestLateMACIsWaitedFor(t *testing.T) {
	r := newRack(t, i40e)
	s := r.open()
	r.away(i40e, 0)
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MAC: eswitch.Set(tenant)}))
	if v := look(t, s, "eth6", 0); v.Attrs.MAC != eswitch.Set(tenant) {
		t.Errorf("after Apply the MAC is %v", v.Attrs.MAC)
	}
}

func TestVFDriverThatKeepsItsAddressIsBoundAgain(t *testing.T) {
	r := newRack(t, igb)
	r.rebinds(igb)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MAC: eswitch.Set(tenant)}))
	if v := look(t, s, "eth6", 0); r.bounds(igb, 0) != 1 || v.Netdev != "eth6v0" || v.Attrs.MAC != eswitch.Set(tenant) {
		t.Errorf("bound %d times, VF %+v", r.bounds(igb, 0), v)
	}
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{VLAN: eswitch.Set(5)}))
	if n := r.bounds(igb, 0); n != 1 {
		t.Errorf("bound %d times without a new MAC", n)
	}
}

func TestVFInUseIsNeverBoundAgain(t *testing.T) {
	r := newRack(t, igb)
	r.rebinds(igb)
	s := r.open()
	r.write("devices/pci0000:00/"+igb.vfSlot(0)+"/net/eth6v0/upper_macvtap0", "")
	r.away(igb, 1)
	for i := range 2 {
		must(t, apply(t, s, "eth6", i, eswitch.Attrs{MAC: eswitch.Set(tenant)}))
		if n := r.bounds(igb, i); n != 0 {
			t.Errorf("VF %d was bound again", i)
		}
	}
}

func TestVFDriverThatTakesAnAddressIsGivenIt(t *testing.T) {
	r := newRack(t, mlx5)
	r.rebinds(mlx5)
	s := r.open()
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MAC: eswitch.Set(tenant)}))
	if l := r.k.Link(6000); l.Address.String() != tenant || r.bounds(mlx5, 0) != 0 {
		t.Errorf("the netdev has %v, bound again %d times", l.Address, r.bounds(mlx5, 0))
	}
	r.k.FailWith(func(q vfnltest.Request) *vfnltest.Fault {
		if q.Attr == "address" {
			return &vfnltest.Fault{Errno: unix.EPERM}
		}
		return nil
	})
	must(t, apply(t, s, "eth6", 1, eswitch.Attrs{MAC: eswitch.Set("fa:16:3e:00:00:02")}))
	if n := r.bounds(mlx5, 1); n != 1 {
		t.Errorf("one that does not take it was bound again %d times", n)
	}
}

func TestVFThatCannotBeBoundAgainIsSaidSo(t *testing.T) {
	r := newRack(t, igb)
	s := r.open()
	err := apply(t, s, "eth6", 0, eswitch.Attrs{MAC: eswitch.Set(tenant)})
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "igbvf") || !strings.Contains(err.Error(), igb.vfSlot(0)) {
		t.Errorf("%v", err)
	}
}

func TestOFEDFilesAreUsedForWhatNetlinkLacks(t *testing.T) {
	old := mlx5
	old.behave = vfnltest.Driver{Lacks: []string{"trust", "rss_query", "max_tx_rate", "min_tx_rate"}}
	r := newRack(t, old)
	dir := "devices/pci0000:00/0000:06:00.0/sriov/0/"
	config := "VF         : 0\nTrust      : OFF\nMinTxRate  : 0\nMaxTxRate  : %\nVGT+       : OFF\n"
	r.write(dir+"config", strings.ReplaceAll(config, "%", "0"))
	for _, f := range []string{"trust", "max_tx_rate", "min_tx_rate"} {
		r.write(dir+f, "")
	}
	s := r.open()
	if v := look(t, s, "eth6", 0); v.Attrs.Trust != eswitch.Set(false) {
		t.Errorf("trust reads %v", v.Attrs.Trust)
	}
	if v := look(t, s, "eth6", 1); !v.Attrs.Trust.IsUnsupported() {
		t.Errorf("without files trust reads %v", v.Attrs.Trust)
	}
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{Trust: eswitch.Set(true)}))
	if b, _ := os.ReadFile(r.path(dir + "trust")); !strings.HasPrefix(string(b), "ON") {
		t.Errorf("trust was written %q", b)
	}
	_ = apply(t, s, "eth6", 0, eswitch.Attrs{MaxTxRate: eswitch.Set(100)})
	must(t, apply(t, s, "eth6", 0, eswitch.Attrs{MaxTxRate: eswitch.Set(100)}))
	if b, _ := os.ReadFile(r.path(dir + "max_tx_rate")); !strings.HasPrefix(string(b), "100") {
		t.Errorf("max_tx_rate was written %q", b)
	}
	r.write(dir+"config", strings.ReplaceAll(config, "%", "100"))
	if v := look(t, s, "eth6", 0); v.Attrs.MaxTxRate != eswitch.Set(100) {
		t.Errorf("rate reads %v", v.Attrs.MaxTxRate)
	}
}

func TestApplyRaisesNoEventOfItsOwn(t *testing.T) {
	r := newRack(t, mlx5)
	s := r.open()
	observe(t, s)
	must(t, apply(t, s, "eth6", 0, port()))
	observe(t, s)
	if event(s, 100*time.Millisecond) {
		t.Error("Apply raised an event")
	}
}
