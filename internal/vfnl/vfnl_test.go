package vfnl_test

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/vfnl"
	"neutrino/internal/vfnl/vfnltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const eth6 = 6

func open(t testing.TB, links ...vfnltest.Link) (*vfnltest.Kernel, *vfnl.Conn) {
	k := vfnltest.New(links...)
	c := k.Conn()
	t.Cleanup(func() { c.Close() })
	return k, c
}

func read(t testing.TB, c *vfnl.Conn) vfnl.PF {
	t.Helper()
	p, err := c.PF(t.Context(), eth6, false)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func draw[T any](t *rapid.T, label string, g *rapid.Generator[T]) eswitch.Attr[T] {
	if !rapid.Bool().Draw(t, label+" set") {
		return eswitch.Unset[T]()
	}
	return eswitch.Set(g.Draw(t, label))
}

func drawAttrs(t *rapid.T) vfnl.Attrs {
	a := vfnl.Attrs{
		MAC: draw(t, "mac", rapid.Custom(func(t *rapid.T) vfnl.MAC {
			m := vfnl.MAC(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "bytes"))
			m[0] &^= 1
			return m
		})),
		VLAN: draw(t, "vlan", rapid.Custom(func(t *rapid.T) vfnl.VLAN {
			return vfnl.VLAN{
				ID: rapid.IntRange(0, 4094).Draw(t, "id"), QoS: rapid.IntRange(0, 7).Draw(t, "qos"),
				Proto: rapid.SampledFrom([]uint16{vfnl.Dot1Q, vfnl.Dot1AD}).Draw(t, "proto"),
			}
		})),
		SpoofCheck: draw(t, "spoof", rapid.Bool()), Trust: draw(t, "trust", rapid.Bool()), RSSQuery: draw(t, "rss", rapid.Bool()),
		LinkState: draw(t, "link", rapid.SampledFrom([]model.LinkState{model.LinkAuto, model.LinkEnable, model.LinkDisable})),
		NodeGUID:  draw(t, "node", rapid.Custom(func(t *rapid.T) vfnl.GUID { return vfnl.GUID(rapid.Uint64().Draw(t, "guid")) })),
		PortGUID:  draw(t, "port", rapid.Custom(func(t *rapid.T) vfnl.GUID { return vfnl.GUID(rapid.Uint64().Draw(t, "guid")) })),
	}
	if rapid.Bool().Draw(t, "rates") {
		high := rapid.IntRange(0, 100000).Draw(t, "max")
		a.MaxTxRate, a.MinTxRate = eswitch.Set(high), eswitch.Set(rapid.IntRange(0, high).Draw(t, "min"))
	}
	return a
}

func merge[T any](have *eswitch.Attr[T], change eswitch.Attr[T]) {
	if change.IsSet() {
		*have = change
	}
}

func TestWhatIsSetReadsBackAndTheRestStays(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		_, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{GUIDs: true}, 5))
		for range rapid.IntRange(1, 4).Draw(r, "rounds") {
			var changes []vfnl.Change
			for range rapid.IntRange(1, 3).Draw(r, "changes") {
				ch := vfnl.Change{VF: rapid.IntRange(0, 4).Draw(r, "vf"), Attrs: drawAttrs(r)}
				if !ch.Empty() {
					changes = append(changes, ch)
				}
			}
			if len(changes) == 0 {
				continue
			}
			want := read(t, c)
			if err := c.Set(context.Background(), eth6, changes...); err != nil {
				r.Fatal(err)
			}
			for _, ch := range changes {
				v := &want.VFs[ch.VF].Attrs
				merge(&v.MAC, ch.MAC)
				merge(&v.VLAN, ch.VLAN)
				merge(&v.SpoofCheck, ch.SpoofCheck)
				merge(&v.Trust, ch.Trust)
				merge(&v.RSSQuery, ch.RSSQuery)
				merge(&v.LinkState, ch.LinkState)
				merge(&v.MinTxRate, ch.MinTxRate)
				merge(&v.MaxTxRate, ch.MaxTxRate)
				merge(&v.NodeGUID, ch.NodeGUID)
				merge(&v.PortGUID, ch.PortGUID)
			}
			if got := read(t, c); !reflect.DeepEqual(got, want) {
				r.Fatalf("after %+v\nreads %+v\nwant  %+v", changes, got, want)
			}
		}
	})
}

