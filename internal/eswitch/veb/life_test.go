package veb

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

var compareAttrs = []cmp.Option{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.AllowUnexported(eswitch.Attr[string]{}, eswitch.Attr[int]{}, eswitch.Attr[bool]{},
		eswitch.Attr[model.LinkState]{}, eswitch.Attr[[]model.AllowedSource]{}),
}

func TestNewNICIsAtBaseline(t *testing.T) {
	t.Parallel()
	r := newRig(t, 9, func(s *Spec) { s.PF = 3; s.MTU = 9000 })
	st, err := r.sw.Observe(t.Context())
	must(t, err)
	pf := st.PFs[0]
	vfs := pf.VFs
	pf.VFs = nil
	want := eswitch.PF{Name: "eth6", PCISlot: "fffd:03:00.0", Driver: "veb", NUMANode: -1, MTU: 9000, Carrier: true, TotalVFs: 9}
	if diff := cmp.Diff(want, pf); diff != "" {
		t.Error(diff)
	}
	base := eswitch.Baseline()
	base.MTU = eswitch.Set(9000)
	for i, v := range vfs {
		if diff := cmp.Diff(base, v.Attrs, compareAttrs...); diff != "" {
			t.Errorf("VF %d: %s", i, diff)
		}
		if v.Netdev != r.spec.vfName(i) || v.Driver != "veth" || v.ID != (eswitch.VFID{PF: "eth6", Index: i}) {
			t.Errorf("VF %d: %+v", i, v)
		}
	}
	if vfs[8].PCISlot != "fffe:03:01.0" {
		t.Errorf("VF 8 is at %s", vfs[8].PCISlot)
	}
}

func TestTrafficOutlivesTheHandle(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 2, edit)
		r.port(0, 10)
		r.port(1, 10)
		a, b := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24")
		r.waitPeer(0)
		r.waitPeer(1)
		before, err := r.sw.Observe(t.Context())
		must(t, err)
		must(t, r.sw.Close())
		if !a.reaches(b.addr) {
			t.Fatal("no traffic after Close")
		}
		r.open()
		after, err := r.sw.Observe(t.Context())
		must(t, err)
		for i := range before.PFs[0].VFs {
			if diff := cmp.Diff(before.PFs[0].VFs[i].Attrs, after.PFs[0].VFs[i].Attrs, compareAttrs...); diff != "" {
				t.Errorf("VF %d after opening again: %s", i, diff)
			}
		}
		if after.PFs[0].VFs[0].Counters.TxPackets <= before.PFs[0].VFs[0].Counters.TxPackets {
			t.Error("packets were not counted meanwhile")
		}
	})
}

func TestDeadVFIsMadeAgain(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 3, edit)
		for i := range 3 {
			r.checked(i, 10, "10.9.0."+string(rune('1'+i)))
		}
		r.set(1, eswitch.Attrs{MaxTxRate: eswitch.Set(100), MinTxRate: eswitch.Set(10)})
		a, b := r.plug(0, "10.9.0.1/24"), r.plug(1, "10.9.0.2/24")
		if !a.reaches(b.addr) {
			t.Fatal("no answer to begin with")
		}
		slot := r.vf(1).PCISlot
		b.kill()
		base := eswitch.Baseline()
		base.MTU = eswitch.Set(DefaultMTU)
		eventually(t, "VF 1 at baseline", func() bool {
			v := r.vf(1)
			return v.Netdev == "eth6v1" && cmp.Equal(base, v.Attrs, compareAttrs...) && v.Counters == eswitch.Counters{}
		})
		select {
		case <-r.sw.Events():
		case <-time.After(5 * time.Second):
			t.Error("no event")
		}
		if got := r.vf(1).PCISlot; got != slot {
			t.Errorf("it moved from %s to %s", slot, got)
		}
		if d, _ := eswitch.Diff(r.vf(0).Attrs, r.vf(0).Attrs); !d.Empty() {
			t.Errorf("VF 0 changed: %+v", d)
		}
		r.checked(1, 10, "10.9.0.2")
		r.plug(1, "10.9.0.2/24")
		if !a.reaches(netip.MustParseAddr("10.9.0.2")) {
			t.Error("the new VF does not answer")
		}
	})
}

