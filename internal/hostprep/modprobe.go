package hostprep

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/bootconf"
	"neutrino/internal/machine"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
)

const (
	mlx4Module = "mlx4_core"
	mlx4Conf   = "etc/modprobe.d/neutrino-mlx4.conf"
)

// planModules has what a mode needs beside the NIC's own driver loaded, now and at each boot, before VFs
// are made.
func (p *Preparation) planModules(context.Context) error {
	var names []string
	if p.want.Mode.hostdev() {
		names = append(names, pci.VFIODriver)
	}
	if p.want.Mode != HostDev {
		names = append(names, "macvtap")
	}
	p.write("etc/modules-load.d/neutrino.conf", "modules for "+string(p.want.Mode), writtenBy+strings.Join(names, "\n")+"\n")
	for _, name := range names {
		if !p.Loaded(strings.ReplaceAll(name, "-", "_")) && p.Tree.Live() {
			p.Modules = append(p.Modules, name)
		}
	}
	return nil
}

// planFirmware compares what the card keeps itself with what is needed: whether it has SR-IOV, with how
// many VFs at most, and what its ports are. Keys are set where that was asked for, else said.
func (p *Preparation) planFirmware(ctx context.Context) error {
	short := p.want.VFs > p.pf.TotalVFs
	card, err := mstconfig.Card{}, mstconfig.ErrNotInstalled
	if mellanox(p.nic.Driver) && p.host.Firmware != nil {
		card, err = p.host.Firmware.Query(ctx, p.Slot)
	}
	var keys []FirmwareKey
	switch {
	case err == nil:
		keys = p.firmwareKeys(card)
	case !errors.Is(err, mstconfig.ErrNotInstalled):
		return err
	case mellanox(p.nic.Driver) && p.host.Firmware != nil:
		p.note("mstconfig is not installed (package mstflint): the firmware's SRIOV_EN, NUM_OF_VFS and LINK_TYPE are not looked at")
	}
	if p.want.Firmware {
		p.Firmware = append(p.Firmware, keys...)
	} else {
		for _, k := range keys {
			p.note("the firmware has %s=%s for the next boot, and %s is needed: --firmware sets it", k.Key, k.Was, k.To)
		}
	}
	switch next := err == nil && (p.want.Firmware || len(keys) == 0); {
	case !short || next && p.nextHasRoom(card):
	case p.nic.PF == nil:
		return fmt.Errorf("%s: %w: its firmware has SR-IOV off: ask for --firmware (with mstflint installed), or mstconfig -d %s set SRIOV_EN=1 NUM_OF_VFS=%d, then reboot", p.PF, pci.ErrNotPF, p.Slot, p.want.VFs)
	default:
		return tooMany(p.pf, Want{N: p.want.VFs})
	}
	if len(p.Firmware) > 0 || short {
		p.reboot("the card's firmware takes its settings at a reboot (or mstfwreset)")
	}
	return nil
}

// nextHasRoom reports whether the card will have the VFs when it is started anew: that is what its keys
// say, or will.
func (p *Preparation) nextHasRoom(card mstconfig.Card) bool {
	n, known := card.Settings["NUM_OF_VFS"].Next.Number()
	return known && n >= p.want.VFs || slices.ContainsFunc(p.Firmware, func(k FirmwareKey) bool { return k.Key == "NUM_OF_VFS" })
}

// firmwareKeys are those that have to change.
func (p *Preparation) firmwareKeys(card mstconfig.Card) []FirmwareKey {
	var out []FirmwareKey
	need := func(key string, good func(int) bool, to int) {
		s, ok := card.Settings[key]
		if n, number := s.Next.Number(); ok && (!number || !good(n)) {
			out = append(out, FirmwareKey{key, string(s.Next), strconv.Itoa(to)})
		}
	}
	need("SRIOV_EN", func(n int) bool { return n == 1 }, 1)
	need("NUM_OF_VFS", func(n int) bool { return n >= p.want.VFs }, p.want.VFs)
	for _, port := range []string{"LINK_TYPE_P1", "LINK_TYPE_P2"} {
		need(port, func(n int) bool { return n == 2 }, 2)
	}
	return out
}

