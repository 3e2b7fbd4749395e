package hostprep

import (
	"fmt"

	"neutrino/internal/pci"
)

// Limits of mlx4 (drivers/net/ethernet/mellanox/mlx4/main.c, ConnectX-3 manual): VFs in
// all, and VFs that have a given port, those of both ports counted on each.
const (
	mlx4Functions = 126
	mlx4PerPort   = 63
	mlx4File      = "/etc/modprobe.d/mlx4_core.conf" // as manuals have it
)

// mlx4Spread is num_vfs for n VFs: on the port that was named, else with both ports in one.
func (h Host) mlx4Spread(p pci.PF, w Want) (mlx4Counts, error) {
	dual := len(p.Netdevs) > 1
	port := -1
	for _, d := range p.Netdevs {
		if d.Name == w.PF {
			port = d.DevPort
		}
	}
	switch {
	case w.N > mlx4Functions || !dual && w.N > mlx4PerPort:
		return nil, fmt.Errorf("%d VFs on %s: %w: mlx4 has %d in all, %d per port", w.N, nameOf(p), ErrTooMany, mlx4Functions, mlx4PerPort)
	case w.N > mlx4PerPort:
		return mlx4Counts{mlx4PerPort, w.N - mlx4PerPort, 0}, nil
	case dual && port == 0:
		return mlx4Counts{w.N, 0, 0}, nil
	case dual && port == 1:
		return mlx4Counts{0, w.N, 0}, nil
	case dual:
		return mlx4Counts{0, 0, w.N}, nil
	}
	return mlx4Counts{w.N}, nil
}

// mlx4 says what to write for n VFs: mlx4_core has no sriov_configure, and num_vfs of
// its module is "both ports" with one value, and "port 1, port 2, both" with three.
func (h Host) mlx4(p pci.PF, w Want) error {
	num, err := h.mlx4Spread(p, w)
	if err != nil {
		return err
	}
	where := "for all mlx4 cards of the host"
	if w.N > mlx4PerPort {
		where += fmt.Sprintf("; a port has %d at most, so they are on one port each", mlx4PerPort)
	} else if len(num) == 3 {
		where += fmt.Sprintf("; %[1]d,0,0 = on port 1, 0,%[1]d,0 = on port 2, 0,0,%[1]d = both ports in one VF", w.N)
	}
	// probe_vf: how many of them the host drives itself.
	probe := num
	if w.Driver == pci.VFIODriver || !w.Autoprobe {
		probe = make(mlx4Counts, len(num))
	}
	return fmt.Errorf("%w: `neutrino host prepare --pf %s --vfs %d` does it, or write to %s:\noptions mlx4_core num_vfs=%s probe_vf=%s\n(%s; with three values every port must be Ethernet), "+
		"then reload mlx4_en, mlx4_ib and mlx4_core, or make the initramfs anew and reboot",
		ErrModuleOption, w.PF, w.N, mlx4File, num.text(","), probe.text(","), where)
}
