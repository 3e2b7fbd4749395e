package ml2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// maxProfile is the largest binding:profile, in bytes of JSON, as in Neutron. What is under
// the key "instance" has limits of its own and does not count.
const maxProfile = 4095

// maxNUMANode is the highest node that Linux can have (MAX_NUMNODES, with NODES_SHIFT 10).
const maxNUMANode = 1023

// Profile is the part of binding:profile that neutrino acts on.
type Profile struct {
	PCISlot         string              // pci_slot: the VF (or PF) that was chosen, "dddd:bb:ss.f"
	PhysicalNetwork string              // physical_network
	Capabilities    []string            // capabilities of the NIC, e.g. "switchdev"
	DeviceMAC       string              // device_mac_address, of a PF
	Trusted         *bool               // trusted; nil = not said
	MinTxRate       int                 // min_tx_rate, Mbit/s; 0 = none
	MaxTxRate       int                 // max_tx_rate, Mbit/s; 0 = none
	NUMANode        *int                // numa_node, 0..maxNUMANode; nil = not said
	Instance        *model.InstanceData // instance; nil = not said
}

var (
	// "0000:03:10.2"; some buses have a domain of more than four digits.
	pciSlot = regexp.MustCompile(`^[0-9a-fA-F]{1,8}:[0-9a-fA-F]{1,2}:[0-9a-fA-F]{1,2}\.[0-7]$`)
	macText = regexp.MustCompile(`^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$`)
)

// ParseProfile reads binding:profile. Unknown keys are Nova's and others' business
// and are passed over; a known key with a value that cannot be carried out is
// InvalidInput (400) naming it.
func ParseProfile(profile map[string]any) (Profile, error) {
	var p Profile
	if err := checkSize(profile); err != nil {
		return p, err
	}
	for _, f := range []struct {
		key string
		to  *string
	}{{"pci_slot", &p.PCISlot}, {"physical_network", &p.PhysicalNetwork}, {"device_mac_address", &p.DeviceMAC}} {
		if err := readString(profile, f.key, f.to); err != nil {
			return Profile{}, err
		}
	}
	if p.PCISlot != "" && !pciSlot.MatchString(p.PCISlot) {
		return Profile{}, badProfile("pci_slot", p.PCISlot, "a PCI address such as 0000:03:10.2")
	}
	if p.DeviceMAC != "" && !macText.MatchString(p.DeviceMAC) {
		return Profile{}, badProfile("device_mac_address", p.DeviceMAC, "a MAC address")
	}
	for _, f := range []struct {
		key string
		to  *int
	}{{"min_tx_rate", &p.MinTxRate}, {"max_tx_rate", &p.MaxTxRate}} {
		if err := readRate(profile, f.key, f.to); err != nil {
			return Profile{}, err
		}
	}
	if p.MaxTxRate != 0 && p.MinTxRate > p.MaxTxRate {
		return Profile{}, badProfile("min_tx_rate", p.MinTxRate, fmt.Sprintf("at most max_tx_rate, %d", p.MaxTxRate))
	}
	p.Capabilities = stringsOf(profile["capabilities"])
	var err error
	if p.NUMANode, err = readNUMANode(profile); err != nil {
		return Profile{}, err
	}
	if p.Instance, err = ReadInstance(profile); err != nil {
		return Profile{}, err
	}
	p.Trusted, err = readTrusted(profile)
	if err != nil {
		return Profile{}, err
	}
	return p, nil
}

// checkSize refuses profiles that are too large.
func checkSize(profile map[string]any) error {
	if _, ok := profile[instanceKey]; ok {
		profile = maps.Clone(profile)
		delete(profile, instanceKey)
	}
	text, err := json.Marshal(profile)
	if err != nil {
		return fault.InvalidInput("binding:profile is not JSON: %v", err)
	}
	if len(text) > maxProfile {
		return fault.InvalidInput("binding:profile value too large")
	}
	return nil
}

func badProfile(key string, value any, want string) error {
	return fault.InvalidInput("binding:profile %s '%v' is not %s", key, value, want)
}

func readString(profile map[string]any, key string, to *string) error {
	switch v := profile[key].(type) {
	case nil:
	case string:
		*to = v
	default:
		return badProfile(key, v, "a string")
	}
	return nil
}

// readRate reads a rate in whole Mbit/s, a number or its digits.
func readRate(profile map[string]any, key string, to *int) error {
	v, ok := profile[key]
	if !ok || v == nil {
		return nil
	}
	n, err := strconv.ParseUint(digits(v), 10, 31)
	if err != nil {
		return badProfile(key, v, "a rate in whole Mbit/s")
	}
	*to = int(n)
	return nil
}

// readNUMANode reads the node near which the VF should be, a number or its digits.
func readNUMANode(profile map[string]any) (*int, error) {
	v, ok := profile["numa_node"]
	if !ok || v == nil {
		return nil, nil
	}
	n, err := strconv.ParseUint(digits(v), 10, 31)
	if err != nil || n > maxNUMANode {
		return nil, badProfile("numa_node", v, fmt.Sprintf("a NUMA node, 0 to %d", maxNUMANode))
	}
	node := int(n)
	return &node, nil
}

// digits writes a number as it was meant: JSON knows floats only.
func digits(v any) string {
	if f, isFloat := v.(float64); isFloat {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// readTrusted takes what oslo's bool_from_string takes.
func readTrusted(profile map[string]any) (*bool, error) {
	v, ok := profile["trusted"]
	if !ok || v == nil {
		return nil, nil
	}
	switch strings.ToLower(strings.TrimSpace(fmt.Sprint(v))) {
	case "1", "t", "true", "on", "y", "yes":
		yes := true
		return &yes, nil
	case "0", "f", "false", "off", "n", "no":
		no := false
		return &no, nil
	}
	return nil, badProfile("trusted", v, "a boolean")
}

// switchdev reports whether the profile says that the NIC is in switchdev mode, where
// a VF is reached through its representor.
func switchdev(profile map[string]any) bool {
	return slices.Contains(stringsOf(profile["capabilities"]), "switchdev")
}

// stringsOf reads a list of strings that may have come from JSON.
func stringsOf(v any) []string {
	switch l := v.(type) {
	case []string:
		return slices.Clone(l)
	case []any:
		var out []string
		for _, e := range l {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// member reads an object inside an agent's configurations; nil when it is none.
// Mappings of strings and of lists are read alike: only the keys matter here.
func member(configurations map[string]any, key string) map[string]any {
	switch o := configurations[key].(type) {
	case map[string]any:
		return o
	case map[string][]string:
		return widen(o)
	case map[string]string:
		return widen(o)
	}
	return nil
}

func widen[V any](m map[string]V) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// sameProfile compares what the profiles say, so that 3 from Go and 3 from JSON are
// the same, and none and empty.
func sameProfile(a, b map[string]any) bool {
	if len(a) == 0 && len(b) == 0 {
		return true
	}
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
