package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// The verdicts that DHCPv6 has besides.
const (
	Confirmed    Verdict = "confirm"
	Withdrawn    Verdict = "withdrawn"     // addresses that are not the client's (any more) ended
	UseMulticast Verdict = "use_multicast" // a client spoke to us alone without leave
)

// maxIAs are the identity associations of one message that are answered.
const maxIAs = 8

// Request6 is a DHCPv6 message as it came: the client's own, out of its relays' envelopes.
type Request6 struct {
	Msg     *dhcpv6.Message
	MAC     net.HardwareAddr // the link-layer source, or what the first relay saw (RFC 6939); nil = not known
	Relayed bool
	Link    netip.Addr // link-address of the relay next to the client; the zero Addr = not said
	Unicast bool       // sent to an address of ours, not to all servers
}

// Handle6 answers one message on behalf of the network. The reply is nil when silence is the
// answer. It is pure and safe for concurrent use; it does not keep the request.
func Handle6(v *View, r Request6) (*dhcpv6.Message, Verdict) {
	if v.six == nil {
		return nil, NoAddress
	}
	s := v.six
	if verdict, ok := s.check(r); !ok {
		return nil, verdict
	}
	if r.Unicast && !r.Relayed {
		return s.unicast(r)
	}
	if r.Link.IsValid() && !s.onLink(r.Link) {
		return nil, NoAddress // a relay of some other link
	}
	h := s.lookup(r)
	if h == nil {
		return s.stranger(r)
	}
	switch r.Msg.MessageType {
	case dhcpv6.MessageTypeSolicit:
		return s.solicit(h, r)
	case dhcpv6.MessageTypeRequest:
		return s.leases(h, r, false), Acked
	case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		return s.leases(h, r, true), Acked
	case dhcpv6.MessageTypeConfirm:
		return s.confirm(h, r)
	case dhcpv6.MessageTypeInformationRequest:
		m := s.reply(r, dhcpv6.MessageTypeReply)
		s.options(m, r, h)
		return m, Informed
	case dhcpv6.MessageTypeRelease:
		return s.end(h, r), Released
	default:
		return s.end(h, r), Declined
	}
}

// check is RFC 8415, 16: what is to be discarded.
func (s *view6) check(r Request6) (Verdict, bool) {
	o := r.Msg.Options
	client, server := o.ClientID(), o.ServerID()
	needs := func(wantClient, wantServer, mayServer bool) (Verdict, bool) {
		switch {
		case wantClient && client == nil, wantServer && server == nil, !mayServer && server != nil:
			return Malformed, false
		case server != nil && !server.Equal(s.id):
			return OtherServer, false
		}
		return "", true
	}
	switch r.Msg.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		return needs(true, false, false)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		return needs(true, true, true)
	case dhcpv6.MessageTypeInformationRequest:
		if len(o.IANA()) > 0 || len(o.IATA()) > 0 || len(o.IAPD()) > 0 {
			return Malformed, false
		}
		return needs(false, false, true)
	default:
		return NotRequest, false
	}
}

// unicast tells a client to speak to all servers (RFC 8415, 18.3.2): we give no leave for less.
func (s *view6) unicast(r Request6) (*dhcpv6.Message, Verdict) {
	switch r.Msg.MessageType {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		m := s.reply(r, dhcpv6.MessageTypeReply)
		m.AddOption(status(iana.StatusUseMulticast, "speak to all servers"))
		return m, UseMulticast
	default:
		return nil, NotRequest
	}
}

// lookup finds the port by the link-layer address that was seen; a DUID that holds one counts
// where none of ours was seen.
func (s *view6) lookup(r Request6) *host6 {
	if h, ok := s.hosts[r.MAC.String()]; ok {
		return h
	}
	var mac net.HardwareAddr
	switch d := r.Msg.Options.ClientID().(type) {
	case *dhcpv6.DUIDLL:
		mac = d.LinkLayerAddr
	case *dhcpv6.DUIDLLT:
		mac = d.LinkLayerAddr
	}
	return s.hosts[mac.String()]
}

