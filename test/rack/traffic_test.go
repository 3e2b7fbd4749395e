package rack

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"neutrino/test/rig"
)

// TestRack is one story: the rack is dear to boot. What a step needs of those before it is
// in s.
func TestRack(t *testing.T) {
	s := &story{rack: assemble(t)}
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"VerifyFindsWhatTheTrunkDrops", s.verify},
		{"InstancesGetTheirAddressesOverTheVLAN", s.instances},
		{"OneNetworkTalksAndTheOtherIsNotReached", s.talk},
		{"VerifyHearsTheVLANsOfVFsToo", s.verifyInUse},
		{"FramesOnTheTrunkCarryTheNetworksVLAN", s.tags},
		{"RouterLeadsOutsideAndFloatingIPIn", s.router},
		{"IPv6", s.ipv6},
		{"MetadataIsTheInstancesOwn", s.metadata},
		{"NothingIsWarnedOf", s.silence}, // before the faults
		{"WhatDiesCutsNothing", s.faults},
	} {
		if !t.Run(step.name, step.do) {
			return // the rest rests on it
		}
	}
}

type story struct {
	*rack
	red1, red2, redN *instance // one tenant: VFs on both computes, and a port of Open vSwitch
	blue1, blue2     *instance // another, of the same subnet
	floating         string
}

const (
	redVLAN, blueVLAN = 101, 102
	tenantCIDR        = "10.1.0.0/24"
)

func (s *story) instances(t *testing.T) {
	s.network(t, "red", redVLAN, tenantCIDR)
	s.network(t, "blue", blueVLAN, tenantCIDR)
	// Instances answer whatever pings them.
	s.run(t, "security", "rule", "create", "default", "--ingress", "--protocol", "icmp", "-o", "id")
	// The subnets are the same; no instance's address is in use on both networks.
	s.red1 = s.launch(t, s.compute1, "red1", "red", "direct", "--fixed-ip", "10.1.0.11")
	s.red2 = s.launch(t, s.compute2, "red2", "red", "direct", "--fixed-ip", "10.1.0.12")
	s.redN = s.launch(t, s.network1, "redN", "red", "normal", "--fixed-ip", "10.1.0.13")
	s.blue1 = s.launch(t, s.compute1, "blue1", "blue", "direct", "--fixed-ip", "10.1.0.201")
	s.blue2 = s.launch(t, s.compute2, "blue2", "blue", "direct", "--fixed-ip", "10.1.0.202")
	for _, i := range s.all() {
		i.on.write(t, "lease", leaseScript)
		i.on.sh(t, "chmod 755 /vm/lease")
		i.lease(t)
		s.eventually(t, i.ns+" is ACTIVE", func() bool { return s.show(t, i.ID).Status == "ACTIVE" })
	}
	// Debian's other client has the same answer.
	out := s.red2.sh(t, "ip addr flush dev eth0 scope global; dhclient -4 -1 -v -sf /bin/true -lf /run/red2.leases -pf /run/red2.pid eth0; kill $(cat /run/red2.pid)")
	if !strings.Contains(out, "DHCPACK of "+s.red2.Fixed[0].IP) {
		t.Errorf("dhclient says %q", out)
	}
	s.red2.lease(t)
}

func (s *story) all() []*instance {
	return []*instance{s.red1, s.red2, s.redN, s.blue1, s.blue2}
}

func (s *story) talk(t *testing.T) {
	s.red1.reaches(t, "the other compute host", s.red2.Fixed[0].IP)
	s.red1.reaches(t, "the instance on Open vSwitch", s.redN.Fixed[0].IP)
	s.redN.reaches(t, "an instance on a VF", s.red2.Fixed[0].IP)
	s.blue1.reaches(t, "its own", s.blue2.Fixed[0].IP)
	for _, from := range []*instance{s.red1, s.redN} {
		for _, other := range []*instance{s.blue1, s.blue2} {
			if from.pings(other.Fixed[0].IP) {
				t.Errorf("%s reaches %s of another tenant at %s", from.ns, other.ns, other.Fixed[0].IP)
			}
		}
	}
}