// planDriver plans options of the driver's module, where the number of VFs is one.
func (p *Preparation) planDriver(context.Context) error {
	w := p.want
	if p.nic.Driver != mlx4Module {
		if w.Ports != nil || w.Probe != nil || len(w.Options) > 0 {
			return fmt.Errorf("%s has driver %q: %w: VFs per port, VFs to probe and options of the module are for mlx4_core", p.PF, p.nic.Driver, ErrBadOption)
		}
		return nil
	}
	num, probe, err := p.mlx4Counts()
	if err != nil {
		return err
	}
	// Flow steering is what ethtool -U and VFs' own filters need.
	want := map[string]string{"log_num_mgm_entry_size": "-1", "enable_64b_cqe_eqe": "1"}
	types, all := p.ethernetPorts()
	if all {
		want["port_type_array"] = types
	}
	for name, value := range w.Options {
		if err = checkMLX4Option(name, value); err != nil {
			return err
		}
		want[name] = value
	}
	if ports := want["port_type_array"]; len(num) == 3 && (ports == "" || strings.Contains(ports, "1")) {
		return fmt.Errorf("VFs of single ports of %s: %w: every port must be Ethernet: where that may be, ask for --module-option port_type_array=2,2", p.PF, ErrBadOption)
	}
	if want["num_vfs"], want["probe_vf"], err = p.mlx4Values(num, probe); err != nil {
		return err
	}
	return p.moduleOptions(want)
}

// ethernetPorts is port_type_array for ports that are Ethernet already, so that they stay it.
func (p *Preparation) ethernetPorts() (types string, all bool) {
	var out []string
	for _, i := range p.nic.Interfaces {
		if i.Type != 1 {
			return "", false
		}
		out = append(out, "2")
	}
	return strings.Join(out, ","), len(out) > 0
}

// mlx4Counts are num_vfs and probe_vf for this card.
func (p *Preparation) mlx4Counts() (num, probe mlx4Counts, err error) {
	w := p.want
	if num = w.Ports; num == nil {
		if num, err = p.host.mlx4Spread(p.pf, Want{PF: w.PF, N: w.VFs}); err != nil {
			return nil, nil, err
		}
	}
	if err = num.check(); err != nil {
		return nil, nil, err
	}
	if num.total() != w.VFs {
		return nil, nil, fmt.Errorf("%w: --mlx4-ports %s is %d VFs, --vfs %d", ErrBadOption, num.text(","), num.total(), w.VFs)
	}
	if len(p.pf.Netdevs) == 1 && len(num) == 3 {
		return nil, nil, fmt.Errorf("%w: --mlx4-ports %s: the card has one port", ErrBadOption, num.text(","))
	}
	probe = make(mlx4Counts, len(num))
	switch {
	case len(w.Probe) == 1 && len(num) > 1: // from port 1 on
		left := w.Probe[0]
		for i := range num {
			probe[i] = min(left, num[i])
			left -= probe[i]
		}
		if left > 0 {
			probe = w.Probe
		}
	case w.Probe != nil:
		probe = w.Probe
	case w.Mode != HostDev:
		copy(probe, num)
	}
	if !num.covers(probe) {
		return nil, nil, fmt.Errorf("probe_vf=%s with num_vfs=%s: %w: the driver does not start with more VFs to drive than there are", probe.text(","), num.text(","), ErrBadOption)
	}
	return num, probe, nil
}

