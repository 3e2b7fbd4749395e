package libvirt

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	direct = Interface{
		Kind: Hostdev, Alias: AliasOf("8e0f3b6e-52b5-4b22-8d5c-1f0e8a4c2d11"), MAC: "fa:16:3e:0A:b1:c2", VLAN: 105, PCISlot: "0000:3b:10.2",
	}
	macvtap = Interface{
		Kind: Macvtap, Alias: AliasOf("8e0f3b6e-52b5-4b22-8d5c-1f0e8a4c2d11"), MAC: "fa:16:3e:0a:b1:c2", VLAN: 4094, Netdev: "ens1f0v3",
	}
	bridged = Interface{
		Kind: Bridge, Alias: AliasOf("8e0f3b6e-52b5-4b22-8d5c-1f0e8a4c2d11"), MAC: "fa:16:3e:0a:b1:c2", VLAN: 101, MTU: 1450,
		Bridge: "br-eth6", PortID: "8e0f3b6e-52b5-4b22-8d5c-1f0e8a4c2d11", Netdev: "tap8e0f3b6e-52",
	}
)

func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(have), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), have); diff != "" {
		t.Errorf("%s (-want +have):\n%s", name, diff)
	}
}

func TestInterfacesAreWrittenAsLibvirtWantsThem(t *testing.T) {
	flat, managed, wide := macvtap, direct, direct
	flat.VLAN, managed.Managed, wide.VLAN, wide.PCISlot = 0, true, 0, "10000:E1:1f.7"
	for name, i := range map[string]Interface{
		"hostdev.xml": direct, "hostdev-managed.xml": managed, "hostdev-wide-domain.xml": wide,
		"macvtap.xml": macvtap, "macvtap-untagged.xml": flat, "bridge.xml": bridged,
	} {
		text, err := i.XML()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden(t, name, text+"\n")
	}
}

func TestInterfacesThatMakeNoSenseAreRefused(t *testing.T) {
	for say, i := range map[string]struct {
		of     Interface
		change func(*Interface)
	}{
		"alias":              {direct, func(i *Interface) { i.Alias = "net0" }},
		"letters":            {direct, func(i *Interface) { i.Alias = "ua-a'/><x" }},
		"1 to 120":           {direct, func(i *Interface) { i.Alias = "ua-" + strings.Repeat("x", 121) }},
		`""`:                 {direct, func(i *Interface) { i.MAC = "" }},
		"not a MAC":          {direct, func(i *Interface) { i.MAC = "fa-16-3e-00-00-01" }},
		"MAC address":        {direct, func(i *Interface) { i.MAC = "00:00:5e:00:53:01:02:03" }},
		"group's":            {direct, func(i *Interface) { i.MAC = "01:00:5e:00:00:01" }},
		"all zero":           {direct, func(i *Interface) { i.MAC = "00:00:00:00:00:00" }},
		"VLAN 4095":          {direct, func(i *Interface) { i.VLAN = 4095 }},
		"VLAN -1":            {macvtap, func(i *Interface) { i.VLAN = -1 }},
		"PCI slot":           {direct, func(i *Interface) { i.PCISlot = "3b:10.2" }},
		`"0000:3b:20.0"`:     {direct, func(i *Interface) { i.PCISlot = "0000:3b:20.0" }},
		`"0000:3b:10.8"`:     {direct, func(i *Interface) { i.PCISlot = "0000:3b:10.8" }},
		"network device":     {macvtap, func(i *Interface) { i.Netdev = "" }},
		`"ens1f0 v3"`:        {macvtap, func(i *Interface) { i.Netdev = "ens1f0 v3" }},
		`"../ens1"`:          {macvtap, func(i *Interface) { i.Netdev = "../ens1" }},
		`"sixteencharacter"`: {macvtap, func(i *Interface) { i.Netdev = "sixteencharacter" }},
		"name of a bridge":   {bridged, func(i *Interface) { i.Bridge = "" }},
		"name for the tap":   {bridged, func(i *Interface) { i.Netdev = "a/b" }},
		"not a UUID":         {bridged, func(i *Interface) { i.PortID = "port-1" }},
		"MTU 65536":          {bridged, func(i *Interface) { i.MTU = 65536 }},
		"not with a bridge":  {bridged, func(i *Interface) { i.Managed = true }},
		"managed":            {macvtap, func(i *Interface) { i.Managed = true }},
		"none of hostdev":    {direct, func(i *Interface) { i.Kind = "" }},
	} {
		i.change(&i.of)
		text, err := i.of.XML()
		if !errors.Is(err, ErrInvalid) || text != "" || !strings.Contains(fmt.Sprint(err), say) {
			t.Errorf("%s: %q, %v", say, text, err)
		}
	}
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		i := Interface{
			Kind:    rapid.SampledFrom([]Kind{Hostdev, Macvtap}).Draw(r, "kind"),
			Alias:   rapid.StringMatching(`ua-[A-Za-z0-9_-]{1,120}`).Draw(r, "alias"),
			MAC:     rapid.StringMatching(`[0-9a-f][02468ace](:[0-9a-f]{2}){4}:[1-9a-f]{2}`).Draw(r, "mac"),
			VLAN:    rapid.IntRange(0, maxVLAN).Draw(r, "vlan"),
			Managed: false,
		}
		if i.Kind == Hostdev {
			i.PCISlot = rapid.StringMatching(`[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]`).Draw(r, "slot")
			i.Managed = rapid.Bool().Draw(r, "managed")
		} else {
			i.Netdev = rapid.StringMatching(`[a-zA-Z0-9<>&"'.@_-]{3,15}`).Draw(r, "netdev")
		}
		text, err := i.XML()
		if err != nil {
			r.Fatal(err)
		}
		got, err := readDevices("<domain><devices>" + text + "</devices></domain>")
		if err != nil || len(got) != 1 {
			r.Fatal(got, err)
		}
		want := Device{Kind: i.Kind, Alias: i.Alias, MAC: i.MAC, VLAN: i.VLAN, PCISlot: i.PCISlot, Netdev: i.Netdev}
		if got[0].Device != want || !got[0].is(i) || !got[0].same(i) {
			r.Fatalf("%+v\n%+v", got[0].Device, want)
		}
	})
}