func TestUnsupportedIsNotOff(t *testing.T) {
	_, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{Lacks: []string{"spoof_check", "trust", "rss_query"}}, 1))
	v := read(t, c).VFs[0]
	for name, a := range map[string]eswitch.Attr[bool]{"spoof check": v.SpoofCheck, "trust": v.Trust, "RSS query": v.RSSQuery} {
		if !a.IsUnsupported() {
			t.Errorf("%s the driver does not have reads as %v", name, a)
		}
	}
	if !v.NodeGUID.IsUnsupported() || !v.Stats.IsUnsupported() && v.Stats.IsSet() {
		t.Errorf("what the kernel did not send reads as GUID %v, statistics %v", v.NodeGUID, v.Stats)
	}
}

func TestMlx5WithoutVLANProtocolMeans8021Q(t *testing.T) {
	_, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.MLX5(), 1))
	if n, _ := read(t, c).VFs[0].VLAN.Get(); n.Proto != vfnl.Dot1Q {
		t.Errorf("protocol %#x", n.Proto)
	}
}

func TestIndexIsTheAttributesAndNotThePlace(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.MLX5(), 4))
	if err := c.Set(t.Context(), eth6, vfnl.Change{VF: 3, Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 77})}}); err != nil {
		t.Fatal(err)
	}
	k.Hide(eth6, 1, 1)
	p := read(t, c)
	if len(p.VFs) != 3 || p.VFs[2].Index != 3 || p.VFs[2].VLAN.String() != "{77 0 33024}" {
		t.Errorf("with VF 1 left out VF 3 reads as %+v", p.VFs)
	}
	if m := p.Missing(); !slices.Equal(m, []int{1}) {
		t.Errorf("missing %v, want VF 1", m)
	}
	p = read(t, c)
	if m := p.Missing(); m != nil {
		t.Errorf("missing %v after it came back", m)
	}
}

func Test255VFsFitWithoutStatistics(t *testing.T) {
	for _, d := range []vfnltest.Driver{{}, {GUIDs: true}} {
		k, c := open(t, vfnltest.PF(eth6, "eth6", d, 255))
		k.Silently(eth6, func(l *vfnltest.Link) {
			for i := range l.VFs {
				l.VFs[i].VLAN.ID = i + 1
			}
		})
		p := read(t, c)
		if len(p.VFs) != 255 || p.VFs[254].VLAN.String() != "{255 0 33024}" || p.Permanent == (vfnl.MAC{}) {
			t.Errorf("GUIDs %v: %d VFs read, the last with VLAN %v, what follows the list %v", d.GUIDs, len(p.VFs), p.VFs[len(p.VFs)-1].VLAN, p.Permanent)
		}
		each := 196
		if d.GUIDs {
			each = 236
		}
		if size := each*255 + 4; size > 65535 {
			t.Errorf("the list takes %d bytes, more than its length can say", size)
		}
	}
}

func TestWrappedListWithStatisticsIsReadToItsEnd(t *testing.T) {
	for _, n := range []int{1, 220, 221, 222, 223, 255, 443, 444} {
		k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, n))
		k.Silently(eth6, func(l *vfnltest.Link) {
			for i := range l.VFs {
				l.VFs[i].Stats = vfnl.Stats{RxBytes: uint64(i) << 33, TxDropped: 5}
			}
		})
		p, err := c.PF(t.Context(), eth6, true)
		if err != nil {
			t.Errorf("%d VFs: %v", n, err)
			continue
		}
		if len(p.VFs) != n || p.Permanent == (vfnl.MAC{}) {
			t.Errorf("%d VFs: %d read", n, len(p.VFs))
			continue
		}
		if s, _ := p.VFs[n-1].Stats.Get(); s.RxBytes != uint64(n-1)<<33 || s.TxDropped != 5 {
			t.Errorf("%d VFs: the last one's counters are %+v", n, s)
		}
	}
}

// Kernels before 6.5 send statistics whether they are wanted or not.
func TestWrappedListIsReadToItsEndWithoutItsStatistics(t *testing.T) {
	p, err := vfnl.Decode(vfnltest.Message(vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, 255), true), false)
	if err != nil || len(p.VFs) != 255 || p.VFs[254].Stats.IsSet() {
		t.Errorf("%d VFs, %v", len(p.VFs), err)
	}
}

