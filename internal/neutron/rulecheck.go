package neutron

import (
	"net/netip"
	"strconv"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// protocols are the names of IP protocols that a rule may use, by IANA's numbers.
var protocols = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2,
	"ip": 0, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44, "ipv6-icmp": 58, "icmpv6": 58,
	"ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46,
	"sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// withPorts are the protocols that have ports, ipv6Only those that IPv4 does not know.
var (
	withPorts = map[int]bool{33: true, 132: true, 6: true, 17: true, 136: true}
	ipv6Only  = map[int]bool{41: true, 44: true, protoICMPv6: true, 59: true, 60: true, 43: true}
)

const portProtocolNames = "DCCP, SCTP, TCP, UDP, UDPLITE"

// completeRule puts a rule into the form that is kept, and checks it in Neutron's order.
func completeRule(r *model.SecurityGroupRule) error {
	if r.EtherType == "" {
		r.EtherType = "IPv4"
	}
	if r.EtherType == "IPv6" && (r.Protocol == "icmp" || r.Protocol == "icmpv6") {
		r.Protocol = "ipv6-icmp"
	}
	if r.PortRangeMin != nil && r.PortRangeMax != nil && *r.PortRangeMin == 1 && *r.PortRangeMax == 65535 {
		r.PortRangeMin, r.PortRangeMax = nil, nil
	}
	for _, check := range []func(*model.SecurityGroupRule) error{checkPortRange, checkRemotePrefix, checkFamily, checkRemotes} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

// protocolNumber returns the IANA number of a name or number, and whether it is one.
func protocolNumber(protocol string) (int, bool) {
	if n, ok := protocols[protocol]; ok {
		return n, true
	}
	n, err := strconv.Atoi(protocol)
	return n, err == nil && n >= 0 && n <= 255
}

func checkPortRange(r *model.SecurityGroupRule) error {
	lo, hi := r.PortRangeMin, r.PortRangeMax
	number, known := protocolNumber(r.Protocol)
	if r.Protocol != "" && !known {
		return fault.RuleBad("SecurityGroupRuleInvalidProtocol", "Security group rule protocol %s not supported. "+
			"Only protocol values %s and integer representations [0 to 255] are supported.", r.Protocol, protocolList)
	}
	switch {
	case lo == nil && hi == nil:
		return nil
	case r.Protocol == "":
		return fault.RuleBad("SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case withPorts[number]:
		if (lo != nil && *lo == 0) || (hi != nil && *hi == 0) {
			return fault.RuleBad("SecurityGroupInvalidPortValue", "Invalid value for port %d", 0)
		}
		if lo == nil || hi == nil || *lo > *hi {
			return fault.RuleBad("SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
		}
		return nil
	case number == protoICMP || number == protoICMPv6:
		return checkICMP(lo, hi)
	}
	return fault.RuleBad("SecurityGroupInvalidProtocolForPort", "Ports cannot be specified for protocol %d. "+
		"Ports are only supported for %s.", number, portProtocolNames)
}

// protocolList is the text that Neutron prints for a protocol it does not know.
const protocolList = "[None, 'ah', 'dccp', 'egp', 'esp', 'gre', 'hopopt', 'icmp', 'igmp', 'ip', 'ipip', 'ipv6-encap', " +
	"'ipv6-frag', 'ipv6-icmp', 'icmpv6', 'ipv6-nonxt', 'ipv6-opts', 'ipv6-route', 'ospf', 'pgm', 'rsvp', 'sctp', 'tcp', " +
	"'udp', 'udplite', 'vrrp']"

// checkICMP looks at type and code, which travel in the port range.
func checkICMP(typ, code *int) error {
	for _, f := range []struct {
		value       *int
		field, attr string
	}{{typ, "type", "port_range_min"}, {code, "code", "port_range_max"}} {
		if f.value != nil && (*f.value < 0 || *f.value > 255) {
			return fault.RuleBad("SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", f.field, f.attr, *f.value)
		}
	}
	if typ == nil && code != nil {
		return fault.RuleBad("SecurityGroupMissingIcmpType",
			"ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *code)
	}
	return nil
}

// checkRemotePrefix gives a bare address its mask and compares its family.
func checkRemotePrefix(r *model.SecurityGroupRule) error {
	if r.RemoteIPPrefix == "" {
		return nil
	}
	sent := r.RemoteIPPrefix
	prefix, err := netip.ParsePrefix(sent)
	if err != nil {
		addr, err := netip.ParseAddr(sent)
		if err != nil || addr.Zone() != "" {
			return fault.RuleBad("InvalidCIDR", "Invalid CIDR %s given as IP prefix.", sent)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
		r.RemoteIPPrefix = prefix.String()
	}
	if (r.EtherType == "IPv4") != prefix.Addr().Is4() {
		return fault.RuleBad("SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, sent)
	}
	return nil
}

func checkFamily(r *model.SecurityGroupRule) error {
	if number, ok := protocolNumber(r.Protocol); ok && ipv6Only[number] && r.EtherType == "IPv4" {
		return fault.RuleBad("SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype %s for protocol %s.", r.EtherType, r.Protocol)
	}
	return nil
}

func checkRemotes(r *model.SecurityGroupRule) error {
	n := 0
	for _, remote := range []string{r.RemoteIPPrefix, r.RemoteGroupID, r.RemoteAddressGroupID} {
		if remote != "" {
			n++
		}
	}
	if n > 1 {
		return fault.RuleBad("SecurityGroupMultipleRemoteEntites",
			"Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
	}
	return nil
}

// sameRule reports whether two rules of one group allow the same traffic: "tcp" is "6",
// and a prefix of everything is no prefix.
func sameRule(a, b *model.SecurityGroupRule) bool {
	return a.SecurityGroupID == b.SecurityGroupID && a.Direction == b.Direction && a.EtherType == b.EtherType &&
		sameProtocol(a, b) && sameInt(a.PortRangeMin, b.PortRangeMin) && sameInt(a.PortRangeMax, b.PortRangeMax) &&
		a.RemoteGroupID == b.RemoteGroupID && a.RemoteAddressGroupID == b.RemoteAddressGroupID &&
		narrowPrefix(a.RemoteIPPrefix) == narrowPrefix(b.RemoteIPPrefix)
}

func sameProtocol(a, b *model.SecurityGroupRule) bool {
	if a.Protocol == "" || b.Protocol == "" {
		return a.Protocol == b.Protocol
	}
	return canonicalProtocol(a) == canonicalProtocol(b)
}

func canonicalProtocol(r *model.SecurityGroupRule) int {
	n, _ := protocolNumber(r.Protocol)
	if r.EtherType == "IPv6" && n == protoICMP {
		return protoICMPv6
	}
	return n
}

func sameInt(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func narrowPrefix(p string) string {
	if strings.HasSuffix(p, "/0") {
		return ""
	}
	return p
}
