package dhcp

import (
	"errors"
	"net"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// serve6 answers one frame.
func (s *Server) serve6(frame []byte) {
	v := s.view.Load()
	if v.six == nil {
		return
	}
	a, err := parseFrame6(frame)
	if errors.Is(err, errNotDHCP) {
		return
	}
	if err != nil {
		s.m.verdicts.WithLabelValues(string(Malformed)).Inc()
		s.log.Debug("malformed DHCPv6 message", "from", net.HardwareAddr(frame[6:12]).String(), "err", err)
		return
	}
	kind := a.request.Msg.MessageType.String()
	reply, verdict := Handle6(v, a.request)
	s.m.requests.WithLabelValues(typeLabel(kind)).Inc()
	s.m.verdicts.WithLabelValues(string(verdict)).Inc()
	log := s.log.With("type", kind, "mac", a.request.MAC.String(), "verdict", string(verdict))
	if verdict == Declined {
		log.Warn("a client found its address in use by somebody else", "addresses", held(a.request.Msg))
	}
	if reply == nil {
		log.Debug("DHCPv6 message not answered")
		return
	}
	payload, port := a.envelop(reply)
	out := buildFrame6(s.mac, a.from, s.local, a.src, serverPort6, port, payload)
	if err := s.ends[len(s.ends)-1].send(out, a.from); err != nil {
		s.m.failures.Inc()
		log.Warn("DHCPv6 reply not sent", "err", err)
		return
	}
	log.Info("DHCPv6", "addresses", leased(reply), "relays", len(a.relays))
}

// leased are the addresses that a reply gives.
func leased(m *dhcpv6.Message) []string {
	var out []string
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if a.ValidLifetime > 0 {
				out = append(out, a.IPv6Addr.String())
			}
		}
	}
	return out
}
