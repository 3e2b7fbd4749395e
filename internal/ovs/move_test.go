package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"neutrino/internal/netspace"
	"neutrino/internal/ovs/ovstest"
)

// office is a host whose only NIC, eth6, has its addresses and routes; the gateway is at the
// other end of it.
func office(t *testing.T) *officeHost {
	t.Helper()
	i := ovstest.Start(t)
	gw := i.Netns + "-gw"
	i.Run("ip", "netns", "add", gw)
	t.Cleanup(func() { i.Run("ip", "netns", "del", gw) })
	for _, cmd := range []string{
		"ip -n HOST link add eth6 type veth peer name wire netns GW",
		"ip -n GW link set wire up", "ip -n GW addr add 192.0.2.1/24 dev wire", "ip -n GW addr add 2001:db8::1/64 dev wire nodad",
		"ip -n HOST link set eth6 up",
		"ip -n HOST addr add 192.0.2.7/24 dev eth6", "ip -n HOST addr add 192.0.2.8/24 dev eth6", "ip -n HOST addr add 2001:db8::7/64 dev eth6 nodad",
		"ip -n HOST route add default via 192.0.2.1 src 192.0.2.7 metric 100", "ip -n HOST route add 198.51.100.0/24 dev eth6 scope link",
		"ip -n HOST route add default via 192.0.2.1 table 77", "ip -n HOST -6 route add default via 2001:db8::1",
	} {
		cmd = strings.NewReplacer("HOST", i.Netns, "GW", gw).Replace(cmd)
		i.Run("ip", strings.Fields(cmd)[1:]...)
	}
	return &officeHost{i, t}
}

type officeHost struct {
	*ovstest.Instance
	t *testing.T
}

// record makes the bridge with its uplink and the record of what is to move, as a Set that was
// cut short leaves them.
func (i *officeHost) record(change func(*move)) {
	i.t.Helper()
	var text string
	err := netspace.Do(i.Netns, func() error {
		m, err := planMove("eth6")
		if err != nil {
			return err
		}
		if change != nil {
			change(m)
		}
		data, err := json.Marshal(m)
		text = string(data)
		return err
	})
	if err != nil {
		i.t.Fatal(err)
	}
	i.Vsctl("add-br", br, "--", "set", "Bridge", br, "datapath_type=netdev", "external_ids:"+keyMove+"="+strconv.Quote(text),
		"--", "add-port", br, "eth6")
}

func openOffice(t *testing.T, i *officeHost, moving bool) (set func() error) {
	t.Helper()
	s, err := Open(Options{
		Endpoint: i.Endpoint(), Datapath: "netdev", Bridges: []Bridge{{Name: br, PhysicalNetwork: "default", Uplink: "eth6"}},
		MoveAddresses: moving, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return func() error {
		return netspace.Do(i.Netns, func() error { _, err := s.Set(context.Background(), nil); return err })
	}
}

// layout is which netdev has what of the host.
func layout(i *officeHost) string {
	var out []string
	for _, line := range strings.Split(i.Run("ip", "-n", i.Netns, "-o", "addr", "show", "scope", "global"), "\n") {
		if f := strings.Fields(line); len(f) > 3 {
			out = append(out, f[1]+" "+f[3])
		}
	}
	for _, args := range [][]string{{"route", "show"}, {"route", "show", "table", "77"}, {"-6", "route", "show", "default"}} {
		for _, line := range strings.Split(i.Run("ip", append([]string{"-n", i.Netns}, args...)...), "\n") {
			if !strings.Contains(line, "proto kernel") {
				out = append(out, strings.Join(strings.Fields(strings.ReplaceAll(line, "linkdown", "")), " "))
			}
		}
	}
	return strings.Join(out, "\n")
}

func TestUplinkWithTheHostsAddressIsRefusedWithAPlan(t *testing.T) {
	i := office(t)
	before := layout(i)
	set := openOffice(t, i, false)
	var err error
	eventually(t, "it refuses", func() bool { err = set(); return errors.Is(err, ErrUplink) })
	for _, want := range []string{
		"192.0.2.7/24", "default route", "ip addr add 192.0.2.7/24 dev br-eth6", "ip route replace default via 192.0.2.1 dev br-eth6",
		"ip addr add 2001:db8::7/64 dev br-eth6", "move_uplink_addresses",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if now := layout(i); now != before || i.Vsctl("list-ports", br) != "" {
		t.Errorf("%s\nwas\n%s", now, before)
	}
}

func TestAddressesAndRoutesMoveToTheBridge(t *testing.T) {
	i := office(t)
	want := strings.ReplaceAll(layout(i), "eth6", br)
	set := openOffice(t, i, true)
	var err error
	eventually(t, "all has moved", func() bool { err = set(); return err == nil && layout(i) == want })
	reaches := func() bool {
		return i.Try("ip", "netns", "exec", i.Netns, "busybox", "ping", "-c", "1", "-W", "1", "192.0.2.1") == nil &&
			i.Try("ip", "netns", "exec", i.Netns, "busybox", "ping", "-6", "-c", "1", "-W", "1", "2001:db8::1") == nil
	}
	eventually(t, "the host reaches its gateway", reaches)
	eventually(t, "nothing is left to be moved", func() bool {
		return set() == nil && !strings.Contains(i.Vsctl("get", "Bridge", br, "external_ids"), keyMove)
	})
	dump := i.Dump()
	if err = set(); err != nil || i.Dump() != dump || layout(i) != want {
		t.Errorf("asked again: %v\n%s", err, layout(i))
	}
	// The host's network configuration, run again, gives an address to the NIC.
	i.Run("ip", "-n", i.Netns, "addr", "add", "192.0.2.9/24", "dev", "eth6")
	eventually(t, "that one moves too", func() bool {
		err = set()
		return err == nil && strings.Contains(layout(i), br+" 192.0.2.9/24") && !strings.Contains("\n"+layout(i), "\neth6")
	})
}

// A process that is killed after the uplink was taken, and after half of the move, leaves the
// record from which the next one goes on.
func TestMoveThatWasCutShortIsFinished(t *testing.T) {
	i := office(t)
	want := strings.ReplaceAll(layout(i), "eth6", br)
	i.record(nil)
	i.Run("ip", "-n", i.Netns, "addr", "flush", "dev", "eth6", "scope", "global") // routes go with them
	i.Run("ip", "-n", i.Netns, "addr", "add", "192.0.2.7/24", "dev", br)
	set := openOffice(t, i, true)
	var err error
	eventually(t, "the rest has moved", func() bool { err = set(); return err == nil && layout(i) == want })
}

func TestMoveThatFailsIsUndone(t *testing.T) {
	i := office(t)
	before := layout(i)
	i.record(func(m *move) {
		m.Routes = append(m.Routes, movedRoute{To: "203.0.113.0/24", Via: "203.0.113.1", Table: 254})
	})
	set := openOffice(t, i, true)
	var err error
	eventually(t, "it says that it failed", func() bool { err = set(); return err != nil && !errors.Is(err, ErrUnavailable) })
	eventually(t, "the uplink is given back", func() bool { return i.Vsctl("list-ports", br) == "" })
	if now := layout(i); now != before {
		t.Errorf("%v left\n%s\nwas\n%s", err, now, before)
	}
	if err = set(); err == nil || i.Vsctl("list-ports", br) != "" {
		t.Errorf("it is tried again, or not said: %v", err)
	}
}