// A VF that dies while nobody has the NIC open is made again by Open.
func TestOpenMakesDeadVFsAgain(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 2, edit)
		r.port(0, 10)
		r.port(1, 10)
		b := r.plug(1, "")
		must(t, r.sw.Close())
		b.kill()
		eventually(t, "end of the devices", func() bool {
			_, err := r.host.l.LinkByName("eth6r1")
			return err != nil
		})
		r.open()
		if v := r.vf(1); v.Netdev != "eth6v1" || v.Attrs.MAC != eswitch.Set("00:00:00:00:00:00") {
			t.Errorf("VF 1 is %+v", v)
		}
		if m, _ := r.vf(0).Attrs.MAC.Get(); m != mac(0) {
			t.Errorf("VF 0 has MAC %s", m)
		}
	})
}

func TestDriftIsObserved(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.checked(0, 10, "10.9.0.1")
	n := r.sw.nics[0]
	v, err := n.vf(0)
	must(t, err)
	tests := []struct {
		name string
		do   func()
		miss func(a eswitch.Attrs) bool
	}{
		{
			"representor down", func() { must(t, r.host.l.setUp(int(v.Ifindex), false)) },
			func(a eswitch.Attrs) bool { return a.LinkState == eswitch.Set(model.LinkDisable) },
		},
		{
			"representor's MTU", func() { must(t, r.host.l.LinkSetMTU(handle(int(v.Ifindex)), 1000)) },
			func(a eswitch.Attrs) bool { return a.MTU == eswitch.Set(1000) },
		},
		{
			"forwarding entry gone", func() { must(t, n.o.Fdb.Delete(fdbKey(v))) },
			func(a eswitch.Attrs) bool { return a.MAC == eswitch.Set("00:00:00:00:00:00") },
		},
		{"source gone", func() {
			must(t, n.setSources(0, v.Mac, nil))
		}, func(a eswitch.Attrs) bool { s, _ := a.Allowed.Get(); return len(s) == 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.do()
			if a := r.vf(0).Attrs; !tt.miss(a) {
				t.Errorf("not seen: %+v", a)
			}
			r.set(0, eswitch.Attrs{MTU: eswitch.Set(1500)})
			r.checked(0, 10, "10.9.0.1")
			if a := r.vf(0).Attrs; tt.miss(a) {
				t.Errorf("not put right: %+v", a)
			}
		})
	}
}

func TestForeignChangeRaisesAnEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.port(0, 10)
	drain(r.sw)
	must(t, r.host.l.LinkSetDown(r.host.link("eth6r0")))
	select {
	case <-r.sw.Events():
	case <-time.After(5 * time.Second):
		t.Error("no event")
	}
}

func drain(s *Switch) {
	select {
	case <-s.Events():
	default:
	}
}

