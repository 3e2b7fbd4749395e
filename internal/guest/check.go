package guest

import (
	"fmt"
	"strings"

	"neutrino/internal/hostcheck"
)

// Judge says why a guest has no address. It is pure.
func Judge(s Situation) hostcheck.Report {
	var j judge
	if len(s.NICs) == 0 {
		j.say(hostcheck.Fail, "guest", "NIC", "no network controller is on the PCI bus of this guest", "without a NIC there is no address",
			"on the host: neutrino port show PORT says whether the VF is plugged; virsh dumpxml shows the hostdev or interface")
	}
	served := false
	for _, n := range s.NICs {
		served = j.nic(s, n) || served
	}
	j.clients(s)
	if len(s.Walls) > 0 && !served && len(s.NICs) > 0 {
		j.say(hostcheck.Warn, "guest", "firewall", strings.Join(s.Walls, ", ")+" runs", "a firewall that drops UDP port 68 drops DHCP answers",
			"allow UDP from port 67 to port 68")
	}
	if s.Fixed {
		j.say(hostcheck.OK, "guest", "preparation", "neutrino guest fix was here", "drivers are loaded before the network is wanted", "")
	} else {
		j.say(hostcheck.Warn, "guest", "preparation", "neutrino guest fix was not here", "a driver that comes late, or a name that nobody expects, leaves a VF without address at the first boot", "neutrino guest fix --root /")
	}
	return hostcheck.NewReport(j.findings)
}

// judge gathers findings.
type judge struct{ findings []hostcheck.Finding }

func (j *judge) say(status hostcheck.Status, subject, check, evidence, why, mend string) {
	j.findings = append(j.findings, hostcheck.Finding{Status: status, Subject: subject, Check: check, Evidence: evidence, Why: why, Mend: mend})
}

// nic goes the way of an address, and stops where it is cut. It reports whether there is one.
func (j *judge) nic(s Situation, n NIC) bool {
	subject := n.Name
	if subject == "" {
		subject = n.Slot
	}
	what := fmt.Sprintf("%04x:%04x at %s", n.Vendor, n.Device, n.Slot)
	if n.Driver == "" {
		mend, evidence := "install a kernel that has the driver of "+what+" (cloud kernels leave drivers out), then boot it", what+" has no driver, and kernel "+s.Kernel+" has none for it"
		if len(n.Modules) > 0 {
			mend, evidence = "modprobe "+n.Modules[0]+"; to have it so at each boot: neutrino guest fix --root /", what+" has no driver; "+strings.Join(n.Modules, ", ")+" would drive it"
		}
		j.say(hostcheck.Fail, subject, "driver", evidence, "a NIC without a driver is no network device", mend)
		return false
	}
	if n.Name == "" {
		j.say(hostcheck.Fail, subject, "driver", what+" is driven by "+n.Driver+" and has no network device", "the driver gave up, or has handed the NIC to somebody else",
			"dmesg | grep -i "+n.Driver)
		return false
	}
	j.say(hostcheck.OK, subject, "driver", what+" is driven by "+n.Driver, "", "")
	if n.BurntIn != "" && n.MAC != n.BurntIn {
		j.say(hostcheck.Fail, subject, "MAC", "it sends as "+n.MAC+"; the host gave it "+n.BurntIn, "the NIC's spoof check drops what is sent from another MAC",
			"ip link set "+n.Name+" address "+n.BurntIn+", and remove what sets the other")
	} else {
		j.say(hostcheck.OK, subject, "MAC", n.MAC, "", "")
	}
	if !n.Up {
		j.say(hostcheck.Fail, subject, "link", n.Name+" is down: nothing has brought it up", "nobody configures a NIC by this name",
			"ip link set "+n.Name+" up; to have it so at each boot: neutrino guest fix --root /")
		return false
	}
	if !n.Carrier {
		j.say(hostcheck.Fail, subject, "link", n.Name+" is up and has no carrier", "the VF's link is off in the NIC's switch, or the host's cable or PF is down",
			"on the host: neutrino vf list shows the VF's link state, ip link show PF the cable")
		return false
	}
	j.say(hostcheck.OK, subject, "link", n.Name+" is up, with carrier", "", "")
	return j.address(s, n)
}

func (j *judge) address(s Situation, n NIC) bool {
	switch {
	case len(n.Addresses) > 0:
		var list []string
		for _, a := range n.Addresses {
			list = append(list, a.String())
		}
		j.say(hostcheck.OK, n.Name, "address", strings.Join(list, ", "), "", "")
		return true
	case n.Offer == nil && !s.Root:
		j.say(hostcheck.Unknown, n.Name, "address", "there is none, and without root nobody can be asked for one", "an offer would show that the wire and the server are well", "run neutrino guest check as root")
	case n.Offer == nil:
		j.say(hostcheck.Fail, n.Name, "address", "there is none; nobody was asked for one (--ask 0)", "", "neutrino guest check --ask 10s")
	case n.Offer.Err != nil:
		j.say(hostcheck.Fail, n.Name, "address", "there is none: "+n.Offer.Err.Error(), "the request or the answer is lost: the VF's VLAN, the switch's trunk, the spoof check, or no DHCP server for this network",
			"on the host: neutrino trace port PORT; neutrino fabric verify names VLANs that the switches drop")
	case len(s.Clients)+len(s.Managers) == 0:
		j.say(hostcheck.Fail, n.Name, "address", fmt.Sprintf("there is none; %s offers %s after %s, and no DHCP client runs", n.Offer.Server, n.Offer.Address, n.Offer.Took.Round(1e6)),
			"the wire and the server are well: nobody in this guest asks", "neutrino guest fix --root /, then boot")
	default:
		j.say(hostcheck.Fail, n.Name, "address", fmt.Sprintf("there is none; %s offers %s after %s, and %s did not take it", n.Offer.Server, n.Offer.Address, n.Offer.Took.Round(1e6), strings.Join(append(s.Clients, s.Managers...), ", ")),
			"the wire and the server are well: who configures the network does not know "+n.Name, "neutrino guest fix --root /, then boot")
	}
	return false
}

// clients finds those that take addresses from each other.
func (j *judge) clients(s Situation) {
	all := append(append([]string{}, s.Clients...), s.Managers...)
	asking := 0
	for _, m := range s.Managers {
		if m != "networking" { // ifupdown asks through one of the clients
			asking++
		}
	}
	if len(s.Clients) > len(s.NICs) || len(s.Clients) > 0 && asking > 0 || asking > 1 {
		j.say(hostcheck.Warn, "guest", "DHCP clients", strings.Join(all, ", ")+" run side by side", "two that configure one NIC take its address from each other",
			"keep one of them: systemctl disable --now the others")
		return
	}
	if len(all) > 0 {
		j.say(hostcheck.OK, "guest", "DHCP clients", strings.Join(all, ", "), "", "")
	}
}
