package probe

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"neutrino/internal/trunk"
)

// TestRigPFsHearAllVLANs has two PFs on one wire verify VLANs that VFs use and VLANs that
// they do not. Each has a VF on VLAN 100 that is up and takes foreign groups: QEMU's igb hands
// it frames to unknown stations too, and to the PF then nothing but broadcasts.
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
		useVF(t, pf)
	}
	v, err := trunk.ParseVLANs("1,99-101,200,4094")
	if err != nil {
		t.Fatal(err)
	}
	run := &trunk.Run{
		ID: trunk.ID{1}, Key: []byte("k"), PhysicalNetwork: "default", VLANs: v, Sizes: []int{64, 1500}, Rounds: trunk.DefaultRounds, Rate: 50,
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
			p := New(Options{Host: h.Host, Uplinks: func(string) ([]string, error) { return pfs[i : i+1], nil }, VFVLANs: vfVLANs})
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

// useVF has the driver of a PF's first VF see its VLAN, and lets it take all groups, as a
// guest in a group of multicast does.
func useVF(t *testing.T, pf string) {
	t.Helper()
	device, err := filepath.EvalSymlinks("/sys/class/net/" + pf + "/device/virtfn0")
	if err != nil {
		t.Fatal(err)
	}
	address := filepath.Base(device)
	for _, act := range []string{"unbind", "bind"} {
		if err = os.WriteFile("/sys/bus/pci/drivers/igbvf/"+act, []byte(address), 0o600); err != nil {
			t.Fatalf("%s %s, VF 0 of %s: %v", act, address, pf, err)
		}
	}
	names, err := os.ReadDir(device + "/net")
	if err != nil || len(names) == 0 {
		t.Fatalf("VF 0 of %s has no netdev: %v", pf, err)
	}
	l, err := netlink.LinkByName(names[0].Name())
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err == nil {
		err = netlink.LinkSetAllmulticastOn(l)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(netlink.LinkSetAllmulticastOff(l), netlink.LinkSetDown(l)); err != nil {
			t.Error(err)
		}
	})
}

func vfVLANs(_ context.Context, uplink string) (v trunk.VLANs, err error) {
	l, err := netlink.LinkByName(uplink)
	if err != nil {
		return v, err
	}
	for _, vf := range l.Attrs().Vfs {
		v.Add(vf.Vlan)
	}
	return v, nil
}
