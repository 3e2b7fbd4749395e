package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// Verdict says what became of a request, and why. Its values are the label of a metric.
type Verdict string

// The verdicts. Those without a reply are silence, as RFC 2131 asks for.
const (
	Offered     Verdict = "offer"
	Acked       Verdict = "ack"
	Refused     Verdict = "nak"          // a wrong address was asked for
	Informed    Verdict = "inform"       // options without a lease
	Released    Verdict = "release"      // nothing to do: the lease is the port's
	Declined    Verdict = "decline"      // somebody else uses the port's address
	Foreign     Verdict = "foreign"      // no port has this MAC
	NoAddress   Verdict = "no_address"   // the port has none in a subnet served here
	OtherServer Verdict = "other_server" // the client chose another server
	NotRequest  Verdict = "not_request"  // not from an Ethernet client, or BOOTP
	Malformed   Verdict = "malformed"
)

const (
	headerLen  = 28  // of IP and UDP
	minMessage = 576 // an IP datagram that every client accepts (RFC 2131, 2)
)

// Handle answers one request on behalf of the network. The reply is nil when silence
// is the answer. It is pure and safe for concurrent use; it does not keep req.
func Handle(v *View, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Verdict) {
	if req.OpCode != dhcpv4.OpcodeBootRequest || req.HWType != iana.HWTypeEthernet || len(req.ClientHWAddr) != 6 {
		return nil, NotRequest
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform,
		dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease:
	default:
		return nil, NotRequest
	}
	h := v.lookup(req)
	if h == nil {
		return v.stranger(req)
	}
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return v.discover(h, req)
	case dhcpv4.MessageTypeRequest:
		return v.request(h, req)
	case dhcpv4.MessageTypeInform:
		return v.inform(h, req)
	case dhcpv4.MessageTypeDecline:
		return nil, v.ours(req, Declined)
	default:
		return nil, v.ours(req, Released)
	}
}

// stranger has no port here. One that goes on with an address of ours had one: its lease has
// ended with its port, and it is told so. Anybody else is not our client.
func (v *View) stranger(req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Verdict) {
	if req.MessageType() != dhcpv4.MessageTypeRequest {
		return nil, Foreign
	}
	if v.ours(req, Refused) != Refused {
		return nil, OtherServer
	}
	want := requested(req)
	if !want.IsValid() {
		want = addr(req.ClientIPAddr)
	}
	relay := addr(req.GatewayIPAddr)
	for _, s := range v.subnets {
		if s.cidr.Contains(want) && (!relay.IsValid() || s.cidr.Contains(relay)) {
			return v.nak(req, lease{subnet: s}, "the address was a port's that is gone"), Refused
		}
	}
	return nil, Foreign
}

func (v *View) discover(h *host, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Verdict) {
	l, ok := h.lease(addr(req.GatewayIPAddr), requested(req))
	if !ok {
		return nil, NoAddress
	}
	return v.reply(req, h, l, dhcpv4.MessageTypeOffer), Offered
}

// request tells the client's state from what it filled in (RFC 2131, 4.3.2, table 4).
func (v *View) request(h *host, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Verdict) {
	chosen, hasChosen := option4(req, dhcpv4.OptionServerIdentifier)
	if hasChosen && !slices.Contains(v.own, chosen) {
		return nil, OtherServer
	}
	want := requested(req) // SELECTING, INIT-REBOOT
	if !want.IsValid() {
		want = addr(req.ClientIPAddr) // RENEWING, REBINDING
	}
	if !want.IsValid() {
		return nil, Malformed
	}
	l, ok := h.lease(addr(req.GatewayIPAddr), want)
	if !ok || l.addr != want {
		return v.nak(req, l, "not this port's address on this network"), Refused
	}
	return v.reply(req, h, l, dhcpv4.MessageTypeAck), Acked
}

func (v *View) inform(h *host, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, Verdict) {
	have := addr(req.ClientIPAddr)
	if !have.IsValid() {
		return nil, Malformed
	}
	l, ok := h.lease(addr(req.GatewayIPAddr), have)
	if !ok {
		return nil, NoAddress
	}
	return v.reply(req, h, l, dhcpv4.MessageTypeInform), Informed
}

// ours is verdict unless the message is meant for another server.
func (v *View) ours(req *dhcpv4.DHCPv4, verdict Verdict) Verdict {
	if id, ok := option4(req, dhcpv4.OptionServerIdentifier); ok && !slices.Contains(v.own, id) {
		return OtherServer
	}
	return verdict
}

func (v *View) base(req *dhcpv4.DHCPv4, t dhcpv4.MessageType, server netip.Addr) *dhcpv4.DHCPv4 {
	r := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        req.HWType,
		TransactionID: req.TransactionID,
		Flags:         req.Flags,
		ClientIPAddr:  net.IPv4zero,
		YourIPAddr:    net.IPv4zero,
		ServerIPAddr:  net.IPv4zero,
		GatewayIPAddr: req.GatewayIPAddr,
		ClientHWAddr:  req.ClientHWAddr,
		Options:       dhcpv4.Options{},
	}
	r.Options.Update(dhcpv4.OptMessageType(t))
	r.Options.Update(dhcpv4.OptServerIdentifier(server.AsSlice()))
	// RFC 6842 and RFC 3046: both go back as they came.
	for _, c := range []dhcpv4.OptionCode{dhcpv4.OptionClientIdentifier, dhcpv4.OptionRelayAgentInformation} {
		if req.Options.Has(c) {
			r.Options[c.Code()] = slices.Clone(req.Options.Get(c))
		}
	}
	return r
}

