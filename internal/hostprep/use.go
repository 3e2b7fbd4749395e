package hostprep

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"neutrino/internal/hostapi"
	"neutrino/internal/pci"
)

// use is who uses the VFs of a PF, in words, by PCI address.
type use struct {
	by       map[string][]string
	findings []string
}

// use asks the kernel, and the agent where there is one. What the agent has given to a
// port is in use also while no guest runs.
func (h Host) use(ctx context.Context, p pci.PF) (use, error) {
	u := use{by: map[string][]string{}}
	var slots []string
	r := h.reach()
	for _, v := range p.VFs {
		f, err := h.Sys.Function(v.Slot)
		if errors.Is(err, pci.ErrNoDevice) { // removed by hand; its link remains
			continue
		}
		if err != nil {
			return use{}, err
		}
		slots = append(slots, v.Slot)
		for _, d := range f.Netdevs {
			if r.address[d.Name] || r.defaults[d.Name] {
				u.add(v.Slot, "this host, which has addresses or routes on "+d.Name)
			}
		}
	}
	users, err := h.Sys.Users(slots...)
	if err != nil {
		return use{}, fmt.Errorf("look who uses the VFs of %s: %w", nameOf(p), err)
	}
	for _, x := range users {
		u.add(x.Slot, x.String())
	}
	if h.Agent == nil || len(slots) == 0 {
		return u, nil
	}
	known, err := h.Agent.VFs(ctx, false)
	if err != nil {
		if !errors.Is(err, hostapi.ErrUnavailable) {
			u.findings = append(u.findings, "what the agent knows of these VFs is not known: "+err.Error())
		}
		return u, nil
	}
	for _, v := range known {
		switch {
		case v.PortID != "" && v.Plugged != "":
			u.add(v.PCISlot, fmt.Sprintf("port %s, plugged into %s", v.PortID, v.Plugged))
		case v.PortID != "":
			u.add(v.PCISlot, "port "+v.PortID)
		case v.Plugged != "":
			u.add(v.PCISlot, v.Plugged)
		}
	}
	return u, nil
}

func (u *use) add(slot, who string) { u.by[slot] = append(u.by[slot], who) }

// of is who uses a VF; "" = nobody.
func (u *use) of(slot string) string { return strings.Join(u.by[slot], ", ") }

// refuse names the users of the given VFs; nil where there are none.
func (u *use) refuse(pf string, vfs []pci.VFRef) error {
	var lines []string
	for _, v := range vfs {
		if who := u.of(v.Slot); who != "" {
			lines = append(lines, fmt.Sprintf("VF %d (%s) by %s", v.Index, v.Slot, who))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("%w on %s: %s: unplug them or shut the guests down first", ErrInUse, pf, strings.Join(lines, "; "))
}
