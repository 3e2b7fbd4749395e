package rpc

import (
	"net/netip"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// EncodeFilter converts to the wire; nil is nil.
func EncodeFilter(f *model.Filter) *fabricv1.Filter {
	if f == nil {
		return nil
	}
	out := &fabricv1.Filter{}
	for i := range f.Rules {
		r := &f.Rules[i]
		w := &fabricv1.FilterRule{
			Egress: r.Egress, Ipv6: r.IPv6, PortMin: optional(r.PortMin), PortMax: optional(r.PortMax), Stateless: r.Stateless,
		}
		if r.Protocol != model.AnyProtocol {
			p := unsigned(r.Protocol)
			w.Protocol = &p
		}
		if r.Remotes != nil {
			w.Remotes = &fabricv1.Remotes{}
			for _, p := range r.Remotes {
				w.Remotes.Prefixes = append(w.Remotes.Prefixes, p.String())
			}
		}
		out.Rules = append(out.Rules, w)
	}
	return out
}

// filter converts from the wire and validates every field.
func (c *checks) filter(in *fabricv1.Filter) *model.Filter {
	if in == nil || !c.count("filter.rules", len(in.GetRules()), maxRules) {
		return nil
	}
	out := &model.Filter{}
	remotes := 0
	for _, w := range in.GetRules() {
		remotes += len(w.GetRemotes().GetPrefixes())
		if !c.count("filter.rules.remotes", remotes, maxRemotes) {
			return nil
		}
		out.Rules = append(out.Rules, c.filterRule(w))
	}
	return out
}

func (c *checks) filterRule(w *fabricv1.FilterRule) model.FilterRule {
	r := model.FilterRule{Egress: w.GetEgress(), IPv6: w.GetIpv6(), Protocol: model.AnyProtocol, Stateless: w.GetStateless()}
	switch {
	case w.Protocol == nil && (w.PortMin != nil || w.PortMax != nil):
		c.fail("filter.rules.protocol", "missing, with ports")
	case w.GetProtocol() > 255:
		c.fail("filter.rules.protocol", "%d is not between 0 and 255", w.GetProtocol())
	case w.Protocol != nil:
		r.Protocol = int(w.GetProtocol())
	}
	for _, x := range []struct {
		field string
		in    *uint32
		out   **int
	}{{"filter.rules.port_min", w.PortMin, &r.PortMin}, {"filter.rules.port_max", w.PortMax, &r.PortMax}} {
		if x.in == nil {
			continue
		}
		if *x.in > 65535 {
			c.fail(x.field, "%d is not between 0 and 65535", *x.in)
			continue
		}
		n := int(*x.in)
		*x.out = &n
	}
	if w.GetRemotes() == nil {
		return r
	}
	r.Remotes = make([]netip.Prefix, 0, len(w.GetRemotes().GetPrefixes()))
	for _, s := range w.GetRemotes().GetPrefixes() {
		p := c.prefix("filter.rules.remotes", s)
		if c.failed() {
			return r
		}
		if p.Addr().Is4() == r.IPv6 || p.Addr().Is4In6() {
			c.fail("filter.rules.remotes", "%s is not of the rule's family", s)
			return r
		}
		r.Remotes = append(r.Remotes, p)
	}
	return r
}

func optional(v *int) *uint32 {
	if v == nil {
		return nil
	}
	n := unsigned(*v)
	return &n
}