func (v *View) nak(req *dhcpv4.DHCPv4, l lease, why string) *dhcpv4.DHCPv4 {
	server := v.own[0]
	if l.subnet != nil {
		server = l.subnet.server
	}
	r := v.base(req, dhcpv4.MessageTypeNak, server)
	if addr(req.GatewayIPAddr).IsValid() {
		r.SetBroadcast() // so that the relay broadcasts it (RFC 2131, 4.3.2)
	}
	r.Options.Update(dhcpv4.OptMessage(why))
	return r
}

// reply builds an OFFER, an ACK, or (t = INFORM) an ACK without a lease.
func (v *View) reply(req *dhcpv4.DHCPv4, h *host, l lease, t dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	inform := t == dhcpv4.MessageTypeInform
	if inform {
		t = dhcpv4.MessageTypeAck
	}
	r := v.base(req, t, l.subnet.server)
	if t == dhcpv4.MessageTypeAck {
		r.ClientIPAddr = req.ClientIPAddr
	}
	if h.next.IsValid() {
		r.ServerIPAddr = h.next.AsSlice()
	}
	r.BootFileName = h.file
	must := []uint8{53, 54, 61, 82, 1, 26}
	if !inform {
		r.YourIPAddr = l.addr.AsSlice()
		v.setTimes(r, h)
		must = append(must, 51, 58, 59)
	}
	all := v.parameters(h, l)
	for code, data := range all {
		_, extra := h.opts[code]
		if extra || slices.Contains(must, code) || wants(req, code) {
			r.Options[code] = data
		}
	}
	for _, code := range h.hidden {
		delete(r.Options, code)
	}
	fit(r, req, v.mtu, must)
	return r
}

// setTimes writes the lease time and the moments to renew (half) and rebind (7/8),
// unless the port was given its own.
func (v *View) setTimes(r *dhcpv4.DHCPv4, h *host) {
	total := v.lease
	if own, ok := h.opts[dhcpv4.OptionIPAddressLeaseTime.Code()]; ok && len(own) == 4 {
		total = binary.BigEndian.Uint32(own)
	}
	set := func(code dhcpv4.OptionCode, seconds uint32) {
		r.Options[code.Code()] = binary.BigEndian.AppendUint32(nil, seconds)
	}
	set(dhcpv4.OptionIPAddressLeaseTime, total)
	if total == infinite {
		return
	}
	set(dhcpv4.OptionRenewTimeValue, total/2)
	set(dhcpv4.OptionRebindingTimeValue, uint32(uint64(total)*7/8))
}

// parameters are all options the client may have, the port's own over the subnet's.
func (v *View) parameters(h *host, l lease) dhcpv4.Options {
	all := dhcpv4.Options{}
	for code, data := range l.subnet.opts {
		all[code] = data
	}
	if v.mtu > 0 {
		all[dhcpv4.OptionInterfaceMTU.Code()] = binary.BigEndian.AppendUint16(nil, v.mtu)
	}
	if v.domain != "" {
		all[dhcpv4.OptionDomainName.Code()] = []byte(v.domain)
	}
	all[dhcpv4.OptionHostName.Code()] = []byte(h.hostName(l.addr))
	for code, data := range h.opts {
		all[code] = data
	}
	return all
}

// wants reports whether the client asked for the option. One that sent no list gets
// what everybody can use.
func wants(req *dhcpv4.DHCPv4, code uint8) bool {
	list := req.Options.Get(dhcpv4.OptionParameterRequestList)
	if len(list) == 0 {
		return code != optionMicrosoftRoutes.Code()
	}
	return slices.Contains(list, code)
}

// fit drops options until the message fits what the client accepts, those that it
// can best do without first.
func fit(r, req *dhcpv4.DHCPv4, mtu uint16, must []uint8) {
	limit := minMessage
	if m, err := req.MaxMessageSize(); err == nil {
		limit = max(limit, int(m))
	}
	if mtu > 0 {
		limit = min(limit, max(int(mtu), minMessage))
	}
	if len(r.ToBytes())+headerLen <= limit {
		return
	}
	essential := []uint8{121, 3, 6, 66, 67, 28, 12, 15}
	var rest []uint8
	for code := range r.Options {
		if !slices.Contains(must, code) && !slices.Contains(essential, code) {
			rest = append(rest, code)
		}
	}
	slices.Sort(rest) // the highest numbers go first
	order := append(slices.Clone(essential), rest...)
	for i := len(order) - 1; i >= 0 && len(r.ToBytes())+headerLen > limit; i-- {
		delete(r.Options, order[i])
	}
}

func requested(req *dhcpv4.DHCPv4) netip.Addr {
	a, _ := option4(req, dhcpv4.OptionRequestedIPAddress)
	return a
}

// option4 reads an option that holds one address; 0.0.0.0 counts as absent.
func option4(req *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (netip.Addr, bool) {
	b := req.Options.Get(code)
	if len(b) != 4 {
		return netip.Addr{}, false
	}
	a := netip.AddrFrom4([4]byte(b))
	if a.IsUnspecified() {
		return netip.Addr{}, false
	}
	return a, true
}

// addr reads a header field; 0.0.0.0 gives the zero Addr.
func addr(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip.To4())
	if !ok || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}
