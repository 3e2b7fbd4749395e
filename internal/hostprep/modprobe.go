package hostprep

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/ledger"
	"neutrino/internal/machine"
	"neutrino/internal/pci"
)

// ErrBadOption: an option of mlx4_core that its driver would refuse or cut down.
var ErrBadOption = errors.New("not an option that mlx4_core takes")

// MLX4Count is num_vfs or probe_vf of mlx4_core: VFs of port 1 alone, of port 2 alone, and of both
// ports (drivers/net/ethernet/mellanox/mlx4/main.c). Written with one value it is both.
type MLX4Count struct{ Port1, Port2, Both int }

// ParseMLX4Count reads "8", "4,4" or "4,4,0".
func ParseMLX4Count(s string) (MLX4Count, error) {
	parts := strings.Split(s, ",")
	n := make([]int, len(parts))
	for i, p := range parts {
		v, err := strconv.Atoi(strings.TrimSpace(p))
		if err != nil || v < 0 || len(parts) > 3 {
			return MLX4Count{}, fmt.Errorf("%w: %.40q: want N, or three numbers: VFs of port 1, of port 2, of both", ErrBadOption, s)
		}
		n[i] = v
	}
	c := MLX4Count{}
	switch len(n) {
	case 1:
		c.Both = n[0]
	case 2:
		c.Port1, c.Port2 = n[0], n[1]
	default:
		c.Port1, c.Port2, c.Both = n[0], n[1], n[2]
	}
	return c, c.check()
}

// check holds a count against the limits: 126 functions in all, 63 per port, a VF of both ports counted on each.
func (c MLX4Count) check() error {
	switch {
	case c.Port1 < 0 || c.Port2 < 0 || c.Both < 0:
		return fmt.Errorf("%w: a negative number of VFs", ErrBadOption)
	case c.Port1+c.Both > mlx4PerPort || c.Port2+c.Both > mlx4PerPort:
		return fmt.Errorf("%w: %d VFs on port 1 and %d on port 2: a port has %d", ErrTooMany, c.Port1+c.Both, c.Port2+c.Both, mlx4PerPort)
	case c.total() > mlx4Functions:
		return fmt.Errorf("%w: %d VFs: a card has %d", ErrTooMany, c.total(), mlx4Functions)
	}
	return nil
}

func (c MLX4Count) total() int { return c.Port1 + c.Port2 + c.Both }

// within reports whether c is no more than o of any kind: probe_vf within num_vfs.
func (c MLX4Count) within(o MLX4Count) bool {
	return c.Port1 <= o.Port1 && c.Port2 <= o.Port2 && c.Both <= o.Both
}

// text joins the values as the driver of the kernel (",") or, per device, that of OFED (";") wants them.
func (c MLX4Count) text(dual bool, sep string) string {
	if !dual {
		return strconv.Itoa(c.Both)
	}
	return strings.Join([]string{strconv.Itoa(c.Port1), strconv.Itoa(c.Port2), strconv.Itoa(c.Both)}, sep)
}

// MLX4 is the options of mlx4_core for one card.
type MLX4 struct {
	Slot  string
	Dual  bool // two ports
	Num   MLX4Count
	Probe MLX4Count // of Num, how many the host drives itself: those for macvtap
	// PerDevice writes the values for Slot alone, which the driver of OFED takes; the kernel's
	// has one value for all cards.
	PerDevice bool
}

// Line is the line for modprobe.d. All ports are Ethernet: with VFs of single ports they have to be.
func (o MLX4) Line() (string, error) {
	if err := errors.Join(o.Num.check(), o.Probe.check()); err != nil {
		return "", err
	}
	if !o.Probe.within(o.Num) {
		return "", fmt.Errorf("%w: probe_vf %s is more than num_vfs %s", ErrBadOption, o.Probe.text(true, ","), o.Num.text(true, ","))
	}
	ports, sep, prefix := "2", ",", ""
	if o.PerDevice {
		sep, prefix = ";", o.Slot+"-"
	}
	if o.Dual {
		ports = "2" + sep + "2"
	}
	// Device-managed flow steering is what ethtool -U and VFs' own filters need.
	return fmt.Sprintf("options mlx4_core port_type_array=%s%s num_vfs=%s%s probe_vf=%s%s enable_64b_cqe_eqe=1 log_num_mgm_entry_size=-1\n",
		prefix, ports, prefix, o.Num.text(o.Dual, sep), prefix, o.Probe.text(o.Dual, sep)), nil
}

