package rack

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// ipv6: one network whose hosts form their addresses, one whose hosts ask for them.
func (s *story) ipv6(t *testing.T) {
	s.run(t, "network", "create", "slaac", "--type", "vlan", "--physical-network", "default", "--segment", "103", "-o", "id")
	s.run(t, "subnet", "create", "slaac-6", "--network", "slaac", "--cidr", "2001:db8:3::/64", "--ipv6-mode", "slaac", "--ipv6-ra", "slaac", "-o", "id")
	s.run(t, "network", "create", "asks", "--type", "vlan", "--physical-network", "default", "--segment", "104", "-o", "id")
	s.run(t, "subnet", "create", "asks-6", "--network", "asks", "--cidr", "2001:db8:4::/64", "--ipv6-mode", "dhcpv6-stateful", "--ipv6-ra", "dhcpv6-stateful", "-o", "id")
	forms := s.launch(t, s.compute1, "forms", "slaac", "direct")
	eventually(t, "forms has the address that the port shows, "+forms.Fixed[0].IP, time.Minute, func() bool {
		return strings.Contains(forms.sh(t, "ip -6 -br addr show dev eth0"), forms.Fixed[0].IP+"/64")
	})
	asks := s.launch(t, s.compute2, "asks", "asks", "direct")
	eventually(t, "the link-local address can be used", time.Minute, func() bool {
		out := asks.sh(t, "ip -6 addr show dev eth0 scope link")
		return strings.Contains(out, "fe80::") && !strings.Contains(out, "tentative")
	})
	out := asks.sh(t, "timeout 60 dhclient -6 -1 -v -sf /bin/true -lf /run/asks.leases -pf /run/asks.pid eth0; kill $(cat /run/asks.pid); cat /run/asks.leases")
	if !strings.Contains(out, "iaaddr "+asks.Fixed[0].IP) {
		t.Errorf("dhclient -6 says %q, the port has %s", out, asks.Fixed[0].IP)
	}
}

// metadata: each instance is told about itself, whoever else has its address.
func (s *story) metadata(t *testing.T) {
	for _, i := range []*instance{s.red1, s.blue2} {
		i.lease(t)
		said := ""
		defer func() {
			if t.Failed() {
				t.Logf("%s is told %q; %s", i.ns, said, i.sh(t, "ip route; curl -sv -m 10 http://169.254.169.254/ 2>&1 | tail -n 5 || true"))
				out, _ := s.network1.try("for n in $(ip netns | cut -d\" \" -f1); do echo == $n; ip netns exec $n ss -ltn; done; grep -i metadata /run/agent.log")
				t.Log(out)
			}
		}()
		eventually(t, i.ns+" is told who it is", time.Minute, func() bool {
			out, err := i.on.try("ip netns exec " + i.ns + " curl -s -m 10 http://169.254.169.254/latest/meta-data/instance-id")
			said = fmt.Sprint(out, err)
			return err == nil && out == i.ID
		})
	}
}
