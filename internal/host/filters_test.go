package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"neutrino/internal/agent"
	"neutrino/internal/config"
	"neutrino/internal/model"
	"neutrino/internal/netspace"
	"neutrino/internal/openflow"
	"neutrino/internal/ovs"
	"neutrino/internal/ovs/ovstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const br = "br-eth6"

// host is a real Open vSwitch, its bridges and their filters, as the agent has them.
type host struct {
	*ovstest.Instance
	t   testing.TB
	br  *bridges
	cfg *config.Config
	f   *filters
}

func newHost(t testing.TB) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	h := &host{Instance: ovstest.Start(t), t: t, cfg: &config.Config{}}
	h.cfg.OVS.BridgeMappings = map[string][]string{"default": {br}}
	h.cfg.OVS.Datapath, h.cfg.OVS.Connection = "netdev", h.Endpoint()
	h.cfg.SecurityGroup = config.SecurityGroup{Enable: true, Firewall: config.FirewallOVS}
	var err error
	if h.br, err = openBridges(h.cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.br.Close)
	h.open()
	return h
}

// open makes the filters anew, as an agent that starts does.
func (h *host) open() {
	f := newFilters(h.cfg, h.br, slog.New(slog.DiscardHandler))
	h.f = f
	h.t.Cleanup(f.Close)
}

