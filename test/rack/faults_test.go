package rack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// faults takes away one part after another while instances talk through it.
func (s *story) faults(t *testing.T) {
	before := s.ovsdb(t)
	beat := s.keepPinging(t)
	for _, f := range []struct {
		what string
		do   func()
	}{
		{"the network node's agent is killed and comes back", func() {
			s.network1.sh(t, "kill -9 $(cat /run/agent.pid)")
			s.stillTalk(t)
			s.network1.startAgent(t)
		}},
		{"the OVSDB server is killed and comes back", func() {
			s.network1.sh(t, "kill -9 $(cat /run/openvswitch/ovsdb-server.pid); /usr/share/openvswitch/scripts/ovs-ctl --no-ovs-vswitchd start")
		}},
		{"ovs-vswitchd is killed and comes back", func() {
			s.network1.sh(t, "kill -9 $(cat /run/openvswitch/ovs-vswitchd.pid); /usr/share/openvswitch/scripts/ovs-ctl --no-ovsdb-server start")
		}},
		{"the controller is killed and comes back", func() {
			kill(s.controller)
			s.stillTalk(t)
			s.startController(t)
		}},
	} {
		f.do()
		t.Log(f.what)
		s.eventually(t, f.what+": every agent is alive", func() bool {
			out, err := s.try("agent", "list", "--alive", "-o", "id")
			return err == nil && len(strings.Fields(out)) == 5
		})
		s.stillTalk(t)
		s.eventually(t, f.what+": Open vSwitch is as it was", func() bool { return s.ovsdb(t) == before })
		fresh := s.launch(t, s.compute2, fmt.Sprintf("fresh%d", time.Now().Unix()), "red", "direct")
		fresh.lease(t)
		fresh.reaches(t, "the outside", outsideAddr)
	}
	lost := beat()
	t.Logf("lost %d of the pings between the VFs of two hosts", lost)
	if lost > 0 {
		t.Error("nothing of what was done is in the way of two VFs, yet pings were lost")
	}
}

// silence: what was done so far is normal life, and a warning is for what an operator has to
// act on.
func (s *story) silence(t *testing.T) {
	for _, m := range s.machines() {
		if said := m.sh(t, "grep -E 'level=(WARN|ERROR)' /run/agent.log || true"); said != "" {
			t.Errorf("%s warns of:\n%s", m.name, said)
		}
	}
	log, err := os.ReadFile(filepath.Join(s.dir, "controller.log"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		// How slow etcd's disk and processor are is this machine's affair.
		if strings.Contains(line, "part=etcd") {
			continue
		}
		if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
			t.Errorf("the controller warns of: %s", line)
		}
	}
}

// stillTalk: over VFs alone, through Open vSwitch, through the router both ways.
func (s *story) stillTalk(t *testing.T) {
	t.Helper()
	s.red1.reaches(t, "the other compute host", s.red2.Fixed[0].IP)
	s.red1.reaches(t, "the instance on Open vSwitch", s.redN.Fixed[0].IP)
	s.red1.reaches(t, "the outside", outsideAddr)
	eventually(t, "the floating IP answers", time.Minute, func() bool { return outsidePings(s.floating) })
}

// ovsdb is what Open vSwitch's database says of ports: names, tags, what they are for.
func (s *story) ovsdb(t *testing.T) string {
	t.Helper()
	out, err := s.network1.try("ovs-vsctl --timeout=20 -f csv --columns=name,tag,external_ids,other_config list Port | sort; ovs-vsctl --timeout=20 -f csv --columns=name,type,external_ids,mtu_request list Interface | sort; ovs-vsctl --timeout=20 list-ports br-eth6 | sort")
	if err != nil {
		return err.Error()
	}
	return out
}

// keepPinging pings between the VFs of two hosts until the returned function is called,
// which says how many answers never came.
func (s *story) keepPinging(t *testing.T) (stop func() int) {
	t.Helper()
	s.compute1.sh(t, "ip netns exec red1 setsid /bin/busybox ping "+s.red2.Fixed[0].IP+" >/run/ping.log 2>&1 </dev/null & echo $! > /run/ping.pid")
	return func() int {
		out := s.compute1.sh(t, "kill -INT $(cat /run/ping.pid); for n in 1 2 3 4 5 6 7 8 9 10; do grep -q transmitted /run/ping.log && break; sleep 0.2; done; tail -n 4 /run/ping.log")
		var sent, received int
		for line := range strings.Lines(out) {
			if _, err := fmt.Sscanf(line, "%d packets transmitted, %d packets received", &sent, &received); err == nil {
				return sent - received
			}
		}
		t.Fatalf("ping says %q", out)
		return 0
	}
}