// mlx4Values are the options' texts. The kernel's own driver takes one value for all cards; the vendor's
// takes one for each.
func (p *Preparation) mlx4Values(num, probe mlx4Counts) (n, q string, err error) {
	var cards []string
	for _, nic := range p.NICs {
		if nic.Driver == mlx4Module && !nic.VF() {
			cards = append(cards, nic.Slot)
		}
	}
	if len(cards) < 2 {
		return num.text(","), probe.text(","), nil
	}
	if !p.vendorsMLX4() {
		p.note("options of mlx4_core are for all of its cards: %s", strings.Join(cards, ", "))
		return num.text(","), probe.text(","), nil
	}
	text, _ := p.Tree.Bytes(mlx4Conf)
	have := bootconf.ModuleOptions(string(text), mlx4Module)
	values := [2]string{}
	for i, name := range []string{"num_vfs", "probe_vf"} {
		old := mlx4Value{}
		if now, ok := have[name]; ok {
			if old, err = parseMLX4(now); err != nil {
				return "", "", fmt.Errorf("%s in /%s: %w", name, mlx4Conf, err)
			}
		}
		values[i] = old.with(p.Slot, [2]mlx4Counts{num, probe}[i], cards).String()
	}
	return values[0], values[1], nil
}

// vendorsMLX4 reports whether mlx4_core is the vendor's (MLNX_OFED): it says its own version, and has
// options that the kernel's lacks.
func (p *Preparation) vendorsMLX4() bool {
	version := p.Machine.Modules[mlx4Module].Version
	return version != "" && version != "4.0-0" || slices.ContainsFunc([]string{"roce_mode", "ingress_parser_mode", "block_loopback", "ud_gid_type"}, func(name string) bool {
		_, ok := p.Param(mlx4Module, name)
		return ok
	})
}

// moduleOptions writes options of mlx4_core, and has the initial RAM disks made anew. Where somebody has
// written the same ones, they are told.
func (p *Preparation) moduleOptions(want map[string]string) error {
	for _, dir := range []string{"etc/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d", "run/modprobe.d"} {
		for _, name := range p.Tree.Names(dir) {
			file := path.Join(dir, name)
			text, _ := p.Tree.Bytes(file)
			if file == mlx4Conf || !counts(name, ".conf") {
				continue
			}
			for option := range bootconf.ModuleOptions(string(text), mlx4Module) {
				if _, ours := want[option]; ours {
					return fmt.Errorf("/%s: options mlx4_core %s: %w: remove it there, and run it again", file, option, ErrContradiction)
				}
			}
		}
	}
	for _, name := range sortedKeys(want) {
		if now, ok := p.Param(mlx4Module, name); ok && !sameOption(now, want[name]) {
			p.reboot("mlx4_core runs with %s=%s: it takes its options when it is loaded", name, now)
		}
	}
	if p.pf.NumVFs != p.want.VFs {
		p.reboot("mlx4_core has made %d VFs: it takes the number when it is loaded", p.pf.NumVFs)
	}
	p.write(mlx4Conf, "VFs of ConnectX-3 are options of its driver", bootconf.SetModuleOptions(writtenBy, mlx4Module, want))
	p.initramfs()
	return nil
}

// initramfs has the initial RAM disks made anew: the driver is loaded from there, with the options there.
func (p *Preparation) initramfs() {
	var copies []string // systemd-boot's
	if p.Boot.Loader == machine.SystemdBoot {
		copies = []string{"boot/efi/*/*/initrd*", "efi/*/*/initrd*", "boot/*/*/initrd*"}
	}
	switch {
	case p.has("update-initramfs"), p.OS.Family == machine.Debian && !p.Tree.Live():
		p.maker(append([]string{"boot/initrd.img-*", "var/lib/initramfs-tools/*"}, copies...), "update-initramfs", "-u", "-k", "all")
	case p.has("dracut"), p.Boot.Initramfs != "":
		p.maker(append([]string{"boot/initramfs-*", "boot/initrd-*"}, copies...), "dracut", "--force", "--regenerate-all")
	default:
		p.note("neither update-initramfs nor dracut is there: where mlx4_core is in the initial RAM disk, make that anew before you reboot")
	}
}