// mlx4Options are of n VFs on the port that a PF is named by.
func mlx4Options(m machine.Machine, p pci.PF, w Prep) (MLX4, error) {
	o := MLX4{Slot: p.Slot, Dual: len(p.Netdevs) > 1}
	switch port := devPort(p, w.PF); {
	case !o.Dual || port < 0:
		o.Num.Both = w.VFs
	case port == 0:
		o.Num.Port1 = w.VFs
	default:
		o.Num.Port2 = w.VFs
	}
	if w.Ports != nil {
		if o.Num = *w.Ports; o.Num.total() != w.VFs {
			return o, fmt.Errorf("%w: --mlx4-ports %s is %d VFs, --vfs %d", ErrBadOption, o.Num.text(true, ","), o.Num.total(), w.VFs)
		}
		if !o.Dual && o.Num.Port1+o.Num.Port2 > 0 {
			return o, fmt.Errorf("%w: --mlx4-ports %s: the card has one port", ErrBadOption, o.Num.text(true, ","))
		}
	}
	if w.Mode != HostDev {
		o.Probe = o.Num
	}
	cards := 0
	for _, n := range m.NICs {
		if n.PF != nil && n.Driver == "mlx4_core" {
			cards++
		}
	}
	// The vendor's module says its own version, the kernel's 4.0-0.
	version := m.Modules["mlx4_core"].Version
	o.PerDevice = cards > 1 && version != "" && version != "4.0-0"
	return o, o.Num.check()
}

// devPort is the port of a card that a netdev's name stands for; -1 = the PF was named otherwise.
func devPort(p pci.PF, name string) int {
	for _, d := range p.Netdevs {
		if d.Name == name {
			return d.DevPort
		}
	}
	return -1
}

const mlx4Conf = "etc/modprobe.d/neutrino-mlx4.conf"

// mlx4Changes write the options, and have the initial RAM disk made anew: it loads the driver.
func mlx4Changes(t machine.Tree, m machine.Machine, o MLX4) ([]ledger.Change, []ledger.Maker, error) {
	for _, name := range t.Names("etc/modprobe.d") {
		file := path.Join("etc/modprobe.d", name)
		text, _ := t.Text(file)
		if file == mlx4Conf || !strings.HasSuffix(name, ".conf") {
			continue
		}
		n := 0
		for line := range strings.Lines(text) {
			n++
			if f := strings.Fields(line); len(f) > 2 && f[0] == "options" && f[1] == "mlx4_core" && sets(f[2:], "num_vfs", "probe_vf", "port_type_array") {
				return nil, nil, fmt.Errorf("/%s:%d: %s: %w: remove these options there, and run it again", file, n, strings.TrimSpace(line), ErrContradiction)
			}
		}
	}
	line, err := o.Line()
	if err != nil {
		return nil, nil, err
	}
	c := []ledger.Change{writes(mlx4Conf, "VFs of ConnectX-3 are options of its driver", "# Written by: neutrino host prepare; neutrino host undo removes it.\n"+line)}
	return c, initramfs(t, m), nil
}

func sets(words []string, names ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		name, _, _ := strings.Cut(w, "=")
		return slices.Contains(names, name)
	})
}

// initramfs is the program that makes the initial RAM disks.
func initramfs(t machine.Tree, m machine.Machine) []ledger.Maker {
	switch {
	case m.OS.Family == machine.Debian && (t.Exists("usr/sbin/update-initramfs") || !t.Live()):
		return []ledger.Maker{{Argv: []string{"update-initramfs", "-u", "-k", m.Kernel.Release}, Files: []string{"boot/initrd.img-*", "var/lib/initramfs-tools/*"}}}
	case m.Boot.Initramfs != "":
		return []ledger.Maker{{Argv: strings.Fields(m.Boot.Initramfs), Files: []string{"boot/initramfs-*", "boot/initrd-*"}}}
	}
	return nil
}