// stranger has no port here (any more): what it holds of our subnets ends, of others' nothing
// is known.
func (s *view6) stranger(r Request6) (*dhcpv6.Message, Verdict) {
	switch r.Msg.MessageType {
	case dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		if ours := slices.ContainsFunc(held(r.Msg), s.onLink); ours {
			return s.leases(&host6{}, r, true), Withdrawn
		}
	case dhcpv6.MessageTypeConfirm:
		if ours := slices.ContainsFunc(held(r.Msg), s.onLink); ours {
			return s.confirm(&host6{}, r)
		}
	case dhcpv6.MessageTypeRelease:
		return s.end(&host6{}, r), Released
	}
	return nil, Foreign
}

func (s *view6) solicit(h *host6, r Request6) (*dhcpv6.Message, Verdict) {
	if r.Msg.GetOneOption(dhcpv6.OptionRapidCommit) != nil && len(h.addrs) > 0 {
		m := s.leases(h, r, false)
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
		return m, Acked
	}
	m := s.leases(h, r, false)
	m.MessageType = dhcpv6.MessageTypeAdvertise
	m.AddOption(dhcpv6.OptPreference(255)) // whoever else serves the network says the same
	return m, Offered
}

// confirm says whether the client may go on with what it has (RFC 8415, 18.3.3).
func (s *view6) confirm(h *host6, r Request6) (*dhcpv6.Message, Verdict) {
	have := held(r.Msg)
	if len(have) == 0 {
		return nil, Malformed
	}
	m := s.reply(r, dhcpv6.MessageTypeReply)
	for _, a := range have {
		if !slices.Contains(h.addrs, a) {
			m.AddOption(status(iana.StatusNotOnLink, "not this port's address on this network"))
			return m, Refused
		}
	}
	m.AddOption(status(iana.StatusSuccess, "all addresses are right"))
	return m, Confirmed
}

// end answers a release or a refusal of addresses; a lease is its port's all the same.
func (s *view6) end(h *host6, r Request6) *dhcpv6.Message {
	m := s.reply(r, dhcpv6.MessageTypeReply)
	m.AddOption(status(iana.StatusSuccess, ""))
	for _, ia := range clipTo(r.Msg.Options.IANA(), maxIAs) {
		mine := slices.ContainsFunc(ia.Options.Addresses(), func(a *dhcpv6.OptIAAddress) bool {
			return slices.Contains(h.addrs, address(a.IPv6Addr))
		})
		if !mine {
			m.AddOption(&dhcpv6.OptIANA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{
				Options: dhcpv6.Options{status(iana.StatusNoBinding, "no such address")},
			}})
		}
	}
	return m
}

// leases is a reply with the port's addresses. Those that the client holds and that are not
// its own are ended when it extends what it has.
func (s *view6) leases(h *host6, r Request6, extend bool) *dhcpv6.Message {
	m := s.reply(r, dhcpv6.MessageTypeReply)
	ias := clipTo(r.Msg.Options.IANA(), maxIAs)
	for i, mine := range share(h.addrs, ias) {
		out := &dhcpv6.OptIANA{IaId: ias[i].IaId}
		if len(mine) > 0 {
			out.T1, out.T2 = s.times()
		}
		for _, a := range mine {
			out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: s.lease, ValidLifetime: s.lease})
		}
		if extend {
			for _, a := range wishes(ias[i]) {
				if !slices.Contains(mine, a) {
					out.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice()})
				}
			}
		}
		switch {
		case len(out.Options.Options) > 0:
		case extend:
			out.Options.Add(status(iana.StatusNoBinding, "no such address"))
		default:
			out.Options.Add(status(iana.StatusNoAddrsAvail, "the port has no address to give here"))
		}
		m.AddOption(out)
	}
	for _, ia := range clipTo(r.Msg.Options.IATA(), maxIAs) {
		m.AddOption(&dhcpv6.OptIATA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{
			Options: dhcpv6.Options{status(iana.StatusNoAddrsAvail, "no temporary addresses")},
		}})
	}
	for _, ia := range clipTo(r.Msg.Options.IAPD(), maxIAs) {
		m.AddOption(&dhcpv6.OptIAPD{IaId: ia.IaId, Options: dhcpv6.PDOptions{
			Options: dhcpv6.Options{status(iana.StatusNoPrefixAvail, "no prefixes are delegated")},
		}})
	}
	s.options(m, r, h)
	return m
}

