package rack

import (
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
)

// drop makes a leg of the trunk drop what comes from a machine on a VLAN in frames longer
// than size bytes (0 = all), as a switch does from which the VLAN, or a larger MTU, was
// taken. What it returns mends the leg.
func (s *story) drop(t *testing.T, leg string, vlan, size int) (mend func()) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		// struct __sk_buff: len 0, vlan_present 20, vlan_tci 24.
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 20, asm.Word),
		asm.LoadMem(asm.R4, asm.R1, 24, asm.Word),
		asm.Mov.Imm(asm.R0, 0), // TC_ACT_OK
		asm.JEq.Imm(asm.R3, 0, "out"),
		asm.And.Imm(asm.R4, 0xfff),
		asm.JNE.Imm(asm.R4, int32(vlan), "out"),
		asm.JLE.Imm(asm.R2, int32(size), "out"),
		asm.Mov.Imm(asm.R0, 2), // TC_ACT_SHOT
		asm.Return().WithSymbol("out"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(leg)
	if err != nil {
		t.Fatal(err)
	}
	index := link.Attrs().Index
	qdisc := &netlink.GenericQdisc{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}, QdiscType: "clsact"}
	if err = netlink.QdiscAdd(qdisc); err != nil {
		t.Fatal(err)
	}
	if err = netlink.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: 3, Priority: 1}, // ETH_P_ALL
		Fd:          prog.FD(), Name: "drop", DirectAction: true,
	}); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = netlink.QdiscDel(qdisc)
		_ = prog.Close()
	}
}

// leg is the trunk's port that a machine's NIC is wired to: the one behind which the trunk
// has learned a MAC.
func (s *story) leg(t *testing.T, mac string) string {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	trunk, err := netlink.LinkByName("trunk")
	if err != nil {
		t.Fatal(err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	neighbours, err := netlink.NeighListExecute(netlink.Ndmsg{Family: 7}) // AF_BRIDGE
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range neighbours {
		for _, l := range links {
			if n.LinkIndex == l.Attrs().Index && l.Attrs().MasterIndex == trunk.Attrs().Index && n.HardwareAddr.String() == hw.String() {
				return l.Attrs().Name
			}
		}
	}
	t.Fatalf("the trunk knows no leg of %s", mac)
	return ""
}

// verify: the trunk is whole, then a VLAN is taken from a leg, then a leg's MTU shrinks. A
// machine of a busy host may be too slow for its turn, which the run says of it: it is run again.
func (s *story) verify(t *testing.T) {
	says := func(what string, is func(v verdict, code int) bool) {
		t.Helper()
		eventually(t, what, 4*time.Minute, func() bool { return is(s.fabricVerify(t)) })
	}
	clean := func(v verdict, code int) bool { return code == 0 && v.Result.Clean && v.Result.Checked == 6 }
	says("the trunk is whole", clean)
	leg := s.leg(t, s.compute1.sh(t, "cat /sys/class/net/eth6/address")) // which the probes came from
	mend := s.drop(t, leg, 110, 0)
	says("VLAN 110 is lost from compute1, to both others, and nothing else is", func(v verdict, code int) bool {
		lost := 0
		for _, p := range v.Result.Pairs {
			if p.From == "compute1" && p.Lost == "110" && p.OneWay == "110" && len(p.Holes) == 0 {
				lost++
			} else if p.Lost != "" || len(p.Holes) > 0 {
				return false
			}
		}
		return code == 6 && lost == 2
	})
	mend()
	const passes = 1200 - 14 // the leg counts the Ethernet header, without the tag, which it has taken off
	mend = s.drop(t, leg, 111, 1200)
	says("VLAN 111 carries no more than 1186 bytes from compute1, to both others", func(v verdict, code int) bool {
		holes := 0
		for _, p := range v.Result.Pairs {
			if p.From == "compute1" && p.Lost == "" && len(p.Holes) == 1 && p.Holes[0].VLANs == "111" && p.Holes[0].Passed == passes && p.Holes[0].Lost == passes+1 {
				holes++
			} else if p.Lost != "" || len(p.Holes) > 0 {
				return false
			}
		}
		return code == 6 && holes == 2
	})
	mend()
	says("the trunk is mended", clean)
}

// verifyInUse: VLANs that VFs use are verified like any other, from and to the PFs of these
// VFs, and what a switch drops in them is found.
func (s *story) verifyInUse(t *testing.T) {
	if out := s.compute1.sh(t, "ip link show eth6"); !strings.Contains(out, fmt.Sprintf("vlan %d,", redVLAN)) {
		t.Fatalf("no VF of compute1 is on VLAN %d: %s", redVLAN, out)
	}
	eventually(t, "the trunk is whole", 4*time.Minute, func() bool {
		v, code := s.fabricVerify(t)
		return code == 0 && v.Result.Clean && v.Result.Checked == 6
	})
	leg := s.leg(t, s.compute1.sh(t, "cat /sys/class/net/eth6/address"))
	defer s.drop(t, leg, redVLAN, 0)()
	eventually(t, fmt.Sprintf("VLAN %d is lost from compute1, and nothing else is", redVLAN), 4*time.Minute, func() bool {
		v, code := s.fabricVerify(t)
		lost := 0
		for _, p := range v.Result.Pairs {
			switch {
			case p.From == "compute1" && p.Lost == fmt.Sprint(redVLAN) && p.OneWay == p.Lost:
				lost++
			case p.Lost != "" || p.Kept != "":
				return false
			}
		}
		return code == 6 && lost == 2
	})
}

// verdict is what `fabric verify -o json` says, as far as it is looked at.
type verdict struct {
	Result struct {
		Clean   bool `json:"clean"`
		Checked int  `json:"checked"`
		Pairs   []struct {
			From   string `json:"from"`
			Lost   string `json:"lost"`
			OneWay string `json:"one_way"`
			Kept   string `json:"kept"`
			Holes  []struct {
				VLANs  string `json:"vlans"`
				Passed int    `json:"passed"`
				Lost   int    `json:"lost"`
			} `json:"mtu_holes"`
		} `json:"pairs"`
	} `json:"result"`
}

func (s *story) fabricVerify(t *testing.T) (v verdict, code int) {
	t.Helper()
	cmd := exec.Command(s.bin, "fabric", "verify", "--physical-network", "default", "--yes", "-o", "json")
	var words strings.Builder
	cmd.Stderr = &words
	text, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if err = json.Unmarshal(text, &v); err != nil {
		t.Fatalf("not JSON: %v: %s: %s", err, text, words.String())
	}
	t.Logf("exit code %d: %+v", cmd.ProcessState.ExitCode(), v)
	return v, cmd.ProcessState.ExitCode()
}