func attachment(n int) *model.Attachment {
	mac := fmt.Sprintf("fa:16:3e:00:00:%02x", n)
	return &model.Attachment{
		Kind: model.AttachOVS, Bridge: br, PortID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", n), VLAN: 100, MAC: mac, SpoofCheck: true,
		Owner: "compute:nova", LinkState: model.LinkAuto, Allowed: []model.AllowedSource{{MAC: mac, Prefix: netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/32", n))}},
		Filter: &model.Filter{Rules: []model.FilterRule{{Egress: true, Protocol: model.AnyProtocol}}},
	}
}

// plug does what os-vif does for a port.
func (h *host) plug(a *model.Attachment) {
	name := ovs.Name(a.PortID)
	h.Run("ip", "-n", h.Netns, "link", "add", name, "type", "veth", "peer", "name", "p"+name[4:])
	h.Vsctl("add-port", br, name, "--", "set", "interface", name, "external_ids:iface-id="+a.PortID)
}

// round is what the agent does: the ports, then their filters.
func (h *host) round(want ...*model.Attachment) map[string]error {
	h.t.Helper()
	var ports map[string]agent.BridgePort
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var err error
		ports, err = h.br.Set(context.Background(), want)
		ready := err == nil
		for _, a := range want {
			ready = ready && ports[a.PortID].OFPort > 0 && ports[a.PortID].Err == nil
		}
		if ready {
			break
		}
		if time.Now().After(end) {
			h.t.Fatalf("ports are not in place within a minute: %v, %v", ports, err)
		}
	}
	var list []agent.FilterPort
	for _, a := range want {
		list = append(list, agent.FilterPort{Attachment: a, OFPort: ports[a.PortID].OFPort})
	}
	return h.f.Set(context.Background(), br, list)
}

func (h *host) flows() string {
	return h.Run("ovs-ofctl", "-O", "OpenFlow14", "--no-stats", "--no-names", "dump-flows", "unix:"+h.Management(br))
}

func TestFiltersOfAHost(t *testing.T) {
	h := newHost(t)
	a, b := attachment(1), attachment(2)
	router := attachment(3)
	router.Owner, router.Filter = model.OwnerRouterInterface, nil
	h.round() // the bridge is made
	h.plug(a)
	h.plug(b)
	h.Run("ip", "-n", h.Netns, "link", "add", "else", "type", "veth", "peer", "name", "else1")
	h.Vsctl("add-port", br, "else", "tag=100")
	if bad := h.round(a, b, router); len(bad) > 0 {
		t.Fatalf("Set: %v", bad)
	}
	number := func(name string) string { return h.Vsctl("get", "interface", name, "ofport") }
	flows := h.flows()
	for _, want := range []string{
		// Those of instances are checked, the router's and a stranger's look where they go.
		"in_port=" + number(ovs.Name(a.PortID)) + ",vlan_tci=0x0000/0x1fff actions=load:",
		"table=100, ", "nw_src=10.0.0.1", "nw_src=10.0.0.2",
		"priority=45000,in_port=" + number(ovs.Name(router.PortID)) + " actions=NORMAL",
		"priority=45000,in_port=" + number("else") + " actions=NORMAL",
	} {
		if !strings.Contains(strings.ReplaceAll(flows, "set_field:", "load:"), want) {
			t.Errorf("no %q in\n%s", want, flows)
		}
	}
	if strings.Contains(flows, "nw_src=10.0.0.3") {
		t.Error("a router's port is taken at its address")
	}

	// A rule that cannot be had is the port's, and no other's.
	port := 5
	a.Filter.Rules = append(a.Filter.Rules, model.FilterRule{Protocol: 33, PortMin: &port, PortMax: &port})
	if bad := h.round(a, b, router); len(bad) != 1 || !errors.Is(bad[a.PortID], openflow.ErrMatch) {
		t.Errorf("Set = %v, want %v for %s", bad, openflow.ErrMatch, a.PortID)
	}
	a.Filter.Rules = a.Filter.Rules[:1]
	// A port that is administratively down.
	b.LinkState = model.LinkDisable
	if bad := h.round(a, b, router); len(bad) > 0 || !strings.Contains(h.flows(), "priority=45020,in_port="+number(ovs.Name(b.PortID))+" actions=drop") {
		t.Errorf("a port that is down: %v\n%s", bad, h.flows())
	}

	// An agent that starts and has no ports takes away what the one before has left.
	h.f.Close()
	h.open()
	if bad := h.f.Set(context.Background(), br, nil); len(bad) > 0 || strings.Contains(h.flows(), "cookie=0x6e74") {
		t.Errorf("left behind: %v\n%s", bad, h.flows())
	}
}

func TestFiltersSwitchedOff(t *testing.T) {
	h := newHost(t)
	a := attachment(1)
	h.round()
	h.plug(a)
	if bad := h.round(a); len(bad) > 0 || !strings.Contains(h.flows(), "cookie=0x6e74") {
		t.Fatalf("to begin with: %v", bad)
	}
	h.f.Close()
	h.cfg.SecurityGroup.Firewall = config.FirewallNone
	h.open()
	if bad := h.round(a); len(bad) > 0 || strings.Contains(h.flows(), "cookie=0x6e74") {
		t.Errorf("switched off: %v\n%s", bad, h.flows())
	}
	if show := h.Run("ovs-ofctl", "-O", "OpenFlow10", "show", "unix:"+h.Management(br)); strings.Contains(show, "NO_FLOOD") {
		t.Errorf("floods are kept from a port still: %s", show)
	}
}

func TestFiltersWithoutASwitch(t *testing.T) {
	h := newHost(t)
	a := attachment(1)
	plain := attachment(2)
	plain.SpoofCheck, plain.Filter = false, nil
	h.round()
	h.StopSwitch()
	bad := h.f.Set(context.Background(), br, []agent.FilterPort{{Attachment: a, OFPort: 1}, {Attachment: plain, OFPort: 2}})
	if len(bad) != 1 || bad[a.PortID] == nil {
		t.Errorf("Set = %v; want the port that needs a filter to say that it has none", bad)
	}
}

// nic opens a packet socket on a netdev of the host.
func (h *host) nic(name string) *packet.Conn {
	h.t.Helper()
	var c *packet.Conn
	if err := netspace.Do(h.Netns, func() error {
		nic, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		c, err = packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// hears reports which of the words come to a socket before the last one does.
func hears(t *testing.T, c *packet.Conn, last string, words ...string) map[string]bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	heard, buf := map[string]bool{}, make([]byte, 2048)
	for !heard[last] {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%q has not come: %v", last, err)
		}
		for _, w := range append(words, last) {
			heard[w] = heard[w] || bytes.Contains(buf[:n], []byte(w))
		}
	}
	return heard
}

// TestDeadPortReachesNobody: a port that is put on the dead VLAN sends what it likes, tagged
// with that VLAN too, and the wire, another dead port and a living one hear none of it; nor
// does it hear them. Filters or not.
func TestDeadPortReachesNobody(t *testing.T) {
	for _, firewall := range []string{config.FirewallOVS, config.FirewallNone} {
		t.Run(firewall, func(t *testing.T) {
			h := newHost(t)
			h.cfg.SecurityGroup.Firewall = firewall
			h.f.Close()
			h.open()
			h.round()
			for name, peer := range map[string]string{"eth6": "wire", "else": "else1"} {
				h.Run("ip", "-n", h.Netns, "link", "add", name, "type", "veth", "peer", "name", peer)
			}
			a, b := attachment(1), attachment(2)
			h.plug(a)
			h.plug(b)
			h.Vsctl("add-port", br, "eth6", "--", "add-port", br, "else", "tag=100")
			guest := func(x *model.Attachment) string { return "p" + ovs.Name(x.PortID)[4:] }
			for _, l := range []string{"eth6", "wire", "else", "else1", ovs.Name(a.PortID), guest(a), ovs.Name(b.PortID), guest(b)} {
				h.Run("ip", "-n", h.Netns, "link", "set", l, "up")
			}
			if bad := h.round(a, b); len(bad) > 0 {
				t.Fatalf("Set: %v", bad)
			}
			h.round() // both have left
			if bad := h.round(); len(bad) > 0 {
				t.Fatalf("Set: %v", bad)
			}
			frame := func(src byte, word string, tags ...uint16) []byte {
				f := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x16, 0x3e, 0, 0, src}
				for _, tag := range tags {
					f = append(f, 0x81, 0, byte(tag>>8), byte(tag))
				}
				f = append(f, 0x88, 0xb6)
				return append(append(f, word...), make([]byte, 60)...)
			}
			wire, other, living, dead := h.nic("wire"), h.nic(guest(b)), h.nic("else1"), h.nic(guest(a))
			bad := map[string][]byte{
				"untagged": frame(1, "untagged"), "priority": frame(1, "priority", 0), "of-the-dead": frame(1, "of-the-dead", 4095),
				"its-own": frame(1, "its-own", 100), "two-tags": frame(1, "two-tags", 4095, 100),
			}
			send := func(c *packet.Conn, f []byte) {
				t.Helper()
				if _, err := c.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]}); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range bad {
				send(dead, f)
			}
			send(wire, frame(7, "from-the-wire", 4095))
			// What may pass, after that: the others would have come by then.
			send(living, frame(9, "living"))
			send(wire, frame(8, "to-the-living", 100))
			words := append(slices.Collect(maps.Keys(bad)), "from-the-wire")
			for what, heard := range map[string]map[string]bool{
				"the wire": hears(t, wire, "living", words...), "a living port": hears(t, living, "to-the-living", words...),
			} {
				for _, w := range words {
					if heard[w] {
						t.Errorf("%s hears %q", what, w)
					}
				}
			}
			// A dead port hears nothing at all: what it is sent directly ends the waiting.
			send(h.nic(ovs.Name(b.PortID)), frame(6, "the-end"))
			heard := hears(t, other, "the-end", append(words, "living", "to-the-living")...)
			delete(heard, "the-end")
			for w, is := range heard {
				if is {
					t.Errorf("another dead port hears %q", w)
				}
			}
		})
	}
}
