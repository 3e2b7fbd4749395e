package cli

import (
	"strings"
	"testing"

	"neutrino/internal/hostapi"
	"neutrino/internal/plug"
)

func TestVIFOfABridgeIsShown(t *testing.T) {
	v := hostapi.VIF{VIF: plug.VIF{
		PortID: "p1", NetworkID: "n1", PF: "br-eth6", Bridge: "br-eth6", Index: -1, PCISlot: "tapp1", Netdev: "tapp1",
		Kind: plug.Netns, Target: plug.Target{Netns: "vm1", Ifname: "eth0"}, MAC: "fa:16:3e:00:00:01", VLAN: 101, MTU: 1450,
	}}
	var out strings.Builder
	if err := (&output{}).vif(&out, v); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bridge", "br-eth6", "interface", "tapp1", "namespace vm1", "101"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s\nlacks %s", out.String(), want)
		}
	}
	for _, no := range []string{"PCI", "-1"} {
		if strings.Contains(out.String(), no) {
			t.Errorf("%s\nhas %s", out.String(), no)
		}
	}
}