func TestPortOfReadsOwnAliasesOnly(t *testing.T) {
	for alias, want := range map[string]string{AliasOf("p-1"): "p-1", "ua-sriov-p1": "", "hostdev0": "", "": ""} {
		if have := PortOf(alias); have != want {
			t.Errorf("%q: %q", alias, have)
		}
	}
}

func TestDevicesOfEveryMakingAreRead(t *testing.T) {
	text, err := os.ReadFile("testdata/domain.xml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := readDevices(string(text))
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, e := range got {
		have = append(have, e.String())
	}
	want := []string{
		"hostdev 0000:3b:10.2 (ua-neutrino-p1) with MAC fa:16:3e:0a:b1:c2, VLAN 105",
		"macvtap ens1f0v3 (net1) with MAC fa:16:3e:0a:b1:c3, VLAN 0",
		"macvtap ens1f0v4 (net2) with MAC fa:16:3e:0a:b1:c4, VLAN 0", // from a libvirt network, with a trunk
		"hostdev 0000:3b:11.0 (hostdev2)",
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

func TestRunningAndConfiguredAreOneDeviceWhereTheyAgree(t *testing.T) {
	e := func(alias, mac, slot string, vlan int) element {
		return element{Device: Device{Kind: Hostdev, Alias: alias, MAC: mac, PCISlot: slot, VLAN: vlan}}
	}
	got := merge(
		[]element{e("ua-x", "02:00:00:00:00:01", "0000:01:10.0", 5), e("hostdev1", "02:00:00:00:00:02", "0000:01:10.2", 0), e("ua-y", "02:00:00:00:00:03", "0000:01:10.4", 7)},
		[]element{e("", "02:00:00:00:00:02", "0000:01:10.2", 0), e("ua-x", "02:00:00:00:00:01", "0000:01:10.0", 5), e("ua-y", "02:00:00:00:00:03", "0000:01:10.6", 7)},
	)
	var have []string
	for _, d := range got {
		have = append(have, fmt.Sprint(d.Alias, " ", d.PCISlot, " ", d.Live, d.Config))
	}
	want := []string{"ua-x 0000:01:10.0 true true", "hostdev1 0000:01:10.2 true true", "ua-y 0000:01:10.4 true false", "ua-y 0000:01:10.6 false true"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
}

func FuzzReadDevices(f *testing.F) {
	text, err := os.ReadFile("testdata/domain.xml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("<domain><devices><interface type='hostdev'><source/></interface><hostdev mode='subsystem' type='pci'/></devices></domain>")
	f.Add("<domain type='qemu'>")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := readDevices(text)
		if err != nil && got != nil {
			t.Error("devices beside an error")
		}
		for _, e := range got {
			if e.PCISlot == "" && e.Netdev == "" && e.Kind == Macvtap {
				t.Errorf("%+v sits on nothing", e.Device)
			}
		}
	})
}

func TestURIsOfThisHostAreTaken(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	for uri, want := range map[string]string{
		"qemu:///system":                       "qemu:///system [/run/libvirt/virtqemud-sock /run/libvirt/libvirt-sock]",
		"qemu+unix:///system":                  "qemu:///system [/run/libvirt/virtqemud-sock /run/libvirt/libvirt-sock]",
		"qemu:///session":                      "qemu:///session [/run/user/7/libvirt/virtqemud-sock /run/user/7/libvirt/libvirt-sock]",
		"qemu+unix:///system?socket=/tmp/x%20": "qemu:///system [/tmp/x ]",
		"qemu:///session?socket=/tmp/y":        "qemu:///session [/tmp/y]",
	} {
		e, err := parseURI(uri)
		if have := fmt.Sprint(e.open, " ", e.sockets); have != want || err != nil {
			t.Errorf("%s: %s, %v", uri, have, err)
		}
	}
	for _, uri := range []string{
		"", "system", "qemu://host/system", "qemu+ssh://root@host/system", "qemu+tcp:///system", "xen:///system", "qemu:///", "qemu:///system/x",
		"qemu:///system?socket=x", "qemu:///system?no_verify=1", "qemu:///system?%zz", "http://[", "qemu:///embed?root=/x", "test:///default",
	} {
		if _, err := New(uri); err == nil || !strings.Contains(err.Error(), "use qemu:///system") {
			t.Errorf("%q: %v", uri, err)
		}
	}
}