var vlanTag = regexp.MustCompile(`vlan (\d+)`)

// tags looks at every frame on the trunk while two tenants talk.
func (s *story) tags(t *testing.T) {
	seen := s.capture(t, "env", "trunk", "", func() {
		s.red1.reaches(t, "red2", s.red2.Fixed[0].IP)
		s.red1.reaches(t, "redN", s.redN.Fixed[0].IP)
		s.blue1.reaches(t, "blue2", s.blue2.Fixed[0].IP)
	})
	want := map[string]int{}
	for _, i := range s.all() {
		want[i.MAC] = redVLAN
		if strings.HasPrefix(i.ns, "blue") {
			want[i.MAC] = blueVLAN
		}
	}
	frames := map[string]int{}
	for line := range strings.Lines(seen) {
		for mac, vlan := range want {
			if !strings.Contains(line, mac+" > ") {
				continue
			}
			frames[mac]++
			m := vlanTag.FindAllStringSubmatch(line, -1)
			if len(m) != 1 || m[0][1] != fmt.Sprint(vlan) {
				t.Errorf("a frame of %s is not on VLAN %d alone: %s", mac, vlan, line)
			}
		}
	}
	for _, i := range s.all() {
		if frames[i.MAC] == 0 {
			t.Errorf("no frame of %s (%s) on the trunk", i.ns, i.MAC)
		}
	}
}

// capture returns what tcpdump says of the frames on an interface while do runs.
func (s *story) capture(t *testing.T, where, dev, filter string, do func()) string {
	t.Helper()
	var out rig.Console
	args := append(strings.Fields(where), "tcpdump", "-i", dev, "-nn", "-e", "-l", "--immediate-mode")
	if filter != "" {
		args = append(args, filter)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer kill(cmd)
	eventually(t, "tcpdump listens", time.Minute, func() bool { return strings.Contains(out.String(), "listening on") })
	do()
	return out.String()
}

func (s *story) router(t *testing.T) {
	s.run(t, "network", "create", "ext", "--type", "flat", "--physical-network", "default", "--external", "-o", "id")
	s.run(t, "subnet", "create", "ext-4", "--network", "ext", "--cidr", "203.0.113.0/24", "--gateway", outsideAddr, "--no-dhcp", "-o", "id")
	s.run(t, "router", "create", "r1", "-o", "id")
	s.run(t, "router", "add", "subnet", "r1", "red-4")
	s.run(t, "router", "set", "r1", "--external-gateway", "ext")
	s.red1.reaches(t, "its router", "10.1.0.1")
	s.red1.reaches(t, "the outside through SNAT", outsideAddr)
	s.redN.reaches(t, "the outside through SNAT", outsideAddr)
	if s.blue1.pings(outsideAddr) {
		t.Error("the other tenant gets outside without a router")
	}
	s.floating = s.run(t, "floating", "ip", "create", "ext", "--port", s.red2.ID, "-o", "id")
	out := s.run(t, "floating", "ip", "show", s.floating, "-o", "json")
	m := regexp.MustCompile(`"floating_ip_address":\s*"([^"]+)"`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no address: %s", out)
	}
	s.floating = m[1]
	eventually(t, "the floating IP "+s.floating+" answers outside", time.Minute, func() bool { return outsidePings(s.floating) })
	seen := s.capture(t, "ip netns exec outside", "eth0", "icmp", func() { s.red2.reaches(t, "the outside", outsideAddr) })
	if !strings.Contains(seen, s.floating+" > "+outsideAddr+": ICMP echo request") {
		t.Errorf("outside sees %q, nothing from %s", seen, s.floating)
	}
}

func outsidePings(addr string) bool {
	_, err := sh("ip netns exec outside /bin/busybox ping -c 2 -W 2 " + addr)
	return err == nil
}
