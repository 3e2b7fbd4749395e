package router

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"neutrino/internal/model"
)

const (
	tableName   = "neutrino"     // family inet
	mapIn       = "floating_in"  // floating IP -> fixed IP
	mapOut      = "floating_out" // fixed IP -> floating IP
	statusDNAT  = 1 << 5         // IPS_DST_NAT, include/uapi/linux/netfilter/nf_conntrack_common.h
	tcpSYN      = 0x02
	tcpRST      = 0x04
	optionMSS   = 2
	registerOne = 1
)

// metadataIP is where instances ask for metadata (link-local, RFC 3927).
var metadataIP = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// ruleset is the table of one router.
type ruleset struct {
	chains   []chain
	floating map[netip.Addr]netip.Addr // floating IP -> fixed IP
}

// chain is a base chain that accepts what its rules do not decide.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     nftables.ChainHook
	priority nftables.ChainPriority
	rules    []rule
}

// rule is its text, as nft(8) would have it, and what the kernel takes. The text is kept in
// the kernel as the rule's comment, and tells whether the rule is there.
type rule struct {
	text  string
	exprs []expr.Any
}

// part of a rule.
type part struct {
	text  string
	exprs []expr.Any
}

func newRule(parts ...part) rule {
	var r rule
	var words []string
	for _, p := range parts {
		words = append(words, p.text)
		r.exprs = append(r.exprs, p.exprs...)
	}
	r.text = strings.Join(words, " ")
	return r
}

func newRuleset(p *plan, spec *model.RouterSpec, floating map[netip.Addr]netip.Addr, metadataPort uint16) ruleset {
	outside := ""
	for _, d := range p.devices {
		if d.gateway {
			outside = d.name
		}
	}
	return ruleset{floating: floating, chains: []chain{
		{"prerouting", nftables.ChainTypeNAT, *nftables.ChainHookPrerouting, *nftables.ChainPriorityNATDest, prerouting(outside, metadataPort)},
		{"input", nftables.ChainTypeFilter, *nftables.ChainHookInput, *nftables.ChainPriorityFilter, input(metadataPort)},
		{"forward", nftables.ChainTypeFilter, *nftables.ChainHookForward, *nftables.ChainPriorityFilter, forward(outside, spec)},
		{"postrouting", nftables.ChainTypeNAT, *nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource, postrouting(outside, spec)},
	}}
}

func prerouting(outside string, metadataPort uint16) []rule {
	var out []rule
	if metadataPort != 0 {
		parts := []part{ipv4()}
		if outside != "" {
			parts = append(parts, iif(outside, false))
		}
		out = append(out, newRule(append(parts, daddr(metadataIP), tcpPort(80), counter(), redirect(metadataPort))...))
	}
	if outside != "" {
		out = append(out, newRule(ipv4(), translate(expr.NATTypeDestNAT, mapIn)))
	}
	return out
}

// input keeps the metadata service to those who asked at its address.
func input(metadataPort uint16) []rule {
	if metadataPort == 0 {
		return nil
	}
	return []rule{newRule(tcpPort(metadataPort), translated(false), counter(), verdict(expr.VerdictDrop))}
}

func forward(outside string, spec *model.RouterSpec) []rule {
	var out []rule
	if mtusDiffer(spec) {
		out = append(out, newRule(clampMSS()...))
	}
	out = append(out,
		newRule(state(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED, "established,related"), counter(), verdict(expr.VerdictAccept)),
		newRule(state(expr.CtStateBitINVALID, "invalid"), counter(), verdict(expr.VerdictDrop)))
	if outside == "" {
		return out
	}
	if spec.EnableSNAT {
		out = append(out,
			newRule(iif(outside, true), ipv4(), translated(false), counter(), verdict(expr.VerdictDrop)))
	}
	return out
}

func mtusDiffer(spec *model.RouterSpec) bool {
	mtu := 0
	if spec.Gateway != nil {
		mtu = spec.Gateway.MTU
	}
	for i := range spec.Interfaces {
		if mtu == 0 {
			mtu = spec.Interfaces[i].MTU
		}
		if spec.Interfaces[i].MTU != mtu {
			return true
		}
	}
	return false
}

func postrouting(outside string, spec *model.RouterSpec) []rule {
	if outside == "" {
		return nil
	}
	out := []rule{
		newRule(oif(outside, false), translated(false), counter(), verdict(expr.VerdictAccept)),
		newRule(ipv4(), translate(expr.NATTypeSourceNAT, mapOut)),
	}
	gw := snat4(spec)
	if !gw.IsValid() {
		return out
	}
	if spec.EnableSNAT {
		out = append(out, newRule(ipv4(), oif(outside, true), counter(), snat(gw)))
	}
	// From inside to a floating IP: the answer must come back through the router.
	return append(out, newRule(ipv4(), iif(outside, false), oif(outside, false), counter(), snat(gw)))
}

