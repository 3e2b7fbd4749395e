package api

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// The lists of a port: how they are read and written.

func parseFixedIPs(x any) (any, error) {
	list, ok := x.([]any)
	if !ok {
		return nil, whyf("Invalid data format for fixed IP: '%s'", spell(x))
	}
	out := make([]model.FixedIP, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, whyf("Invalid data format for fixed IP: '%s'", spell(e))
		}
		var f model.FixedIP
		if raw, given := m["ip_address"]; given {
			got, err := parseAddr(raw)
			if err != nil {
				return nil, err
			}
			f.IP, _ = got.(netip.Addr)
			if slices.ContainsFunc(out, func(o model.FixedIP) bool { return o.IP == f.IP }) {
				return nil, whyf("Duplicate IP address '%s'", f.IP)
			}
		}
		if raw, given := m["subnet_id"]; given {
			got, err := parseUUID(raw)
			if err != nil {
				return nil, err
			}
			f.SubnetID, _ = got.(string)
		}
		out = append(out, f)
	}
	return out, nil
}

func anyFixed(is func(model.FixedIP) bool) func(any) bool {
	return func(x any) bool {
		list, _ := x.([]model.FixedIP)
		return slices.ContainsFunc(list, is)
	}
}

// fixedFilter is what fixed_ips=<key>=<value> asks for.
func fixedFilter(values []string) (map[string][]string, error) {
	asked := map[string][]string{}
	for _, s := range values {
		key, val, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, fault.InvalidInput("'%s' is not of the form <key>=[value]", s)
		}
		switch key {
		case "ip_address":
			val = canonicalAddr(val)
		case "subnet_id", "ip_address_substr":
		default:
			return nil, fault.InvalidInput("'%s' is not a valid key of a fixed_ips filter", key)
		}
		asked[key] = append(asked[key], val)
	}
	return asked, nil
}

// matchFixedIPs finds ports by their addresses: values of one key are alternatives, all
// keys must match.
func matchFixedIPs(_ *view, values []string) (func(*model.Port) bool, error) {
	asked, err := fixedFilter(values)
	if err != nil {
		return nil, err
	}
	wanted := func(p *model.Port, key string, is func(f model.FixedIP, want string) bool) bool {
		for _, want := range asked[key] {
			if slices.ContainsFunc(p.FixedIPs, func(f model.FixedIP) bool { return is(f, want) }) {
				return true
			}
		}
		return len(asked[key]) == 0
	}
	return func(p *model.Port) bool {
		return wanted(p, "subnet_id", func(f model.FixedIP, want string) bool { return f.SubnetID == want }) &&
			wanted(p, "ip_address", func(f model.FixedIP, want string) bool { return f.IP.String() == want }) &&
			wanted(p, "ip_address_substr", func(f model.FixedIP, want string) bool { return strings.Contains(f.IP.String(), want) })
	}, nil
}

// subnetsOfFilter are the index keys of a fixed_ips filter.
func subnetsOfFilter(values []string) []string {
	asked, err := fixedFilter(values)
	if err != nil {
		return nil
	}
	return asked["subnet_id"]
}

func canonicalMACs(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = model.CanonicalMAC(v)
	}
	return out
}

// parseAddressPairs keeps addresses as they were sent; a missing MAC is the port's.
func parseAddressPairs(x any) (any, error) {
	if x == nil {
		return []model.AddressPair{}, nil
	}
	list, ok := x.([]any)
	if !ok {
		return nil, fault.HTTPBadRequest("Allowed address pairs must be a list.")
	}
	out := make([]model.AddressPair, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, whyf("'%s' is not a dictionary", spell(e))
		}
		p, err := parseAddressPair(m)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, p) {
			return nil, fault.DuplicateAddressPair(p.MAC, p.IP)
		}
		out = append(out, p)
	}
	return out, nil
}

