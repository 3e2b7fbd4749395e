package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"

	"neutrino/internal/config"
	"neutrino/internal/probe"
	"neutrino/internal/trunk"
	"neutrino/internal/vfnl"
)

// newProber lets this host take part in verifications of the trunk, on the PFs and on
// the uplinks of Open vSwitch bridges that the files name.
func newProber(cfg *config.Config, log *slog.Logger) *probe.Prober {
	return probe.New(probe.Options{
		Host: cfg.Default.Host, Log: log,
		Uplinks: func(physicalNetwork string) ([]string, error) { return uplinks(cfg, physicalNetwork) },
		VFVLANs: vfVLANs,
	})
}

// uplinks are the netdevs of a physical network, each once.
func uplinks(cfg *config.Config, physicalNetwork string) ([]string, error) {
	names := map[string]bool{}
	for _, pf := range cfg.DeviceMappings()[physicalNetwork] {
		names[pf] = true
	}
	bridge := cfg.Bridges()[physicalNetwork]
	for _, d := range cfg.OVS.BridgeUplinks[bridge] {
		names[d] = true
	}
	switch {
	case len(names) > 0:
		return slices.Sorted(maps.Keys(names)), nil
	case bridge != "":
		return nil, fmt.Errorf("the uplink of bridge %s is not named: set [ovs] bridge_uplinks = %s:NETDEV", bridge, bridge)
	}
	return nil, fmt.Errorf("physical network %s is in neither [sriov_nic] physical_device_mappings nor [ovs] bridge_mappings", physicalNetwork)
}

// vfVLANs are the VLANs that the VFs of an uplink are programmed for.
func vfVLANs(ctx context.Context, uplink string) (v trunk.VLANs, err error) {
	nic, err := net.InterfaceByName(uplink)
	if err != nil {
		return v, fmt.Errorf("find uplink %s: %w", uplink, err)
	}
	nl, err := vfnl.Dial()
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, nl.Close()) }()
	pf, err := nl.PF(ctx, nic.Index, false)
	if err != nil {
		return v, err
	}
	for i := range pf.VFs {
		if vlan, ok := pf.VFs[i].VLAN.Get(); ok {
			v.Add(vlan.ID)
		}
	}
	return v, nil
}
