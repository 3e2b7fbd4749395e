package sriov

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func sysfs(t testing.TB, value string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(append([]string{"/sys"}, path...)...), []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// restored waits until the kernel shows a VF as its port asks, and says how long it took.
func (s *system) restored(t testing.TB, p port, vlan int) time.Duration {
	t.Helper()
	start := time.Now()
	s.eventually(t, "the VF is as asked", func() bool {
		for _, v := range s.vfs(t) {
			if v.Port == p.ID && v.Up {
				k := kernel(t, v.PF, v.Index)
				return k.MAC == p.MAC && k.vlan() == vlan && k.Spoof
			}
		}
		return false
	})
	return time.Since(start)
}

func TestRigDriftIsPutBackAndCounted(t *testing.T) {
	s := rig(t)
	s.network(t, "drift", 110, "10.10.0.0/24", "--no-dhcp")
	p, other := s.port(t, "drift", "--vnic-type", "direct"), s.port(t, "drift", "--vnic-type", "direct")
	v := s.vf(t, p.ID)
	for _, change := range [][]string{{"vlan", "0"}, {"mac", "02:00:00:00:00:99"}, {"spoofchk", "off"}} {
		before, start := drift(t), time.Now()
		ip(t, append([]string{"link", "set", v.PF, "vf", strconv.Itoa(v.Index)}, change...)...)
		for {
			k := kernel(t, v.PF, v.Index)
			if k.MAC == p.MAC && k.vlan() == 110 && k.Spoof {
				break
			}
			if time.Since(start) > time.Minute {
				t.Fatalf("%v is not put back: %+v", change, k)
			}
		}
		took := time.Since(start)
		t.Logf("%v: put back after %s, both commands included", change, took.Round(time.Millisecond))
		if took > time.Second {
			t.Errorf("%v: took %s", change, took)
		}
		s.eventually(t, "it is counted", func() bool { return drift(t) > before })
		s.restored(t, p, 110)
	}
	if now := s.show(t, other.ID); now.Revision != other.Revision || now.Status != "ACTIVE" {
		t.Errorf("the other port went from revision %d to %d, %s", other.Revision, now.Revision, now.Status)
	}
}

func TestRigNICThatIsTurnedUpsideDownConverges(t *testing.T) {
	s := rig(t)
	s.network(t, "upside", 111, "10.11.0.0/24", "--no-dhcp")
	hit, calm := s.pfs[0], s.pfs[len(s.pfs)-1]
	free := map[string]string{}
	for _, v := range s.vfs(t) {
		if v.Port == "" && v.Netdev != "" {
			free[v.PF] = v.Slot
		}
	}
	p := s.port(t, "upside", "--vnic-type", "direct", "--vf", free[hit])
	other := s.port(t, "upside", "--vnic-type", "direct", "--vf", free[calm])
	v := s.vf(t, p.ID)
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"PF down and up", func() { ip(t, "link", "set", hit, "down"); ip(t, "link", "set", hit, "up") }},
		{"VF driver unbound and bound", func() {
			sysfs(t, v.Slot, "bus/pci/drivers/igbvf/unbind")
			sysfs(t, v.Slot, "bus/pci/drivers/igbvf/bind")
		}},
		{"VFs to 0 and back", func() {
			sysfs(t, "0", "class/net", hit, "device/sriov_numvfs")
			s.eventually(t, "the port says that its VF is away", func() bool { return s.show(t, p.ID).Status == "DOWN" })
			sysfs(t, "7", "class/net", hit, "device/sriov_numvfs")
		}},
	} {
		c.do()
		t.Logf("%s: as asked after %s", c.what, s.restored(t, p, 111).Round(time.Millisecond))
		s.active(t, p.ID)
		if now := s.show(t, other.ID); now.Revision != other.Revision || now.Status != "ACTIVE" {
			t.Errorf("%s: a port of the other PF went from revision %d to %d, %s", c.what, other.Revision, now.Revision, now.Status)
		}
	}
	for _, f := range s.vfs(t) {
		if f.Port == "" && f.PF == hit {
			if k := kernel(t, f.PF, f.Index); k.vlan() != 0 || k.Trust || !k.Spoof {
				t.Errorf("free VF %d of %s is %+v", f.Index, f.PF, k)
			}
		}
	}
}

// One VF that cannot be programmed says why, and no other port suffers.
func TestRigBrokenVFAffectsNoOtherPort(t *testing.T) {
	s := rig(t)
	s.network(t, "broken", 112, "10.12.0.0/24", "--no-dhcp")
	other := s.port(t, "broken", "--vnic-type", "direct")
	id := s.run(t, "port", "create", "brk", "--network", "broken", "--host", "compute1", "--vnic-type", "direct", "--min-rate", "10", "-o", "id")
	t.Cleanup(func() { s.run(t, "port", "delete", id) })
	s.eventually(t, "the agent says why", func() bool {
		for _, v := range s.vfs(t) {
			if v.Port == id && v.Reason != "" {
				return true
			}
		}
		return false
	})
	third := s.port(t, "broken", "--vnic-type", "direct")
	if got := s.show(t, id).Status; got != "DOWN" {
		t.Errorf("the port that cannot be is %s", got)
	}
	for _, p := range []port{other, third} {
		if now := s.show(t, p.ID); now.Status != "ACTIVE" || now.Revision != p.Revision {
			t.Errorf("port %s: %s, revision %d, was %d", p.ID, now.Status, now.Revision, p.Revision)
		}
	}
}

// A host comes up with its last desired state when no controller answers.
func TestRigHostComesUpWithoutAController(t *testing.T) {
	s := rig(t)
	s.network(t, "alone", 113, "10.13.0.0/24", "--no-dhcp")
	p := s.port(t, "alone", "--vnic-type", "direct")
	v := s.vf(t, p.ID)
	s.kill(s.controller)
	s.kill(s.agent)
	ip(t, "link", "set", v.PF, "vf", fmt.Sprint(v.Index), "vlan", "0")
	ip(t, "link", "set", v.PF, "vf", fmt.Sprint(v.Index), "spoofchk", "off")
	if err := s.startAgent(); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the socket answers", func() bool { _, err := s.try("vf", "list"); return err == nil })
	s.restored(t, p, 113)
	var err error
	if s.controller, err = s.daemon("controller"); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the port is ACTIVE", func() bool {
		out, terr := s.try("port", "show", p.ID, "-o", "json")
		return terr == nil && out != "" && s.show(t, p.ID).Status == "ACTIVE"
	})
}