func TestCutListIsSaidToBeTruncated(t *testing.T) {
	body := append(make([]byte, 16), 8, 0, 21, 0, 2, 0, 0, 0) // two VFs
	body = append(body, 12, 0, 22, 0, 40, 0, 1, 0, 0, 0, 0, 0)
	if _, err := vfnl.Decode(body, false); !errors.Is(err, vfnl.ErrTruncated) {
		t.Errorf("a list whose VF does not fit: %v", err)
	}
}

func TestOneRequestWhateverIsSet(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{GUIDs: true}, 2))
	all := vfnl.Attrs{
		MAC: eswitch.Set(vfnl.MAC{2, 0, 0, 0, 0, 1}), VLAN: eswitch.Set(vfnl.VLAN{ID: 5, QoS: 3}), SpoofCheck: eswitch.Set(true),
		Trust: eswitch.Set(true), LinkState: eswitch.Set(model.LinkEnable), MinTxRate: eswitch.Set(10), MaxTxRate: eswitch.Set(20),
		RSSQuery: eswitch.Set(true), NodeGUID: eswitch.Set(vfnl.GUID(7)), PortGUID: eswitch.Set(vfnl.GUID(8)),
	}
	if err := c.Set(t.Context(), eth6, vfnl.Change{VF: 1, Attrs: all}); err != nil {
		t.Fatal(err)
	}
	if n := k.Counts(); n.Sets != 1 {
		t.Errorf("%d requests", n.Sets)
	}
	v := k.VF(eth6, 1)
	if v.Node != 7 || v.Port != 8 || v.VLAN.QoS != 3 || v.Min != 10 || !v.Trust {
		t.Errorf("set was %+v", v)
	}
}

func TestChangesOfOneRequestAreCarriedOutInTheirOrder(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.MLX4(), 1))
	rate := func(n int) vfnl.Attrs { return vfnl.Attrs{MinTxRate: eswitch.Set(0), MaxTxRate: eswitch.Set(n)} }
	must := func(want bool, changes ...vfnl.Attrs) {
		t.Helper()
		var cs []vfnl.Change
		for _, a := range changes {
			cs = append(cs, vfnl.Change{Attrs: a})
		}
		if err := c.Set(t.Context(), eth6, cs...); (err == nil) != want {
			t.Errorf("%+v: %v", changes, err)
		}
	}
	must(true, vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 5})}, rate(100))
	must(false, vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{}), MinTxRate: eswitch.Set(0), MaxTxRate: eswitch.Set(0)})
	must(true, rate(0), vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{})})
	if n := k.Counts(); n.Sets != 3 {
		t.Errorf("%d requests", n.Sets)
	}
}

func TestErrorsNameVFAndAttributeAndHaveTheKernelsWords(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.IGB(), 2))
	set := func(a vfnl.Attrs) error { return c.Set(t.Context(), eth6, vfnl.Change{VF: 1, Attrs: a}) }
	link := vfnl.Attrs{LinkState: eswitch.Set(model.LinkEnable)}
	err := set(link)
	var e *vfnl.SetError
	if !errors.Is(err, vfnl.ErrUnsupported) || !errors.Is(err, unix.EOPNOTSUPP) || !errors.As(err, &e) || e.VF != 1 || e.Attr != "link_state" {
		t.Errorf("unsupported: %v", err)
	}
	k.FailWith(func(vfnltest.Request) *vfnltest.Fault {
		return &vfnltest.Fault{Errno: unix.EBUSY, Message: "VF is resetting"}
	})
	err = set(link)
	if !errors.Is(err, vfnl.ErrBusy) || !strings.Contains(err.Error(), "VF is resetting") || !strings.Contains(err.Error(), "VF 1") {
		t.Errorf("busy: %v", err)
	}
	k.FailWith(nil)
	if err = c.Set(t.Context(), 99, vfnl.Change{Attrs: link}); !errors.Is(err, vfnl.ErrNoPF) {
		t.Errorf("no such PF: %v", err)
	}
	if _, err = c.PF(t.Context(), 99, false); !errors.Is(err, vfnl.ErrNoPF) {
		t.Errorf("no such PF: %v", err)
	}
}

