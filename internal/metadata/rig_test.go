package metadata

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// wire is a network of one instance: a namespace for the proxy, one for the instance, and a
// pair of veths between them.
type wire struct {
	proxy, guest string // names
	mac          string // of the instance's device
}

// newWire gives the instance these addresses of 10.0.0.0/24 and routes 169.254.169.254 as
// DHCP's option 121 does.
func newWire(t testing.TB, n int, ips ...string) wire {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	w := wire{proxy: fmt.Sprintf("ntmd%d-%d", os.Getpid(), n), guest: fmt.Sprintf("ntmi%d-%d", os.Getpid(), n)}
	lo := func() error {
		l, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	for _, name := range []string{w.proxy, w.guest} {
		t.Cleanup(func() { _ = netspace.Delete(name) })
		must(t, netspace.Create(name, lo))
	}
	guest, err := netspace.Open(w.guest)
	must(t, err)
	defer guest.Close()
	must(t, netspace.Do(w.proxy, func() error {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ns-dhcp"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(guest)}
		if err := netlink.LinkAdd(v); err != nil {
			return err
		}
		return up("ns-dhcp", "10.0.0.2/24")
	}))
	must(t, netspace.DoAt(guest, func() error {
		var prefixes []string
		for _, ip := range ips {
			prefixes = append(prefixes, ip+"/24")
		}
		if err := up("eth0", prefixes...); err != nil {
			return err
		}
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		w.mac = l.Attrs().HardwareAddr.String()
		return netlink.RouteAdd(&netlink.Route{
			LinkIndex: l.Attrs().Index, Gw: net.ParseIP("10.0.0.2"), Dst: &net.IPNet{IP: Address4.AsSlice(), Mask: net.CIDRMask(32, 32)},
		})
	}))
	return w
}

func up(device string, prefixes ...string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		a, err := netlink.ParseAddr(p)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w wire) open(t testing.TB, s *Service) *Proxy {
	t.Helper()
	ns, err := netspace.Open(w.proxy)
	must(t, err)
	defer ns.Close()
	p, err := s.Open(ns, w.proxy, OnLink)
	must(t, err)
	t.Cleanup(func() { must(t, p.Close()) })
	return p
}

// dial connects from inside the instance; from = "" is the kernel's choice.
func (w wire) dial(ctx context.Context, from, to string) (c net.Conn, err error) {
	err2 := netspace.Do(w.guest, func() error {
		d := net.Dialer{}
		if from != "" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
		}
		c, err = d.DialContext(ctx, "tcp", to)
		return err
	})
	return c, err2
}

// client asks from inside the instance.
func (w wire) client(t testing.TB, from, to string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.dial(ctx, from, to) }}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

const at4 = "169.254.169.254:80"

func get(t testing.TB, c *http.Client, path string) (int, string) {
	t.Helper()
	r, err := c.Get("http://169.254.169.254" + path)
	must(t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(t, err)
	return r.StatusCode, string(text)
}

func newService(t testing.TB, o Options) *Service {
	s, err := New(o)
	must(t, err)
	t.Cleanup(s.Close)
	return s
}

// Two networks have the same subnet, and an instance at the same address each.
func TestEachInstanceGetsItsOwn(t *testing.T) {
	s := newService(t, Options{})
	for n, secret := range []string{"one", "two"} {
		w := newWire(t, n, "10.0.0.7", "10.0.0.9")
		p := w.open(t, s)
		h := host("00000000000"+fmt.Sprint(n), "10.0.0.7", &model.InstanceData{HostName: secret, PublicKeys: []string{testKey}, UserData: "secret of " + secret})
		p.Set([]model.DHCPHost{h}, nil)
		c := w.client(t, "10.0.0.7", at4)
		if code, text := get(t, c, "/latest/user-data"); code != 200 || text != "secret of "+secret {
			t.Errorf("network %d: %d %q", n, code, text)
		}
		if code, text := get(t, c, "/latest/meta-data/instance-id"); code != 200 || text != h.Device {
			t.Errorf("network %d: %d %q", n, code, text)
		}
		// Who claims to be another is still who it is; who is nobody gets nothing.
		req, err := http.NewRequest(http.MethodGet, "http://169.254.169.254/latest/user-data", nil)
		must(t, err)
		req.Header.Set("X-Forwarded-For", "10.0.0.7")
		req.Header.Set("X-Instance-ID", h.Device)
		r, err := w.client(t, "10.0.0.9", at4).Do(req)
		must(t, err)
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if must(t, err); r.StatusCode != http.StatusNotFound || strings.Contains(string(text), "secret") {
			t.Errorf("network %d: a stranger got %d %q", n, r.StatusCode, text)
		}
		p.Set(nil, nil)
		if code, _ := get(t, c, "/latest/user-data"); code != 404 {
			t.Errorf("network %d: an instance that is gone got %d", n, code)
		}
	}
}

func TestLinkLocalIPv6(t *testing.T) {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("this kernel has no IPv6")
	}
	w := newWire(t, 0, "10.0.0.7")
	p := w.open(t, newService(t, Options{}))
	h := host("000000000001", "10.0.0.7", &model.InstanceData{UserData: "mine"})
	h.MAC = w.mac
	p.Set([]model.DHCPHost{h}, nil)
	c := w.client(t, "", "[fe80::a9fe:a9fe%eth0]:80")
	// Until the instance has done duplicate address detection it has no address to ask from.
	deadline := time.Now().Add(30 * time.Second)
	for {
		r, err := c.Get("http://metadata/latest/user-data")
		if err == nil {
			text, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if r.StatusCode != http.StatusOK || string(text) != "mine" {
				t.Errorf("%d %q", r.StatusCode, text)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// What is on the way is ended by Close, and no goroutine is left (TestMain); until then an
// instance that is slow holds no more than its share.
func TestSlowAndManyClients(t *testing.T) {
	var ips []string
	var hosts []model.DHCPHost
	for i := range 40 {
		ip := fmt.Sprintf("10.0.0.%d", 10+i)
		ips = append(ips, ip)
		hosts = append(hosts, host(fmt.Sprintf("%012d", i), ip, &model.InstanceData{UserData: ip}))
	}
	w := newWire(t, 0, ips...)
	s := newService(t, Options{})
	p := w.open(t, s)
	p.Set(hosts, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for range 3 * maxPerClient { // the slow one
		c, err := w.dial(ctx, ips[0], at4)
		must(t, err)
		defer c.Close()
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nX: "))
	}
	const each = 25
	errs := make(chan error, each*len(ips))
	for i := 1; i < len(ips); i++ {
		for range each {
			go func() {
				errs <- func() error {
					c, err := w.dial(ctx, ips[i], at4)
					if err != nil {
						return err
					}
					defer c.Close()
					if _, err := c.Write([]byte("GET /latest/user-data HTTP/1.0\r\n\r\n")); err != nil {
						return err
					}
					text, err := io.ReadAll(c)
					if err == nil && !strings.HasSuffix(string(text), "\r\n\r\n"+ips[i]) {
						err = fmt.Errorf("%s got %q", ips[i], text)
					}
					return err
				}()
			}()
		}
	}
	for range each * (len(ips) - 1) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	p.gate.mu.Lock()
	slow := p.gate.by[hosts[0].PortID]
	p.gate.mu.Unlock()
	if slow > maxPerClient {
		t.Errorf("the slow one holds %d connections", slow)
	}
	must(t, p.Close())
	if p.gate.open != 0 || len(p.gate.by) != 0 {
		t.Errorf("left: %d %v", p.gate.open, p.gate.by)
	}
}
