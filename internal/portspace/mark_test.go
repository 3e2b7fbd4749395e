package portspace

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var routers = Kind{Head: "neutrino-router", Key: "router", PortHead: "neutrino-router-port"}

// What is in the kernel outlives the process that wrote it: a later one has to read it.
func TestMarksAreWhatEarlierOnesWrote(t *testing.T) {
	const namespace, netdev = "neutrino-router host=4026531840 router=1a2b", "neutrino-router-port port=5f0c pf=br-eth6 vf=-1 name=tap5f0c mac=fa:16:3e:00:00:01 mtu=1500"
	if got := routers.mark("4026531840", "1a2b"); got != namespace {
		t.Error(got)
	}
	if host, owner := routers.parse(namespace); host != "4026531840" || owner != "1a2b" {
		t.Error(host, owner)
	}
	m := Mark{Port: "5f0c", VF: VF{PF: "br-eth6", Index: -1, Netdev: "tap5f0c"}, MAC: "fa:16:3e:00:00:01", MTU: 1500}
	if got := m.text(routers.PortHead); got != netdev {
		t.Error(got)
	}
	if got, ok := parseMark(routers.PortHead, netdev); !ok || got != m || !got.Bridged() {
		t.Errorf("%+v, %v", got, ok)
	}
}

func TestAliasesOfOthersAreNoMarks(t *testing.T) {
	for _, s := range []string{
		"", "eth0", "neutrino-dhcp-vf port=a pf=b vf=1 name=c mac=d mtu=1", "neutrino-router-port port=a pf=b vf=x name=c mac=d mtu=1",
		"neutrino-router-port pf=b vf=1 name=c mac=d mtu=1", "neutrino-router-port", "neutrino-router host=1 router=2",
	} {
		if m, ok := parseMark(routers.PortHead, s); ok {
			t.Errorf("%q is %+v", s, m)
		}
	}
	if host, owner := routers.parse("neutrino-router host=1"); host != "" || owner != "" {
		t.Error("a namespace of no router:", host, owner)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "alias")
		if _, ok := parseMark(routers.PortHead, s); ok && !strings.HasPrefix(strings.TrimSpace(s), routers.PortHead) {
			t.Errorf("%q is a mark", s)
		}
	})
}
