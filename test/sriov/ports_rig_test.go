package sriov

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestRigPortsOfOneVLANTalkAndOthersDoNot(t *testing.T) {
	s := rig(t)
	s.network(t, "red", 101, "10.1.0.0/24")
	s.network(t, "blue", 102, "10.1.0.0/24", "--no-dhcp")
	other := s.pfs[len(s.pfs)-1]
	var far string // a VF of the other PF: what passes between them is tagged on the wire
	for _, v := range s.vfs(t) {
		if v.PF == other && v.Port == "" && v.Netdev != "" {
			far = v.Slot
		}
	}
	a := s.port(t, "red", "--vnic-type", "direct")
	b := s.port(t, "red", "--vnic-type", "direct", "--vf", far)
	c := s.port(t, "blue", "--vnic-type", "direct", "--fixed-ip", "10.1.0.200")
	for _, want := range []struct {
		port
		vlan int
	}{{a, 101}, {b, 101}, {c, 102}} {
		v := s.vf(t, want.ID)
		k := kernel(t, v.PF, v.Index)
		if k.MAC != want.MAC || k.vlan() != want.vlan || !k.Spoof {
			t.Errorf("the kernel shows %+v, want MAC %s, VLAN %d, spoof check on", k, want.MAC, want.vlan)
		}
	}
	spaces := map[string]string{}
	for _, p := range []port{a, b, c} {
		spaces[p.ID] = netns(t)
		s.run(t, "vif", "plug", p.ID, "--netns", spaces[p.ID])
	}
	for _, p := range []port{a, b} {
		if got := lease(t, spaces[p.ID]); got != p.Fixed[0].IP {
			t.Errorf("address by DHCP %s, the port's is %s", got, p.Fixed[0].IP)
		}
	}
	ip(t, "-n", spaces[c.ID], "addr", "add", "10.1.0.200/24", "dev", "eth0")
	s.eventually(t, "a port of the same VLAN answers", func() bool { return ping(spaces[a.ID], b.Fixed[0].IP) })
	if ping(spaces[a.ID], "10.1.0.200") || ping(spaces[c.ID], b.Fixed[0].IP) {
		t.Error("a port of another VLAN answers")
	}
	for _, p := range []port{a, b, c} {
		s.run(t, "vif", "unplug", p.ID)
	}
	if left := s.run(t, "vif", "list", "-o", "id"); left != "" {
		t.Errorf("still plugged: %s", left)
	}
}

func TestRigRatesAndTrustWhereTheDriverHasThem(t *testing.T) {
	s := rig(t)
	s.network(t, "rated", 103, "10.3.0.0/24", "--no-dhcp")
	p := s.port(t, "rated", "--vnic-type", "direct", "--max-rate", "100", "--profile", "trusted=true")
	v := s.vf(t, p.ID)
	if k := kernel(t, v.PF, v.Index); k.Rate.Max != 100 || !k.Trust {
		t.Errorf("the kernel shows %+v, want 100 Mbit/s and trust", k)
	}
	// igb has no minimum: the port says so in words, and stays as asked otherwise.
	s.run(t, "port", "set", p.ID, "--min-rate", "50")
	s.eventually(t, "the agent says that there is no minimum", func() bool {
		f := s.vf(t, p.ID)
		return !f.Up && strings.Contains(f.Reason, "min_tx_rate")
	})
	if k := kernel(t, v.PF, v.Index); k.Rate.Max != 100 || k.MAC != p.MAC || k.vlan() != 103 {
		t.Errorf("the kernel shows %+v", k)
	}
	s.run(t, "port", "set", p.ID, "--min-rate", "0")
	s.eventually(t, "the port is up again", func() bool { return s.vf(t, p.ID).Up })
}

func TestRigAgentIsSmall(t *testing.T) {
	s := rig(t)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.agent.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			t.Log("agent", strings.TrimSpace(line))
		}
	}
}

func TestRigVFOfAPortThatWasDeletedIsCleanAndFree(t *testing.T) {
	s := rig(t)
	s.network(t, "brief", 104, "10.4.0.0/24", "--no-dhcp")
	id := s.run(t, "port", "create", "brief1", "--network", "brief", "--host", "compute1", "--vnic-type", "direct", "-o", "id")
	s.eventually(t, "port is ACTIVE", func() bool { return s.show(t, id).Status == "ACTIVE" })
	p, v := s.show(t, id), s.vf(t, id)
	ns := netns(t)
	s.run(t, "vif", "plug", id, "--netns", ns)
	s.run(t, "port", "delete", id)
	s.eventually(t, "the VF is the host's again, clean and free", func() bool {
		for _, f := range s.vfs(t) {
			if f.Slot == v.Slot {
				k := kernel(t, f.PF, f.Index)
				return f.Port == "" && f.Plugged == "" && f.Netdev != "" && k.MAC != p.MAC && k.vlan() == 0 && k.Spoof && !k.Trust && k.Rate.Max == 0
			}
		}
		return false
	})
}
