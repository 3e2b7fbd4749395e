package sriov

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// The agent is killed with kill -9 at random moments while ports are plugged into
// namespaces, prepared for VFIO and unplugged: no VF is leaked, none given twice, none
// left dirty. internal/plug kills at every step; this is the whole product.
func TestRigKilledWhilePlugging(t *testing.T) {
	s := rig(t)
	s.network(t, "crash", 120, "10.20.0.0/24", "--no-dhcp")
	ports := map[string]string{} // id -> namespace; "" = VFIO
	for i := range 4 {
		p := s.port(t, "crash", "--vnic-type", "direct")
		ports[p.ID] = ""
		if i%2 == 0 {
			ports[p.ID] = netns(t)
		}
	}
	for range 6 {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for id, ns := range ports {
				if ns == "" {
					_, _ = s.try("vif", "plug", id, "-o", "xml", "--wait", "5s")
				} else {
					_, _ = s.try("vif", "plug", id, "--netns", ns, "--wait", "5s")
				}
			}
			for id := range ports {
				_, _ = s.try("vif", "unplug", id)
			}
		}()
		time.Sleep(time.Duration(rand.N(2500)) * time.Millisecond)
		s.kill(s.agent)
		<-done
		if err := s.startAgent(); err != nil {
			t.Fatal(err)
		}
		s.eventually(t, "nothing hangs half done", func() bool {
			if _, err := s.try("vf", "list"); err != nil {
				return false
			}
			for _, v := range s.vfs(t) {
				if v.Hangs != "" || (v.Port != "" && !v.Up) {
					return false
				}
			}
			return true
		})
		s.consistent(t)
	}
	for id := range ports {
		_, _ = s.try("vif", "unplug", id)
	}
	s.eventually(t, "every VF is back with its network driver", func() bool {
		for _, v := range s.vfs(t) {
			if v.Plugged != "" || (v.Driver == "vfio-pci") {
				return false
			}
		}
		return s.run(t, "vif", "list", "-o", "id") == ""
	})
}

// consistent checks that what is recorded is what the kernel shows.
func (s *system) consistent(t *testing.T) {
	t.Helper()
	type vif struct {
		Port   string `json:"port_id"`
		Slot   string `json:"pci_slot"`
		Kind   string `json:"kind"`
		Target struct {
			Netns string `json:"netns"`
		} `json:"target"`
	}
	plugged := map[string]vif{}
	for _, v := range read[[]vif](t, s, "vif", "list") {
		if other, twice := plugged[v.Slot]; twice {
			t.Errorf("VF %s is plugged for %s and %s", v.Slot, other.Port, v.Port)
		}
		plugged[v.Slot] = v
	}
	macs := map[string]string{}
	for _, v := range s.vfs(t) {
		k := kernel(t, v.PF, v.Index)
		where := fmt.Sprintf("VF %d of %s", v.Index, v.PF)
		if other := macs[k.MAC]; other != "" {
			t.Errorf("%s and %s have MAC %s", where, other, k.MAC)
		}
		macs[k.MAC] = where
		f, is := plugged[v.Slot]
		switch {
		case is && f.Port != v.Port:
			t.Errorf("%s is plugged for %s and assigned to %s", where, f.Port, v.Port)
		case is && f.Kind == "hostdev" && v.Driver != "vfio-pci":
			t.Errorf("%s is plugged by VFIO and has driver %s", where, v.Driver)
		case !is && v.Driver == "vfio-pci":
			t.Errorf("%s is not plugged and has driver vfio-pci", where)
		case v.Port == "" && (k.vlan() != 0 || k.Trust || !k.Spoof):
			t.Errorf("%s is free and dirty: %+v", where, k)
		}
	}
}