// Our own changes are no news.
func TestApplyRaisesNoEvent(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	drain(r.sw)
	r.port(0, 10)
	r.set(0, eswitch.Attrs{MTU: eswitch.Set(1400)})
	r.set(0, eswitch.Attrs{LinkState: eswitch.Set(model.LinkDisable)})
	select {
	case <-r.sw.Events():
		t.Error("an event of our own doing")
	case <-time.After(100 * time.Millisecond):
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 10)
	set := func(e func(*eswitch.Attrs)) (a eswitch.Attrs) { e(&a); return a }
	tests := []struct {
		name, want string
		a          eswitch.Attrs
	}{
		{"MAC", "mac", set(func(a *eswitch.Attrs) { a.MAC = eswitch.Set("nonsense") })},
		{"group MAC", "mac", set(func(a *eswitch.Attrs) { a.MAC = eswitch.Set("01:00:5e:00:00:01") })},
		{"long MAC", "mac", set(func(a *eswitch.Attrs) { a.MAC = eswitch.Set("02:00:00:00:00:00:00:01") })},
		{"MAC of the other", "mac", set(func(a *eswitch.Attrs) { a.MAC = eswitch.Set(mac(0)) })},
		{"VLAN", "vlan", set(func(a *eswitch.Attrs) { a.VLAN = eswitch.Set(4095) })},
		{"negative VLAN", "vlan", set(func(a *eswitch.Attrs) { a.VLAN = eswitch.Set(-1) })},
		{"link state", "link_state", set(func(a *eswitch.Attrs) { a.LinkState = eswitch.Set(model.LinkState(3)) })},
		{"MTU", "mtu", set(func(a *eswitch.Attrs) { a.MTU = eswitch.Set(67) })},
		{"rate", "max_tx_rate", set(func(a *eswitch.Attrs) { a.MaxTxRate = eswitch.Set(-1) })},
		{"min above max", "min_tx_rate", set(func(a *eswitch.Attrs) { a.MaxTxRate, a.MinTxRate = eswitch.Set(10), eswitch.Set(11) })},
		{"min above the uplink", "min_tx_rate", set(func(a *eswitch.Attrs) { a.MinTxRate = eswitch.Set(DefaultSpeed + 1) })},
		{"allowed MAC", "allowed", set(func(a *eswitch.Attrs) {
			a.Allowed = eswitch.Set([]model.AllowedSource{{MAC: "x", Prefix: netip.MustParsePrefix("10.0.0.1/32")}})
		})},
		{"allowed prefix", "allowed", set(func(a *eswitch.Attrs) { a.Allowed = eswitch.Set([]model.AllowedSource{{MAC: mac(1)}}) })},
	}
	before := r.vf(1).Attrs
	for _, tt := range tests {
		err := r.try(1, tt.a)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "VF 1 of eth6") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if diff := cmp.Diff(before, r.vf(1).Attrs, compareAttrs...); diff != "" {
		t.Errorf("a refused change did something: %s", diff)
	}
	res := r.sw.Apply(t.Context(), []eswitch.Change{{VF: eswitch.VFID{PF: "eth6", Index: 2}}, {VF: eswitch.VFID{PF: "eth7"}}})
	for _, x := range res {
		if !errors.Is(x.Err, eswitch.ErrNoVF) {
			t.Errorf("%+v: %v", x.VF, x.Err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.sw.Apply(ctx, []eswitch.Change{{VF: eswitch.VFID{PF: "eth6"}, Attrs: before}})[0].Err; !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

// Two VFs exchange their MACs in one call; two changes of one VF come in order.
func TestBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.port(0, 10)
	r.port(1, 10)
	id := func(i int) eswitch.VFID { return eswitch.VFID{PF: "eth6", Index: i} }
	for _, x := range r.sw.Apply(t.Context(), []eswitch.Change{
		{VF: id(0), Attrs: eswitch.Attrs{MAC: eswitch.Set(mac(1))}},
		{VF: id(1), Attrs: eswitch.Attrs{MAC: eswitch.Set(mac(0))}},
		{VF: id(1), Attrs: eswitch.Attrs{VLAN: eswitch.Set(11)}},
		{VF: id(1), Attrs: eswitch.Attrs{VLAN: eswitch.Set(12)}},
	}) {
		must(t, x.Err)
	}
	if a, b := r.vf(0).Attrs, r.vf(1).Attrs; a.MAC != eswitch.Set(mac(1)) || b.MAC != eswitch.Set(mac(0)) || b.VLAN != eswitch.Set(12) {
		t.Errorf("%+v, %+v", a, b)
	}
}

// Exchanging the programs of a running NIC loses no frame.
func TestUpgradeLosesNothing(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		r := newRig(t, 2, edit)
		r.port(0, 10)
		r.port(1, 10)
		a, b := r.plug(0, ""), r.plug(1, "")
		r.waitPeer(1)
		c := b.listen("eth0")
		n := r.sw.nics[0]
		old, err := n.o.VebVf.Info()
		must(t, err)
		stop, done, sent := make(chan struct{}), make(chan struct{}), 0
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
					a.send("eth0", frame(b.mac, a.mac))
					sent++
				}
			}
		}()
		for x := range byte(5) {
			must(t, n.upgrade([16]byte{x}))
		}
		close(stop)
		<-done
		if got := c.count(); got != sent {
			t.Errorf("%d of %d frames arrived", got, sent)
		}
		now, err := n.o.VebVf.Info()
		must(t, err)
		if i, _ := now.ID(); func() bool { j, _ := old.ID(); return i == j }() {
			t.Error("the program is the old one")
		}
		must(t, r.sw.Close())
		r.open() // back to this binary's build
		if k, kerr := r.sw.nics[0].card(); kerr != nil || k.Build != build() {
			t.Errorf("build %x after Open, %v", k.Build, kerr)
		}
	})
}

func TestNamesAndRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	if err := Create(t.Context(), r.spec); !errors.Is(err, ErrExists) {
		t.Errorf("a second NIC of the name: %v", err)
	}
	twin := r.spec
	twin.Name = "eth7"
	if err := Create(t.Context(), twin); !errors.Is(err, ErrExists) {
		t.Errorf("a second NIC of the number: %v", err)
	}
	if _, err := Open("eth9", r.dir); !errors.Is(err, ErrNotFound) {
		t.Errorf("a NIC that is not: %v", err)
	}
	if _, err := Open("../x", r.dir); !errors.Is(err, ErrNotFound) {
		t.Errorf("a name that is a path: %v", err)
	}
	must(t, Destroy(t.Context(), "eth9", r.dir))
	twin.PF, twin.Peer.Name = 1, "wire2"
	must(t, Create(t.Context(), twin))
	defer func() { must(t, Destroy(context.Background(), "eth7", r.dir)) }()
	all, err := List(r.dir)
	must(t, err)
	if names := []string{all[0].Name, all[1].Name}; !slices.Equal(names, []string{"eth6", "eth7"}) || !all[0].Complete {
		t.Errorf("listed %+v", all)
	}
	both, err := OpenAll(r.dir)
	must(t, err)
	st, err := both.Observe(t.Context())
	must(t, err)
	must(t, both.Close())
	if len(st.PFs) != 2 || st.PFs[1].Name != "eth7" {
		t.Errorf("observed %+v", st)
	}
	must(t, os.WriteFile(filepath.Join(r.dir, "bad.json"), []byte("{"), 0o600))
	if _, err := List(r.dir); err == nil {
		t.Error("a broken record was listed")
	}
	must(t, os.Remove(filepath.Join(r.dir, "bad.json")))
	for _, s := range []Spec{
		{},
		{Name: "a b"},
		{Name: "toolongname"},
		{Name: "a", PF: 256},
		{Name: "a", VFs: -1},
		{Name: "a", VFs: MaxVFs + 1},
		{Name: "a", MTU: 1},
		{Name: "a"},
		{Name: "a", PinDir: "rel"},
		{Name: "a", PinDir: "/x", Attach: "glue"},
		{Name: "a", PinDir: "/x", Existing: true, Peer: Peer{Name: "b"}},
	} {
		if err := Create(t.Context(), s); err == nil {
			t.Errorf("accepted %+v", s)
		}
	}
}

// A Create that fails leaves nothing.
func TestFailedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := filepath.Join(t.TempDir(), "pin")
	_, _, err := h.l.addPair(pair{name: "eth6r2", peer: "other", mtu: 1500})
	must(t, err)
	err = Create(t.Context(), Spec{Name: "eth6", VFs: 4, PinDir: dir, Netns: h.path})
	if !errors.Is(err, ErrExists) {
		t.Fatalf("create: %v", err)
	}
	wantLinks(t, h, "lo", "eth6r2", "other")
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pin directory: %v", err)
	}
}

// wantLinks checks what links a host has.
func wantLinks(t testing.TB, h *host, want ...string) {
	t.Helper()
	d, err := h.l.dump(context.Background())
	must(t, err)
	for _, w := range want {
		if _, ok := d.byName[w]; !ok {
			t.Errorf("link %s is gone", w)
		}
		delete(d.byName, w)
	}
	for name := range d.byName {
		t.Errorf("link %s is left behind", name)
	}
}

func mounts(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	return b
}

func isMounted(t testing.TB, dir string) bool { return bytes.Contains(mounts(t), []byte(dir)) }

// A NIC whose namespace is gone is destroyed all the same.
func TestDestroyAfterTheNamespace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := filepath.Join(t.TempDir(), "pin")
	must(t, Create(t.Context(), Spec{Name: "eth6", VFs: 2, PinDir: dir, Netns: h.path}))
	h.kill()
	must(t, unix.Unlink(h.path))
	must(t, Destroy(t.Context(), "eth6", dir))
	if isMounted(t, dir) {
		t.Error("the bpffs is still mounted")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pin directory: %v", err)
	}
}
