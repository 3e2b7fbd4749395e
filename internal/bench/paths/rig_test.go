package paths

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/bench"
	"neutrino/internal/bench/wire"
	"neutrino/internal/netspace"
	"neutrino/internal/pci"
)

// TestRigVFsAreMeasuredAndGivenBack moves two VFs of the first PF into namespaces, measures between them, and looks
// whether they are back as they were; also when the process that took them has not given them back.
func TestRigVFsAreMeasuredAndGivenBack(t *testing.T) {
	pf, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if pf == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run by test/rig/sriov")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	sys := &pci.Sys{}
	p, err := sys.PF(pf)
	must(err)
	if p.NumVFs < 3 {
		must(sys.SetNumVFs(t.Context(), p.Slot, p.TotalVFs))
	}
	l, err := netlink.LinkByName(pf)
	must(err)
	must(netlink.LinkSetUp(l))
	p, err = sys.PF(pf)
	must(err)
	for i, v := range p.VFs { // three are free
		must(sys.BindDefault(t.Context(), v.Slot))
		must(netlink.LinkSetVfVlan(l, v.Index, 0))
		d, err := sys.WaitNetdev(t.Context(), v.Slot, 0, func(pci.Netdev) bool { return true })
		must(err)
		vf, err := netlink.LinkByName(d.Name)
		must(err)
		if i < 3 {
			must(netlink.LinkSetDown(vf))
			continue
		}
		must(netlink.LinkSetUp(vf))
		t.Cleanup(func() { _ = netlink.LinkSetDown(vf) })
	}
	before, err := freeVFs(pf)
	must(err)
	if len(before) != 3 {
		t.Fatalf("free are %v", before)
	}
	s := site(t)
	var all []Path
	for _, k := range []Kind{Kinds[0], VFs(pf)} {
		b, err := s.Build(t.Context(), k)
		must(err)
		all = append(all, b)
	}
	if now, err := freeVFs(pf); err != nil || len(now) != 1 {
		t.Errorf("free are %v of %v (%v)", now, before, err)
	}
	k := VFs(pf)
	k.Key = "more"
	if _, err = s.Build(t.Context(), k); !errors.Is(err, ErrTaken) {
		t.Errorf("one free VF is enough for two: %v", err)
	}
	e := Effort{Rounds: 2, Specs: wire.Campaign{Tests: []wire.Test{wire.UDP, wire.TCP}, Flows: 1, Time: time.Second, Warmup: 100 * time.Millisecond}.Specs()}
	series, err := Measure(t.Context(), all, e, func(int, int, string) {})
	must(err)
	for _, x := range series {
		if x.Err != "" || len(x.Runs) != 2 {
			t.Errorf("%s %s: %d runs, %s", x.Path, x.Test, len(x.Runs), x.Err)
			continue
		}
		t.Logf("%s %s: p50 %s µs", x.Path, x.Test, bench.Figure(bench.SpreadOf(x.Values(x.Metrics()[0])).Median))
	}
	back := func(when string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			now, err := freeVFs(pf)
			if err == nil && slices.Equal(now, before) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: free are %v, not %v (%v)", when, now, before, err)
			}
		}
	}
	must(s.sweep(t.Context()))
	back("given back")

	b, err := s.Build(t.Context(), VFs(pf))
	must(err)
	must(netspace.Delete(b.A.Namespace)) // the kernel does it
	must(netspace.Delete(b.B.Namespace))
	back("by the kernel")
	if _, err = os.Stat(filepath.Join("/sys/class/net", before[0])); err != nil {
		t.Error(err)
	}
}
