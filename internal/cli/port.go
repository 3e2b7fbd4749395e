package cli

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
)

var ports = &resource{
	title: "port", singular: "port", collection: "ports", named: []string{"name"}, related: true,
	columns: []column{
		{"NAME", attribute("name")},
		{"ID", attribute("id")},
		{"STATUS", attribute("status")},
		{"MAC", attribute("mac_address")},
		{"ADDRESSES", addresses},
		{"NETWORK", attribute("network_id")},
		{"HOST", attribute("binding:host_id")},
		{"VNIC", attribute("binding:vnic_type")},
		{"VIF", attribute("binding:vif_type")},
		{"VF", vf},
	},
}

// portCommand is `neutrino port`.
func portCommand(c *client, o *output) *cobra.Command {
	fill := func(create bool) func(*cobra.Command, *form) {
		return func(cmd *cobra.Command, f *form) {
			if create {
				f.ref("network", "network_id", networks, "network, by name or id (required)")
				_ = cmd.MarkFlagRequired("network")
			} else {
				f.text("name", "name", "new name")
			}
			f.each("fixed-ip", "fixed_ips", "address, or subnet=NAME, or subnet=NAME,ip=ADDRESS", f.fixedIP)
			f.text("mac", "mac_address", "MAC address")
			f.text("host", "binding:host_id", "host it is to be bound to; empty = none")
			f.text("vnic-type", "binding:vnic_type", "normal, direct, macvtap, ...")
			profileFlags(f)
			instanceFlags(f)
			f.text("device", "device_id", "id of the instance")
			f.text("device-owner", "device_owner", "what owns it, such as compute:nova")
			f.toggle("up", "down", "admin_state_up", "administrative state up")
			f.toggle("port-security", "no-port-security", "port_security_enabled", "check its source addresses")
			f.each("security-group", "security_groups", "security group, by name or id", func(ctx context.Context, v string) (any, error) {
				return c.id(ctx, groups, v)
			})
			f.each("allowed-address", "allowed_address_pairs", "ADDRESS or ADDRESS,MAC it may send from besides its own", allowedAddress)
		}
	}
	filters := func(_ *cobra.Command, f *form) {
		f.text("name", "name", "those with this name")
		f.ref("network", "network_id", networks, "those of this network, by name or id")
		f.text("host", "binding:host_id", "those bound to this host")
		f.text("device", "device_id", "those of this instance")
		f.text("device-owner", "device_owner", "those with this owner")
		f.text("mac", "mac_address", "the one with this MAC address")
		f.text("status", "status", "ACTIVE, DOWN, BUILD or ERROR")
		f.text("project", "project_id", "those of this project id")
	}
	cmd := group("port", "Ports: what plugs an instance into a network",
		listCommand(c, o, ports, filters), showCommand(c, o, ports),
		createCommand(c, o, ports, fill(true)), setCommand(c, o, ports, fill(false)), deleteCommand(c, ports))
	cmd.GroupID = "resource"
	return cmd
}

// fixedIP converts one --fixed-ip.
func (f *form) fixedIP(ctx context.Context, v string) (any, error) {
	if _, err := netip.ParseAddr(v); err == nil {
		return object{"ip_address": v}, nil
	}
	ip := object{}
	for part := range strings.SplitSeq(v, ",") {
		switch k, value, _ := strings.Cut(part, "="); k {
		case "subnet":
			id, err := f.client.id(ctx, subnets, value)
			if err != nil {
				return nil, err
			}
			ip["subnet_id"] = id
		case "ip":
			ip["ip_address"] = value
		default:
			return nil, usagef("--fixed-ip %q is neither an address nor subnet=NAME,ip=ADDRESS", v)
		}
	}
	return ip, nil
}

func allowedAddress(_ context.Context, v string) (any, error) {
	ip, mac, ok := strings.Cut(v, ",")
	if ok {
		return object{"ip_address": ip, "mac_address": mac}, nil
	}
	return object{"ip_address": ip}, nil
}

// editProfile returns the profile that is to be sent, for changing.
func editProfile(body, now object) object {
	profile, ok := body["binding:profile"].(object)
	if !ok {
		old, _ := now["binding:profile"].(object)
		profile = maps.Clone(old)
		if profile == nil {
			profile = object{}
		}
		body["binding:profile"] = profile
	}
	return profile
}

// profileFlags change single keys of binding:profile; the others stay as they are.
func profileFlags(f *form) {
	edit := editProfile
	pairs := f.cmd.Flags().StringArray("profile", nil, "key=value of binding:profile, or key= to take it away, or a JSON object in place of all (repeatable)")
	f.on("profile", func(_ context.Context, body, now object) error {
		for _, kv := range *pairs {
			var whole object
			if strings.HasPrefix(kv, "{") {
				if err := json.Unmarshal([]byte(kv), &whole); err != nil {
					return usagef("--profile %q is not a JSON object: %v", kv, err)
				}
				body["binding:profile"] = whole
				continue
			}
			k, v, ok := strings.Cut(kv, "=")
			if !ok || k == "" {
				return usagef("--profile %q is not of the form key=value", kv)
			}
			if profile := edit(body, now); v == "" {
				delete(profile, k)
			} else {
				profile[k] = v
			}
		}
		return nil
	})
	f.cmd.Flags().String("vf", "", "PCI address of the VF to use, or none for any")
	f.on("vf", func(_ context.Context, body, now object) error {
		profile := edit(body, now)
		slot := f.cmd.Flags().Lookup("vf").Value.String()
		if slot == "none" {
			delete(profile, "pci_slot")
			return nil
		}
		profile["pci_slot"] = slot
		return nil
	})
	for _, rate := range []struct{ flag, key, usage string }{
		{"max-rate", "max_tx_rate", "most it may send, in Mbit/s; 0 = no limit"},
		{"min-rate", "min_tx_rate", "what it can always send, in Mbit/s; 0 = nothing promised"},
	} {
		v := f.cmd.Flags().Int(rate.flag, 0, rate.usage)
		f.on(rate.flag, func(_ context.Context, body, now object) error {
			if *v < 0 {
				return usagef("--%s must not be negative", rate.flag)
			}
			if profile := edit(body, now); *v == 0 {
				delete(profile, rate.key)
			} else {
				profile[rate.key] = *v
			}
			return nil
		})
	}
}

// vf is the VF that was asked for, or the one the host chose.
func vf(x object) string {
	for _, attribute := range []string{"binding:profile", "binding:vif_details"} {
		details, _ := x[attribute].(object)
		if slot, ok := details["pci_slot"].(string); ok && slot != "" {
			return slot
		}
	}
	return "-"
}

func addresses(x object) string {
	all, _ := x["fixed_ips"].([]any)
	var lines []string
	for _, a := range all {
		if ip, ok := a.(object); ok {
			lines = append(lines, text(ip["ip_address"]))
		}
	}
	if len(lines) == 0 {
		return "-"
	}
	return strings.Join(lines, "\n")
}
