package guest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"neutrino/internal/ledger"
)

// Made is what a guest is to have.
type Made struct {
	Files  []ledger.Change
	Makers []ledger.Maker
	Notes  []string
}

const (
	by = "# Written by: neutrino guest fix; neutrino guest undo removes it.\n"

	whyLoad  = "drivers of VFs are loaded before the network is wanted"
	whyDisk  = "drivers of VFs are in the initial RAM disk"
	whyUdev  = "a VF that comes later gets its driver"
	whyDHCP  = "DHCP on whatever the VF is called"
	whyQuick = "a NIC that is not there is not waited for"

	modulesFile = "etc/modules-load.d/neutrino-guest.conf"
	hookFile    = "etc/initramfs-tools/hooks/neutrino"
	dracutFile  = "etc/dracut.conf.d/90-neutrino.conf"
	udevFile    = "etc/udev/rules.d/70-neutrino-guest.rules"
)

// Make says what a guest needs. It is pure.
func Make(f Facts) Made {
	var m Made
	drivers := driversOf(f, &m)
	m.add(modulesFile, whyLoad, 0o644, by+strings.Join(drivers, "\n")+"\n")
	m.add(udevFile, whyUdev, 0o644, udevRules)
	switch f.Initramfs {
	case "initramfs-tools":
		m.add(hookFile, whyDisk, 0o755, "#!/bin/sh\n"+by+"set -e\ncase \"$1\" in\nprereqs)\n\texit 0\n\t;;\nesac\n. /usr/share/initramfs-tools/hook-functions\n"+
			"manual_add_modules "+strings.Join(drivers, " ")+"\n")
		m.Makers = append(m.Makers, ledger.Maker{Argv: []string{"update-initramfs", "-u", "-k", "all"}, Files: []string{"boot/initrd.img-*", "var/lib/initramfs-tools/*"}})
	case "dracut":
		m.add(dracutFile, whyDisk, 0o644, by+"add_drivers+=\" "+strings.Join(drivers, " ")+" \"\n")
		m.Makers = append(m.Makers, ledger.Maker{Argv: []string{"dracut", "--regenerate-all", "--force"}, Files: []string{"boot/initramfs-*"}})
	}
	for _, manager := range f.Managers {
		m.manager(manager, f)
	}
	if len(f.Managers) == 0 {
		m.Notes = append(m.Notes, "nothing that configures a network was found: systemd-networkd is told, in case it is enabled")
		m.manager(Networkd, f)
	}
	return m
}

func (m *Made) add(name, why string, mode fs.FileMode, text string) {
	m.Files = append(m.Files, ledger.Change{Path: name, Why: why, Want: ledger.Content{Kind: ledger.Regular, Data: []byte(text), Mode: mode}})
}

// driversOf are the modules that some kernel of the guest has. One that a kernel lacks is said.
func driversOf(f Facts, m *Made) []string {
	var out []string
	for _, d := range Drivers {
		for _, k := range f.Kernels {
			if slices.Contains(k.Drivers, d) && !slices.Contains(out, d) {
				out = append(out, d)
			}
		}
	}
	if len(f.Kernels) == 0 {
		m.Notes = append(m.Notes, "no kernel with modules is in it: the drivers are named for one that is installed later")
		return Drivers
	}
	for _, k := range f.Kernels {
		var missing []string
		for _, d := range Drivers {
			if !slices.Contains(k.Drivers, d) && !slices.Contains(k.BuiltIn, d) {
				missing = append(missing, d)
			}
		}
		if len(missing) > 0 {
			m.Notes = append(m.Notes, fmt.Sprintf("kernel %s has no %s: on such NICs it has no network; cloud kernels leave drivers out", k.Release, strings.Join(missing, ", ")))
		}
	}
	return out
}

// udevRules: mlx4_core does not bring its Ethernet part along on old kernels, and a VF that is
// plugged in before udev runs has no event of its own.
const udevRules = by + `SUBSYSTEM=="pci", ACTION=="add", ATTR{class}=="0x020000", ENV{MODALIAS}=="?*", RUN{builtin}+="kmod load $env{MODALIAS}"
SUBSYSTEM=="module", ACTION=="add", KERNEL=="mlx4_core", RUN{builtin}+="kmod load mlx4_en"
`

// manager has DHCP asked for on every Ethernet NIC, under the names that guests give them (en*, eth*):
// what a VF is called depends on the slot that the host has put it in.
func (m *Made) manager(which Manager, f Facts) {
	switch which {
	case Networkd:
		m.add("etc/systemd/network/90-neutrino-dhcp.network", whyDHCP, 0o644, by+
			"[Match]\nType=ether\nName=en* eth*\n\n[Network]\nDHCP=yes\nIPv6AcceptRA=yes\n\n[DHCPv4]\nClientIdentifier=mac\n")
		m.add("etc/systemd/system/systemd-networkd-wait-online.service.d/neutrino.conf", whyQuick, 0o644, by+
			"[Service]\nExecStart=\nExecStart=/bin/sh -c 'exec $(command -v /usr/lib/systemd/systemd-networkd-wait-online /lib/systemd/systemd-networkd-wait-online | head -n 1) --any --timeout=30'\n")
	case NetworkManager:
		m.add("etc/NetworkManager/system-connections/neutrino-dhcp.nmconnection", whyDHCP, 0o600, by+
			"[connection]\nid=neutrino-dhcp\nuuid=6e657574-7269-4e6f-8467-756573740001\ntype=ethernet\nmulti-connect=3\nautoconnect-priority=-100\n\n"+
			"[match]\ninterface-name=en*;eth*;\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n")
		m.add("etc/systemd/system/NetworkManager-wait-online.service.d/neutrino.conf", whyQuick, 0o644, by+"[Service]\nEnvironment=NM_ONLINE_TIMEOUT=30\n")
	case Netplan:
		m.add("etc/netplan/90-neutrino.yaml", whyDHCP, 0o600, by+
			"network:\n  version: 2\n  ethernets:\n    neutrino-en:\n      match: {name: \"en*\"}\n      dhcp4: true\n      dhcp6: true\n      dhcp-identifier: mac\n      optional: true\n"+
			"    neutrino-eth:\n      match: {name: \"eth*\"}\n      dhcp4: true\n      dhcp6: true\n      dhcp-identifier: mac\n      optional: true\n")
	case Ifupdown:
		m.ifupdown(f.Interfaces)
	case Wicked:
		m.Notes = append(m.Notes, "wicked has no file for every NIC: write /etc/sysconfig/network/ifcfg-NAME with BOOTPROTO='dhcp' and STARTMODE='hotplug' for the VF's name")
	}
}