func ipv4() part {
	return part{"meta nfproto ipv4", []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: registerOne},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerOne, Data: []byte{unix.NFPROTO_IPV4}},
	}}
}

func iif(name string, is bool) part { return ifname("iifname", expr.MetaKeyIIFNAME, name, is) }
func oif(name string, is bool) part { return ifname("oifname", expr.MetaKeyOIFNAME, name, is) }

func ifname(word string, key expr.MetaKey, name string, is bool) part {
	op, sign := expr.CmpOpEq, ""
	if !is {
		op, sign = expr.CmpOpNeq, "!= "
	}
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return part{fmt.Sprintf("%s %s%q", word, sign, name), []expr.Any{
		&expr.Meta{Key: key, Register: registerOne},
		&expr.Cmp{Op: op, Register: registerOne, Data: padded},
	}}
}

func daddr(a netip.Addr) part {
	return part{"ip daddr " + a.String(), []expr.Any{
		&expr.Payload{DestRegister: registerOne, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerOne, Data: a.AsSlice()},
	}}
}

func tcp() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: registerOne},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerOne, Data: []byte{unix.IPPROTO_TCP}},
	}
}

func tcpPort(port uint16) part {
	return part{fmt.Sprintf("tcp dport %d", port), append(tcp(),
		&expr.Payload{DestRegister: registerOne, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerOne, Data: binaryutil.BigEndian.PutUint16(port)})}
}

// ctBits matches any of the bits, or none of them.
func ctBits(key expr.CtKey, bits uint32, any bool) []expr.Any {
	op := expr.CmpOpNeq
	if !any {
		op = expr.CmpOpEq
	}
	return []expr.Any{
		&expr.Ct{Key: key, Register: registerOne},
		&expr.Bitwise{
			SourceRegister: registerOne, DestRegister: registerOne, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: binaryutil.NativeEndian.PutUint32(0),
		},
		&expr.Cmp{Op: op, Register: registerOne, Data: binaryutil.NativeEndian.PutUint32(0)},
	}
}

func state(bits uint32, text string) part {
	return part{"ct state " + text, ctBits(expr.CtKeySTATE, bits, true)}
}

// translated: the flow's destination was translated.
func translated(is bool) part {
	sign := ""
	if !is {
		sign = "! "
	}
	return part{"ct status " + sign + "dnat", ctBits(expr.CtKeySTATUS, statusDNAT, is)}
}

func counter() part { return part{"counter", []expr.Any{&expr.Counter{}}} }

func verdict(kind expr.VerdictKind) part {
	text := "accept"
	if kind == expr.VerdictDrop {
		text = "drop"
	}
	return part{text, []expr.Any{&expr.Verdict{Kind: kind}}}
}

// clampMSS lowers what TCP is told to what the route's MTU allows; the kernel never raises
// it (net/netfilter/nft_exthdr.c).
func clampMSS() []part {
	exprs := append(tcp(),
		&expr.Payload{DestRegister: registerOne, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: registerOne, DestRegister: registerOne, Len: 1, Mask: []byte{tcpSYN | tcpRST}, Xor: []byte{0}},
		&expr.Cmp{Op: expr.CmpOpEq, Register: registerOne, Data: []byte{tcpSYN}},
		&expr.Counter{},
		&expr.Rt{Register: registerOne, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: registerOne, DestRegister: registerOne, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: registerOne, Type: optionMSS, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	)
	return []part{{"tcp flags syn / syn,rst counter tcp option maxseg size set rt mtu", exprs}}
}

func redirect(port uint16) part {
	return part{fmt.Sprintf("redirect to :%d", port), []expr.Any{
		&expr.Immediate{Register: registerOne, Data: binaryutil.BigEndian.PutUint16(port)},
		&expr.Redir{RegisterProtoMin: registerOne},
	}}
}

func snat(to netip.Addr) part {
	return part{"snat ip to " + to.String() + " fully-random", []expr.Any{
		&expr.Immediate{Register: registerOne, Data: to.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: registerOne, FullyRandom: true},
	}}
}

// translate looks the packet's address up in a map; what is not there does not match.
func translate(kind expr.NATType, set string) part {
	offset, text := uint32(16), "dnat ip to ip daddr map @"
	if kind == expr.NATTypeSourceNAT {
		offset, text = 12, "snat ip to ip saddr map @"
	}
	return part{"counter " + text + set, []expr.Any{
		&expr.Payload{DestRegister: registerOne, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Lookup{SourceRegister: registerOne, DestRegister: registerOne, IsDestRegSet: true, SetName: set},
		&expr.Counter{},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: registerOne},
	}}
}