// share gives each association those of its wishes that are the port's, and the first one the
// rest: every server of the network shares alike.
func share(addrs []netip.Addr, ias []*dhcpv6.OptIANA) [][]netip.Addr {
	out := make([][]netip.Addr, len(ias))
	rest := slices.Clone(addrs)
	for i, ia := range ias {
		for _, w := range wishes(ia) {
			if j := slices.Index(rest, w); j >= 0 {
				out[i] = append(out[i], w)
				rest = slices.Delete(rest, j, j+1)
			}
		}
	}
	if len(out) > 0 {
		out[0] = append(out[0], rest...)
	}
	return out
}

// times are when to renew and to rebind: at half and at four fifths of the lease.
func (s *view6) times() (t1, t2 time.Duration) {
	if s.lease >= infinite*time.Second {
		return s.lease, s.lease
	}
	return (s.lease / 2).Truncate(time.Second), (s.lease / 5 * 4).Truncate(time.Second)
}

func (s *view6) reply(r Request6, t dhcpv6.MessageType) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: t, TransactionID: r.Msg.TransactionID}
	if id := r.Msg.GetOneOption(dhcpv6.OptionClientID); id != nil {
		m.AddOption(id)
	}
	m.AddOption(dhcpv6.OptServerID(s.id))
	return m
}

// options adds what the client asked for, or everything where it did not say, and the port's
// own always.
func (s *view6) options(m *dhcpv6.Message, r Request6, h *host6) {
	asked := r.Msg.Options.RequestedOptions()
	may := func(code dhcpv6.OptionCode) bool {
		_, own := h.opts[uint16(code)]
		return !own && !slices.Contains(h.hidden, uint16(code)) && (len(asked) == 0 || slices.Contains(asked, code))
	}
	if len(h.dns) > 0 && may(dhcpv6.OptionDNSRecursiveNameServer) {
		servers := make([]net.IP, len(h.dns))
		for i, a := range h.dns {
			servers[i] = a.AsSlice()
		}
		m.AddOption(dhcpv6.OptDNS(servers...))
	}
	if len(s.search) > 0 && may(dhcpv6.OptionDomainSearchList) {
		m.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: s.search}))
	}
	if r.Msg.MessageType == dhcpv6.MessageTypeInformationRequest && may(dhcpv6.OptionInformationRefreshTime) {
		// RFC 8415, 21.23: at least 600 s; a day without an option.
		m.AddOption(dhcpv6.OptInformationRefreshTime(min(max(s.lease, 10*time.Minute), DefaultLeaseTime)))
	}
	codes := make([]uint16, 0, len(h.opts))
	for c := range h.opts {
		codes = append(codes, c)
	}
	slices.Sort(codes)
	for _, c := range codes {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionCode(c), OptionData: h.opts[c]})
	}
}

func status(code iana.StatusCode, text string) *dhcpv6.OptStatusCode {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: text}
}

// wishes are the addresses of an association, each once.
func wishes(ia *dhcpv6.OptIANA) []netip.Addr {
	var out []netip.Addr
	for _, a := range ia.Options.Addresses() {
		if w := address(a.IPv6Addr); w.IsValid() && !w.IsUnspecified() && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return clipTo(out, maxIAs)
}

// held are all addresses that a client says it has.
func held(m *dhcpv6.Message) []netip.Addr {
	var out []netip.Addr
	for _, ia := range m.Options.IANA() {
		out = append(out, wishes(ia)...)
	}
	return out
}

func address(ip net.IP) netip.Addr {
	if len(ip) != net.IPv6len {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte(ip))
}

func clipTo[T any](in []T, most int) []T { return in[:min(len(in), most)] }
