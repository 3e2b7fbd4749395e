package hostprep

import (
	"fmt"
	"strings"

	"neutrino/internal/pci"
)

// Limits of mlx4 (drivers/net/ethernet/mellanox/mlx4/main.c, ConnectX-3 manual): VFs in
// all, and VFs that have a given port, those of both ports counted on each.
const (
	mlx4Functions = 126
	mlx4PerPort   = 63
	mlx4File      = "/etc/modprobe.d/mlx4_core.conf"
)

// mlx4 says what to write for n VFs: mlx4_core has no sriov_configure, and num_vfs of
// its module is "both ports" with one value, and "port 1, port 2, both" with three.
func (h Host) mlx4(p pci.PF, w Want) error {
	form, where := "%d", "for all mlx4 cards of the host"
	dual := len(p.Netdevs) > 1
	port := -1
	for _, d := range p.Netdevs {
		if d.Name == w.PF {
			port = d.DevPort
		}
	}
	switch {
	case w.N > mlx4Functions || !dual && w.N > mlx4PerPort:
		return fmt.Errorf("%d VFs on %s: %w: mlx4 has %d in all, %d per port", w.N, nameOf(p), ErrTooMany, mlx4Functions, mlx4PerPort)
	case w.N > mlx4PerPort:
		form = fmt.Sprintf("%d,%%d,0", mlx4PerPort)
		where += fmt.Sprintf("; a port has %d at most, so they are on one port each", mlx4PerPort)
	case dual && port == 0:
		form = "%d,0,0"
		where += "; on port 1 (0,%[1]d,0 = port 2, 0,0,%[1]d = both ports in one VF)"
	case dual && port == 1:
		form = "0,%d,0"
		where += "; on port 2 (%[1]d,0,0 = port 1, 0,0,%[1]d = both ports in one VF)"
	case dual:
		form = "0,0,%d"
		where += "; both ports in one VF (%[1]d,0,0 = port 1, 0,%[1]d,0 = port 2)"
	}
	n := w.N
	if n > mlx4PerPort {
		n -= mlx4PerPort
	}
	num := fmt.Sprintf(form, n)
	if strings.Contains(where, "%[1]d") {
		where = fmt.Sprintf(where, w.N)
	}
	// probe_vf: how many of them the host drives itself.
	probe := num
	if w.Driver == pci.VFIODriver || !w.Autoprobe {
		probe = "0"
		if strings.Contains(num, ",") {
			probe = "0,0,0"
		}
	}
	return fmt.Errorf("%w: write to %s:\noptions mlx4_core num_vfs=%s probe_vf=%s\n(%s; with three values every port must be Ethernet), "+
		"then reload mlx4_en, mlx4_ib and mlx4_core, or make the initramfs anew and reboot",
		ErrModuleOption, mlx4File, num, probe, where)
}
