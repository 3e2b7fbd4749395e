package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"neutrino/internal/config"
	"neutrino/internal/eswitch"
	"neutrino/internal/eswitch/sriov"
	"neutrino/internal/eswitch/veb"
	"neutrino/internal/pci"
)

// openNICs opens what the files name: software NICs that are pinned on this host, or
// else NICs with SR-IOV. A host has the ones or the others.
func openNICs(ctx context.Context, cfg *config.Config, log *slog.Logger) (eswitch.Switch, error) {
	wanted := map[string]bool{}
	for _, pfs := range cfg.DeviceMappings() {
		for _, pf := range pfs {
			wanted[pf] = true
		}
	}
	if len(wanted) == 0 {
		if len(cfg.Bridges()) > 0 {
			return eswitch.None(), nil
		}
		return nil, fmt.Errorf("start agent: no NIC and no bridge is named: set [sriov_nic] physical_device_mappings = physical_network:PF, "+
			"or [ovs] bridge_mappings = physical_network:bridge, in %s", strings.Join(cfg.Files(), ", "))
	}
	names := slices.Sorted(maps.Keys(wanted))
	soft, state, err := openSoft(ctx, cfg.VEB.PinDir)
	if err != nil {
		return nil, err
	}
	var here, elsewhere []string
	for _, name := range names {
		if slices.ContainsFunc(state.PFs, func(p eswitch.PF) bool { return p.Name == name }) {
			here = append(here, name)
		} else {
			elsewhere = append(elsewhere, name)
		}
	}
	switch {
	case len(elsewhere) == 0:
		return soft, nil
	case soft != nil:
		_ = soft.Close()
	}
	if len(here) > 0 {
		return nil, fmt.Errorf("start agent: %s: %w: physical_device_mappings names it, software NICs under %s are: %s; software NICs and NICs with SR-IOV cannot be mixed on one host",
			strings.Join(elsewhere, ", "), ErrNoNIC, cfg.VEB.PinDir, pfNames(state))
	}
	return openSRIOV(ctx, cfg, names, log)
}

// openSoft opens the software NICs; nil when there are none.
func openSoft(ctx context.Context, pins string) (eswitch.Switch, eswitch.State, error) {
	sw, err := veb.OpenAll(pins)
	if errors.Is(err, veb.ErrNotFound) {
		return nil, eswitch.State{}, nil
	}
	if err != nil {
		return nil, eswitch.State{}, fmt.Errorf("start agent: open the software NICs under %s: %w", pins, err)
	}
	state, err := sw.Observe(ctx)
	if err != nil {
		_ = sw.Close()
		return nil, eswitch.State{}, fmt.Errorf("start agent: look at the NICs: %w", err)
	}
	return sw, state, nil
}

// openSRIOV opens NICs with SR-IOV. One that is not there yet may come; when none is
// there, a name is more likely wrong.
func openSRIOV(ctx context.Context, cfg *config.Config, names []string, log *slog.Logger) (eswitch.Switch, error) {
	sys := &pci.Sys{}
	var bad []string
	for _, name := range names {
		if p, err := sys.PF(name); err != nil {
			bad = append(bad, err.Error())
		} else if p.NumVFs == 0 {
			log.Warn("NIC has no VFs yet", "pf", name, "most", p.TotalVFs, "make them with", "neutrino host vfs set "+name+" N")
		}
	}
	if len(bad) == len(names) {
		return nil, fmt.Errorf("start agent: %w: physical_device_mappings names %s, but: %s", ErrNoNIC, strings.Join(names, ", "), strings.Join(bad, "; "))
	}
	for _, b := range bad {
		log.Error("NIC is not there; the agent waits for it", "because", b)
	}
	sw, err := sriov.Open(ctx, sriov.Options{PFs: names, Exclude: cfg.SRIOVNIC.ExcludeDevices, Log: log})
	if err != nil {
		return nil, fmt.Errorf("start agent: open the NICs: %w", err)
	}
	return sw, nil
}

func pfNames(s eswitch.State) string {
	var names []string
	for _, pf := range s.PFs {
		names = append(names, pf.Name)
	}
	return strings.Join(names, ", ")
}