func parseAddressPair(m map[string]any) (model.AddressPair, error) {
	var p model.AddressPair
	var unknown []string
	for key := range m {
		if key != "ip_address" && key != "mac_address" {
			unknown = append(unknown, key)
		}
	}
	if err := unrecognized(unknown); err != nil {
		return p, err
	}
	if raw, given := m["mac_address"]; given {
		x, err := parseMAC(raw)
		if err != nil {
			return p, fault.HTTPBadRequest("%s", err.Error())
		}
		p.MAC, _ = x.(string)
	}
	raw, given := m["ip_address"]
	if !given {
		return p, fault.AddressPairWithoutIP()
	}
	p.IP, _ = raw.(string)
	if strings.Contains(p.IP, "/") {
		prefix, err := netip.ParsePrefix(p.IP)
		if err != nil {
			return p, fault.HTTPBadRequest("'%s' is not a valid IP subnet", spell(raw))
		}
		if prefix != prefix.Masked() {
			return p, fault.HTTPBadRequest("'%s' isn't a recognized IP subnet cidr, '%s' is recommended", p.IP, prefix.Masked())
		}
		return p, nil
	}
	if _, err := parseAddr(raw); err != nil {
		return p, fault.HTTPBadRequest("%s", err.Error())
	}
	return p, nil
}

// parseDHCPOpts reads options; a null value removes one.
func parseDHCPOpts(x any) (any, error) {
	if x == nil {
		return []neutron.DHCPOptChange{}, nil
	}
	list, ok := x.([]any)
	if !ok {
		return nil, fault.InvalidInput("'%s' is not a list", spell(x))
	}
	out := make([]neutron.DHCPOptChange, 0, len(list))
	for _, e := range list {
		m, isObject := e.(map[string]any)
		if !isObject {
			return nil, fault.InvalidInput("'%s' is not a dictionary", spell(e))
		}
		o, err := parseDHCPOpt(m)
		if err != nil {
			return nil, fault.InvalidInput("No valid key specs matched for: %s: %s", spell(e), err.Error())
		}
		out = append(out, o)
	}
	return out, nil
}

func parseDHCPOpt(m map[string]any) (neutron.DHCPOptChange, error) {
	o := neutron.DHCPOptChange{DHCPOpt: model.DHCPOpt{IPVersion: 4}}
	for key := range m {
		if key != "opt_name" && key != "opt_value" && key != "ip_version" {
			return o, whyf("Unexpected keys supplied: %s", key)
		}
	}
	name, err := oneLine(64)(m["opt_name"])
	if err != nil {
		return o, err
	}
	o.Name, _ = name.(string)
	raw, given := m["opt_value"]
	switch {
	case !given:
		return o, why("opt_value is missing")
	case raw == nil:
		o.Remove = true
	default:
		read := oneLine(255)
		if o.Name == "router" || o.Name == "classless-static-route" {
			read = text(255) // may be empty: no route at all
		}
		val, errValue := read(raw)
		if errValue != nil {
			return o, errValue
		}
		o.Value, _ = val.(string)
	}
	if raw, given = m["ip_version"]; given {
		version, errVersion := ipVersion(raw)
		if errVersion != nil {
			return o, errVersion
		}
		o.IPVersion, _ = version.(int)
	}
	return o, nil
}

// oneLine is text that is neither blank nor longer than a line.
func oneLine(limit int) check {
	return func(x any) (any, error) {
		s, err := someText(limit)(x)
		if err != nil {
			return nil, err
		}
		if strings.ContainsAny(s.(string), "\r\n\x00") {
			return nil, whyf("Multi-line string is not allowed: '%s'", s)
		}
		return s, nil
	}
}

// fixedIPList writes a port's addresses.
type fixedIPList []model.FixedIP

func (l *fixedIPList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i := range *l {
		f := &(*l)[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"subnet_id":`...), f.SubnetID)
		b = append(f.IP.AppendTo(append(b, `,"ip_address":"`...)), `"}`...)
	}
	return append(b, ']')
}

// pairList writes allowed address pairs.
type pairList []model.AddressPair

func (l *pairList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i := range *l {
		p := &(*l)[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"ip_address":`...), p.IP)
		b = append(appendText(append(b, `,"mac_address":`...), p.MAC), '}')
	}
	return append(b, ']')
}

// optionList writes extra DHCP options.
type optionList []model.DHCPOpt

func (l *optionList) appendJSON(b []byte) []byte {
	b = append(b, '[')
	for i := range *l {
		o := &(*l)[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"opt_name":`...), o.Name)
		b = appendText(append(b, `,"opt_value":`...), o.Value)
		b = append(strconv.AppendInt(append(b, `,"ip_version":`...), int64(o.IPVersion), 10), '}')
	}
	return append(b, ']')
}
