package dhcp

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// has6 waits for an address with the prefix that the client's kernel has finished checking.
func (r *rig) has6(prefix string) netip.Addr {
	r.t.Helper()
	want := netip.MustParsePrefix(prefix)
	deadline := time.Now().Add(60 * time.Second)
	for {
		var found netip.Addr
		r.in(r.client, func() error {
			l, err := netlink.LinkByName("c0")
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
			for _, a := range addrs {
				ip, _ := netip.AddrFromSlice(a.IP)
				if want.Contains(ip) && a.Flags&(0x40|0x08) == 0 { // IFA_F_TENTATIVE, IFA_F_DADFAILED
					found = ip
				}
			}
			return err
		})
		if found.IsValid() {
			return found
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the client has no address of %s", prefix)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// sysctl sets one of the client's.
func (r *rig) sysctl(key, value string) {
	r.t.Helper()
	r.in(r.client, func() error {
		return os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf/c0", key), []byte(value), 0o644)
	})
}

// only is the network with its IPv4 subnet and one of the IPv6 ones.
func only(id string) *model.DHCPNetwork {
	n := testNetwork6()
	var keep []*model.Subnet
	for _, s := range n.Subnets {
		if s.ID == "s1" || s.ID == id {
			keep = append(keep, s)
		}
	}
	n.Subnets = keep
	n.Addresses = n.Addresses[:1]
	return n
}

// TestKernelFormsItsAddress: on a network without a router a host forms its address from our
// advertisement, takes the MTU, and no default route.
func TestKernelFormsItsAddress(t *testing.T) {
	r := newRig(t)
	r.sysctl("accept_ra", "1")
	n := r.node()
	set(t, n, only("auto"))
	if got := r.has6("fd03::/64"); got != netip.MustParseAddr("fd03::f816:3eff:fe00:5") {
		t.Errorf("formed %s", got)
	}
	r.in(r.client, func() error {
		routes, err := netlink.RouteList(nil, netlink.FAMILY_V6)
		for _, rt := range routes {
			if rt.Gw != nil {
				t.Errorf("route by %s", rt.Gw)
			}
		}
		mtu, readErr := os.ReadFile("/proc/sys/net/ipv6/conf/c0/mtu")
		if readErr == nil && strings.TrimSpace(string(mtu)) != "1450" {
			t.Errorf("MTU %s", mtu)
		}
		return err
	})
	// Nor does the node take anything from anybody: it has what its port has.
	r.in(r.namespace(), func() error {
		l, err := netlink.LinkByName("ns-aaaaaaaa-bb")
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V6)
		for _, a := range addrs {
			if !a.IP.IsLinkLocalUnicast() {
				t.Errorf("the node took %s", a.IP)
			}
		}
		return err
	})
}

// TestRoutedSubnetIsLeftToItsRouter: the router advertises itself.
func TestRoutedSubnetIsLeftToItsRouter(t *testing.T) {
	r := newRig(t)
	n := r.node()
	w := only("auto")
	w.RoutedSubnets = []string{"auto"}
	set(t, n, w)
	if n.nets[w.NetworkID].adverts != nil {
		t.Error("a routed subnet is advertised")
	}
	isolated := only("auto")
	set(t, n, isolated)
	if n.nets[w.NetworkID].adverts == nil {
		t.Error("a subnet that lost its router is not advertised")
	}
}

func TestDebiansDhclient6(t *testing.T) {
	for _, tc := range []struct {
		name, subnet string
		args, lines  []string
	}{
		{"stateful", "full", nil, []string{"new_ip6_address=fd00::5", "new_dhcp6_name_servers=2001:db8::53", "new_dhcp6_domain_search=example.org."}},
		{"no modes", "bare", nil, []string{"new_ip6_address=fd01::5"}},
		{"stateless", "less", []string{"-S"}, []string{"new_dhcp6_name_servers=2001:db8::53", "new_dhcp6_domain_search=example.org."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			w := only(tc.subnet)
			if tc.subnet == "less" { // the client is the host of that subnet
				w.Hosts[0].MAC, w.Hosts[1].MAC = twoMAC, redMAC
			}
			set(t, r.node(), w)
			r.has6("fe80::/10") // dhclient wants one to speak from
			dir := t.TempDir()
			script := filepath.Join(dir, "hook")
			body := "#!/bin/sh\ncase \"$reason\" in BOUND6|INFO6) env > " + filepath.Join(dir, "part") + "; mv " + filepath.Join(dir, "part") + " " +
				filepath.Join(dir, "lease") + "; kill $PPID;; RENEW6|REBIND6) env > " + filepath.Join(dir, "lease") + "; kill $PPID;; esac\nexit 0\n"
			conf := filepath.Join(dir, "conf")
			for file, text := range map[string]string{script: body, conf: "request dhcp6.name-servers, dhcp6.domain-search;\n"} {
				if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			args := append([]string{"-6", "-1", "-d", "-sf", script, "-cf", conf, "-lf", filepath.Join(dir, "leases"), "--no-pid"}, tc.args...)
			expect(t, r.run(dir, "dhclient", append(args, "c0")...), tc.lines...)
		})
	}
}

// companion notes what it is told.
type companion struct {
	mu     sync.Mutex
	told   []*model.DHCPNetwork
	closed int
}

func (c *companion) Set(n *model.DHCPNetwork) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, n)
}

func (c *companion) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// TestBeside: what runs beside is there while the network is served, and hears of
// changes only.
func TestBeside(t *testing.T) {
	r := newRig(t)
	c := &companion{}
	made := 0
	var n *Node
	r.in(r.home, func() (err error) {
		n, err = NewNode(Options{
			Prefix: r.prefix, IsolatedMetadata: true,
			FindVF: func(string) (VF, bool) {
				vf := r.vf
				if !r.hasLink(r.home, vf.Netdev) {
					vf.Netdev = ""
				}
				return vf, true
			},
			Beside: func(namespace string, ns netns.NsHandle) (Companion, error) {
				made++
				return c, netspace.DoAt(ns, func() error { _, err := netlink.LinkByName("ns-aaaaaaaa-bb"); return err })
			},
		})
		return err
	})
	t.Cleanup(func() { _ = n.Close() })
	w := testNetwork()
	set(t, n, w)
	set(t, n, w)
	changed := testNetwork()
	set(t, n, changed)
	c.mu.Lock()
	if made != 1 || len(c.told) < 2 || c.told[len(c.told)-1] != changed || c.closed != 0 {
		t.Errorf("made %d, told %d times, closed %d", made, len(c.told), c.closed)
	}
	c.mu.Unlock()
	set(t, n)
	if c.closed != 1 {
		t.Errorf("closed %d times", c.closed)
	}
}
