package lab_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"

	"neutrino/internal/lab"
	"neutrino/internal/netspace"
)

// eventually asks until it is so.
func eventually(t *testing.T, what string, limit time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(50 * time.Millisecond) { // the API is asked, nothing tells
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}

// announcements notes, by address, the MACs that gratuitous ARP gives it, as heard on the
// instance's netdev until the test ends.
type announcements struct {
	mu   sync.Mutex
	seen map[string]int
}

func (a *announcements) of(address string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[address]
}

const etherARP = 0x0806

func listenForARP(t *testing.T, n lab.Names, in *lab.Instance) *announcements {
	t.Helper()
	a := &announcements{seen: map[string]int{}}
	var conn *packet.Conn
	if err := netspace.Do(n.Namespace(in.Name), func() error {
		nics, err := net.Interfaces()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(nics, func(x net.Interface) bool { return x.HardwareAddr.String() == in.MAC })
		if i < 0 {
			return fmt.Errorf("%s has no netdev with MAC %s", in.Name, in.MAC)
		}
		conn, err = packet.Listen(&nics[i], packet.Raw, etherARP, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, 2048)
		for {
			size, _, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			// Ethernet, then ARP (RFC 826): sender's address at 14, target's at 24.
			if arp := buf[:size]; size >= 14+28 && bytes.Equal(arp[28:32], arp[38:42]) {
				a.mu.Lock()
				a.seen[net.IP(arp[28:32]).String()]++
				a.mu.Unlock()
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		reader.Wait()
	})
	return a
}

// echo answers whatever comes over TCP in an instance, until the test ends.
func echo(t *testing.T, n lab.Names, in *lab.Instance, port int) {
	t.Helper()
	var l net.Listener
	if err := netspace.Do(n.Namespace(in.Name), func() (err error) {
		var lc net.ListenConfig
		l, err = lc.Listen(t.Context(), "tcp4", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintf(c, "%s\n", c.RemoteAddr())
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
}

// seenAs opens a new connection from an instance and returns the address that the other end
// sees; "" = none came about.
func seenAs(t *testing.T, n lab.Names, from *lab.Instance, to string) string {
	t.Helper()
	answer := make([]byte, 64)
	size := 0
	err := netspace.Do(n.Namespace(from.Name), func() error {
		d := net.Dialer{Timeout: 2 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp4", to)
		if err != nil {
			return err
		}
		defer c.Close()
		if err = c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		size, err = c.Read(answer)
		return err
	})
	if err != nil {
		return ""
	}
	who, err := netip.ParseAddrPort(strings.TrimSpace(string(answer[:size])))
	if err != nil {
		return ""
	}
	return who.Addr().String()
}

// die kills a host's agent, and its NIC with it.
func die(t *testing.T, n lab.Names, s *lab.State, host string) {
	t.Helper()
	i := slices.IndexFunc(s.Processes, func(p lab.Process) bool { return p.Host == host && p.Name == "agent" })
	if i < 0 {
		t.Fatalf("no agent runs on %q: %+v", host, s.Processes)
	}
	setNIC(t, n, host, netlink.LinkSetDown)
	if err := syscall.Kill(s.Processes[i].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the agent is dead", 10*time.Second, func() bool { return !s.Processes[i].Alive() })
}

func setNIC(t *testing.T, n lab.Names, host string, set func(netlink.Link) error) {
	t.Helper()
	if err := netspace.Do(n.Namespace(host), func() error {
		l, err := netlink.LinkByName(lab.NIC)
		if err != nil {
			return err
		}
		return set(l)
	}); err != nil {
		t.Fatal(err)
	}
}

// revive starts a host's NIC and agent again.
func revive(t *testing.T, n lab.Names, host string) {
	t.Helper()
	setNIC(t, n, host, netlink.LinkSetUp)
	cmd := exec.Command("/proc/self/exe", "agent", "--config-file", n.File(host+".conf"))
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := netspace.Do(n.Namespace(host), cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// routerSpaces are the namespaces of a router on this machine.
func routerSpaces(t *testing.T, router object) []string {
	t.Helper()
	names, err := netspace.List("qrouter-" + router["id"].(string)[:8])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestRouterMovesToAnotherHost: a network node dies, with its NIC. Its router goes to the
// other one, with its addresses, and real packets pass as before; the first one drops it when
// it is back.
func TestRouterMovesToAnotherHost(t *testing.T) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed (apt install iputils-ping)")
	}
	n := newNames(t)
	ctx := t.Context()
	s, err := lab.Up(ctx, lab.Options{Names: n, Routers: true, NetworkNodes: 2, Progress: progress(t)})
	if err != nil {
		t.Fatal(err)
	}
	site := newSite(t, n, s)
	floating := site.float(site.red)["floating_ip_address"].(string)
	url := s.API + "/v2.0/"
	node := func() string {
		agents := callList(ctx, t, fmt.Sprintf("%srouters/%s/l3-agents", url, site.router["id"]), "agents")
		if len(agents) != 1 {
			return ""
		}
		return agents[0]["host"].(string)
	}
	echo(t, n, site.out, 8000)
	echo(t, n, site.red, 8000)
	outside, inside := address(site.out), address(site.red)
	gateway := site.router["external_gateway_info"].(object)["external_fixed_ips"].([]any)[0].(object)["ip_address"].(string)
	passes := func(when string) {
		t.Helper()
		reaches(t, n, site.red.Name, address(site.blue))
		reaches(t, n, site.red.Name, outside)
		reaches(t, n, site.blue.Name, outside)
		reaches(t, n, site.out.Name, floating)
		for _, c := range []struct {
			from     *lab.Instance
			to, seen string
		}{
			{site.blue, outside, gateway}, // SNAT
			{site.red, outside, floating},
			{site.out, floating, outside},
			{site.blue, inside, address(site.blue)},
		} {
			if got := seenAs(t, n, c.from, c.to+":8000"); got != c.seen {
				t.Errorf("%s, a new connection from %s to %s is seen as %q, want %s", when, c.from.Name, c.to, got, c.seen)
			}
		}
	}
	passes("before")
	heard := listenForARP(t, n, site.out)
	first := node()
	die(t, n, s, first)
	began := time.Now()
	eventually(t, "the router is on another agent", 40*time.Second, func() bool { now := node(); return now != "" && now != first })
	t.Logf("the router of %s is on %s after %s", first, node(), time.Since(began).Round(10*time.Millisecond))
	passes("after the move")
	t.Logf("all passes after %s", time.Since(began).Round(10*time.Millisecond))
	for _, a := range []string{gateway, floating} {
		if heard.of(a) == 0 {
			t.Errorf("nobody outside was told where %s is now", a)
		}
	}
	if names := routerSpaces(t, site.router); len(names) != 2 {
		t.Errorf("namespaces %v: of the node that died one is left", names)
	}
	revive(t, n, first)
	eventually(t, first+" drops the router when it is back", 40*time.Second, func() bool { return len(routerSpaces(t, site.router)) == 1 })
	passes("when the first node is back")
	if now := node(); now == first {
		t.Errorf("the router went back to %s", first)
	}
}

// complaints are what a lab's processes have warned of.
func complaints(t *testing.T, n lab.Names) (out []string) {
	t.Helper()
	logs, err := filepath.Glob(n.File("log", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs: %v", err)
	}
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "part=etcd") {
				continue // how slow its disk and processor are is this machine's affair
			}
			if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
				out = append(out, filepath.Base(file)+": "+line)
			}
		}
	}
	return out
}

// TestNormalLifeWarnsOfNothing: whatever a warning is about, an operator has to act on it.
// Networks, routers, floating IPs and instances come and go, and there is nothing to do.
func TestNormalLifeWarnsOfNothing(t *testing.T) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed (apt install iputils-ping)")
	}
	n := newNames(t)
	ctx := t.Context()
	s, err := lab.Up(ctx, lab.Options{Names: n, Routers: true, NetworkNodes: 2, Progress: progress(t)})
	if err != nil {
		t.Fatal(err)
	}
	x := newSite(t, n, s)
	fip := x.float(x.red)
	reaches(t, n, x.out.Name, fip["floating_ip_address"].(string))
	for _, in := range []*lab.Instance{x.red, x.blue, x.out} {
		if err := lab.Kill(ctx, n, in.Name); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(kind string, id any) { call(ctx, t, http.MethodDelete, x.v2+kind+"/"+id.(string), nil) }
	remove("floatingips", fip["id"])
	router := x.v2 + "routers/" + x.router["id"].(string)
	call(ctx, t, http.MethodPut, router, object{"router": object{"external_gateway_info": nil}})
	for _, sub := range callList(ctx, t, x.v2+"subnets", "subnets") {
		if sub["network_id"] != x.external["id"] {
			call(ctx, t, http.MethodPut, router+"/remove_router_interface", object{"subnet_id": sub["id"]})
		}
	}
	remove("routers", x.router["id"])
	for _, net := range callList(ctx, t, x.v2+"networks", "networks") {
		remove("networks", net["id"])
	}
	eventually(t, "namespaces of routers and networks are gone", 40*time.Second, func() bool {
		dhcp, err := netspace.List("qdhcp-" + x.external["id"].(string)[:8])
		if err != nil {
			t.Fatal(err)
		}
		return len(routerSpaces(t, x.router))+len(dhcp) == 0
	})
	for _, line := range complaints(t, n) {
		t.Error(strings.TrimSpace(line))
	}
}