func TestNothingImpossibleIsSent(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, 2))
	for name, ch := range map[string]vfnl.Change{
		"nothing":      {},
		"negative VF":  {VF: -1, Attrs: vfnl.Attrs{Trust: eswitch.Set(true)}},
		"multicast":    {Attrs: vfnl.Attrs{MAC: eswitch.Set(vfnl.MAC{1})}},
		"VLAN 4096":    {Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 4096})}},
		"QoS 8":        {Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 1, QoS: 8})}},
		"protocol":     {Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 1, Proto: 0x800})}},
		"maximum only": {Attrs: vfnl.Attrs{MaxTxRate: eswitch.Set(5)}},
		"min over max": {Attrs: vfnl.Attrs{MinTxRate: eswitch.Set(6), MaxTxRate: eswitch.Set(5)}},
		"link state":   {Attrs: vfnl.Attrs{LinkState: eswitch.Set(model.LinkState(3))}},
	} {
		if err := c.Set(t.Context(), eth6, ch); !errors.Is(err, vfnl.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Set(t.Context(), eth6); !errors.Is(err, vfnl.ErrInvalid) {
		t.Errorf("no change: %v", err)
	}
	if n := k.Counts(); n.Sets != 0 {
		t.Errorf("%d requests were sent", n.Sets)
	}
}

func TestHangingDriverHoldsItsCallerAndNobodyElse(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, 1))
	release := k.Hang(eth6)
	held := make(chan error, 1)
	go func() {
		held <- c.Set(context.Background(), eth6, vfnl.Change{Attrs: vfnl.Attrs{Trust: eswitch.Set(true)}})
	}()
	for k.Counts().Sets == 0 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.PF(ctx, eth6, false); !errors.Is(err, vfnl.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the next request on this socket: %v", err)
	}
	c.Close() // does not wait either
	release()
	if err := <-held; err != nil {
		t.Errorf("the request that was held: %v", err)
	}
	if _, err := c.PF(t.Context(), eth6, false); !errors.Is(err, vfnl.ErrClosed) {
		t.Errorf("a request after Close: %v", err)
	}
}

func TestClosedConnSaysSo(t *testing.T) {
	_, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, 1))
	c.Close()
	if _, err := c.PF(t.Context(), eth6, false); !errors.Is(err, vfnl.ErrClosed) {
		t.Error(err)
	}
}

func TestSetAddressSetsTheNetdevsOwn(t *testing.T) {
	k, c := open(t, vfnltest.Link{Ifindex: 9, Name: "eth6v0"})
	m := vfnl.MAC{2, 0, 0, 0, 0, 9}
	if err := c.SetAddress(t.Context(), 9, m); err != nil || k.Link(9).Address != m {
		t.Errorf("%v, address is %v", err, k.Link(9).Address)
	}
	if err := c.SetAddress(t.Context(), 99, m); !errors.Is(err, vfnl.ErrNoPF) {
		t.Error(err)
	}
}

func TestMonitorTellsOfChangesAndOfMissedOnes(t *testing.T) {
	k, c := open(t, vfnltest.PF(eth6, "eth6", vfnltest.Driver{}, 1), vfnltest.Link{Ifindex: 9, Name: "eth6v0", Up: true})
	m := k.Monitor()
	events := make(chan vfnl.Event)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- m.Run(ctx, func(e vfnl.Event) {
			select {
			case events <- e:
			case <-ctx.Done():
			}
		})
	}()
	next := func() vfnl.Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
			return vfnl.Event{}
		}
	}
	if err := c.Set(t.Context(), eth6, vfnl.Change{Attrs: vfnl.Attrs{Trust: eswitch.Set(true)}}); err != nil {
		t.Fatal(err)
	}
	if e := next(); e.Kind != vfnl.Changed || e.Ifindex != eth6 || e.Name != "eth6" || !e.Up {
		t.Errorf("a VF was changed: %+v", e)
	}
	k.Remove(9)
	if e := next(); e.Kind != vfnl.Gone || e.Ifindex != 9 {
		t.Errorf("a link went: %+v", e)
	}
	k.Overflow()
	if e := next(); e.Kind != vfnl.Everything {
		t.Errorf("messages were lost: %+v", e)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestGUIDAndMACPrintAsSysfsDoes(t *testing.T) {
	if s := vfnl.GUID(0x0011223344556677).String(); s != "00:11:22:33:44:55:66:77" {
		t.Error(s)
	}
	if s := (vfnl.MAC{0xfa, 0x16, 0x3e, 0, 0, 1}).String(); s != "fa:16:3e:00:00:01" {
		t.Error(s)
	}
}
