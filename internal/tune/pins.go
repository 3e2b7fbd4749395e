package tune

import (
	"errors"
	"fmt"
	"slices"

	"neutrino/internal/machine"
)

// ErrBadCPUs: these CPUs cannot be chosen.
var ErrBadCPUs = errors.New("these CPUs cannot be chosen")

// Pins chooses CPUs for the interrupts of NICs: a list, those of a node, or, with node
// -1 and no list, those of each NIC's own node. CPUs that are not online are left out of
// a list; a list of which nothing is left is ErrBadCPUs.
func (h *Host) Pins(names []string, node int, list string) (map[string]string, error) {
	f, err := h.Facts(names)
	if err != nil {
		return nil, err
	}
	chosen, err := f.choose(node, list)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, n := range f.NICs {
		if n.VF && n.PF != "" && !slices.Contains(names, n.Name) {
			continue // it goes with its PF
		}
		if len(n.IRQs) == 0 && len(n.VFs) == 0 {
			return nil, fmt.Errorf("%s has no interrupts to place: %w", n.Name, ErrNoNIC)
		}
		cpus := chosen
		if len(cpus) == 0 {
			cpus = numbers(f.local(n.Node))
		}
		out[n.Name] = cpus.String()
	}
	return out, nil
}

func (f *Facts) choose(node int, text string) (machine.CPUList, error) {
	if text == "" && node < 0 {
		return nil, nil
	}
	var out machine.CPUList
	if text == "" {
		if out = numbers(f.on(node)); len(out) == 0 {
			return nil, fmt.Errorf("NUMA node %d has no CPU that is online: %w", node, ErrBadCPUs)
		}
		return out, nil
	}
	asked, err := machine.ParseCPUList(text, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCPUs, err)
	}
	for _, c := range f.CPUs {
		if asked.Has(c.Number) {
			out = append(out, c.Number)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("none of the CPUs %s is online: %w", text, ErrBadCPUs)
	}
	return out, nil
}
