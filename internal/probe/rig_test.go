package probe

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"neutrino/internal/trunk"
)

// TestRigPFsHearAllVLANs has two PFs on one wire, each with a VF on VLAN 100, verify VLANs
// that VFs use and VLANs that they do not.
func TestRigPFsHearAllVLANs(t *testing.T) {
	pfs := strings.FieldsFunc(os.Getenv("NEUTRINO_SRIOV_PFS"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(pfs) < 2 {
		t.Skip("NEUTRINO_SRIOV_PFS names no two PFs: run by test/rig/sriov")
	}
	pfs = pfs[:2]
	for _, pf := range pfs {
		l, err := netlink.LinkByName(pf)
		if err != nil {
			t.Fatal(err)
		}
		if err = netlink.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
		if len(l.Attrs().Vfs) == 0 {
			if err = os.WriteFile("/sys/class/net/"+pf+"/device/sriov_numvfs", []byte("2"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err = netlink.LinkSetVfVlan(l, 0, 100); err != nil {
			t.Fatal(err)
		}
	}
	v, err := trunk.ParseVLANs("1,99-101,200,4094")
	if err != nil {
		t.Fatal(err)
	}
	run := &trunk.Run{
		ID: trunk.ID{1}, Key: []byte("k"), PhysicalNetwork: "default", VLANs: v, Sizes: []int{64, 1500}, Rounds: 2, Rate: 50,
		Hosts: []trunk.Host{{Host: "one", Uplinks: 1}, {Host: "two", Uplinks: 1}},
	}
	if err = run.Plan(trunk.DefaultLimit); err != nil {
		t.Fatal(err)
	}
	results := map[string]*trunk.Result{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, h := range run.Hosts {
		wg.Go(func() {
			p := New(Options{Host: h.Host, Uplinks: func(string) ([]string, error) { return pfs[i : i+1], nil }})
			res := p.Probe(t.Context(), run, 0)
			mu.Lock()
			defer mu.Unlock()
			results[h.Host] = res
		})
	}
	wg.Wait()
	rep := trunk.Judge(run, results)
	if !rep.Clean || rep.Checked != 2 {
		t.Errorf("%+v", rep)
	}
	for _, pf := range pfs {
		if nic, err := net.InterfaceByName(pf); err != nil || nic.Flags&net.FlagUp == 0 {
			t.Errorf("%s: %v", pf, err)
		}
	}
}
