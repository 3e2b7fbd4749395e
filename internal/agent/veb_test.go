package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/veb"
	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// newVEB makes a software NIC in a namespace of its own.
func newVEB(t *testing.T, vfs int) (name, pins string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and eBPF")
	}
	ns := fmt.Sprintf("nv-agent-%d-%d", os.Getpid(), rand.N(10000))
	if err := netspace.Create(ns, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	pins = filepath.Join(t.TempDir(), "pins")
	t.Cleanup(func() {
		if err := veb.Destroy(context.Background(), "eth6", pins); err != nil {
			t.Error(err)
		}
		if err := netspace.Delete(ns); err != nil {
			t.Error(err)
		}
	})
	if err := veb.Create(t.Context(), veb.Spec{Name: "eth6", PF: 1, VFs: vfs, PinDir: pins, Netns: netspace.Path(ns)}); err != nil {
		t.Fatal(err)
	}
	return "eth6", pins
}

func openVEB(t *testing.T, name, pins string) *veb.Switch {
	t.Helper()
	sw, err := veb.Open(name, pins)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sw.Close() })
	return sw
}

// reach waits until every port of the wish is up with its revision, and no other is
// spoken of.
func (r *rig) reach(atts ...*model.Attachment) {
	r.t.Helper()
	end := time.Now().Add(10 * time.Second)
	for {
		missing := ""
		for _, a := range atts {
			if got := r.said(a.PortID); !got.Up || got.Revision != a.Revision {
				missing = fmt.Sprintf("%s: %+v", a.PortID, got)
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(end) {
			r.t.Fatal(missing)
		}
		time.Sleep(time.Millisecond)
	}
}

func vfs(t *testing.T, sw eswitch.Switch) []eswitch.VF {
	t.Helper()
	s, err := sw.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.PFs[0].VFs
}

func TestAgentOnTheSoftwareNIC(t *testing.T) {
	name, pins := newVEB(t, 6)
	sw := openVEB(t, name, pins)
	file := filepath.Join(t.TempDir(), "state.db")
	r := newRigAudited(t, file, sw, 100*time.Millisecond)

	a, b := attachment(0), attachment(1)
	trusted := true
	a.PCISlot, a.Trust, a.MaxTxRate, a.MinTxRate = veb.VFSlot(1, 4), &trusted, 500, 100
	b.Allowed = []model.AllowedSource{
		{MAC: b.MAC, Prefix: netip.MustParsePrefix("10.0.0.2/32")}, {MAC: b.MAC, Prefix: netip.MustParsePrefix("fe80::1/128")},
	}
	r.want(1, a, b)
	r.reach(a, b)
	v := vfs(t, sw)[4]
	if todo, cannot := eswitch.Diff(wanted(a, v), v.Attrs); !todo.Empty() || cannot != nil {
		t.Errorf("VF 4 is not as asked: %s %v", list(todo), cannot)
	}
	if got := r.said(a.PortID); got.PCISlot != a.PCISlot || got.VF != 4 {
		t.Errorf("report %+v", got)
	}

	// Somebody else changes the NIC; it is put back.
	other := openVEB(t, name, pins)
	id := eswitch.VFID{PF: name, Index: r.said(b.PortID).VF}
	for _, res := range other.Apply(t.Context(), []eswitch.Change{{VF: id, Attrs: eswitch.Attrs{VLAN: eswitch.Set(4000), SpoofCheck: eswitch.Set(false)}}}) {
		if res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	end := time.Now().Add(5 * time.Second)
	for {
		at := vfs(t, sw)[id.Index].Attrs
		if at.VLAN == eswitch.Set(101) && at.SpoofCheck == eswitch.Set(true) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not put back: %s", list(at))
		}
		time.Sleep(time.Millisecond)
	}
	r.reach(a, b)

	// Many wishes in a row end in the last.
	var last []*model.Attachment
	for i := range 30 {
		last = nil
		for n := range 6 {
			if rand.N(2) == 0 {
				p := attachment(n)
				p.VLAN, p.Revision, p.SpoofCheck = 1+rand.N(4094), int64(1000+i), rand.N(2) == 0
				last = append(last, p)
			}
		}
		r.want(uint64(i+2), last...)
		time.Sleep(time.Duration(rand.N(3)) * time.Millisecond)
	}
	r.reach(last...)
	dirty := 0
	for _, v := range vfs(t, sw) {
		if !clean(vf{v, nil}) {
			dirty++
		}
	}
	if dirty != len(last) {
		t.Errorf("%d VFs carry something for %d ports", dirty, len(last))
	}

	// The agent stops: the NIC stays as it is. It starts again: nothing moves.
	before := map[string]model.PortReport{}
	for _, p := range last {
		before[p.PortID] = r.outcome(p.PortID)
	}
	r.stop()
	r = newRig(t, file, sw)
	defer r.stop()
	r.reach(last...)
	for id, want := range before {
		if got := r.outcome(id); got != want {
			t.Errorf("%s moved: %+v, was %+v", id, got, want)
		}
	}
}
