package rpc

import (
	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// Sharing converts the attachments of one message to the wire. Ports of the same security groups have
// the same filter, with every member of their remote groups: it is said once. The zero value is
// ready for use.
type Sharing struct {
	Filters []*fabricv1.Filter // for the message

	said map[*model.Filter]uint32
	like map[likeness][]*model.Filter
}

// likeness is what filters have in common that may be equal.
type likeness struct{ rules, remotes int }

func likenessOf(f *model.Filter) likeness {
	l := likeness{rules: len(f.Rules)}
	for i := range f.Rules {
		l.remotes += len(f.Rules[i].Remotes)
	}
	return l
}

// Encode converts one attachment.
func (s *Sharing) Encode(a *model.Attachment) *fabricv1.Attachment {
	out := encodeAttachment(a)
	if a.Filter != nil {
		out.SharedFilter = s.place(a.Filter)
	}
	return out
}

// place is where the message has the filter, counted from 1.
func (s *Sharing) place(f *model.Filter) uint32 {
	if n := s.said[f]; n > 0 {
		return n
	}
	if s.said == nil {
		s.said, s.like = map[*model.Filter]uint32{}, map[likeness][]*model.Filter{}
	}
	l := likenessOf(f)
	for _, o := range s.like[l] {
		if o.Equal(f) {
			s.said[f] = s.said[o]
			return s.said[f]
		}
	}
	s.Filters = append(s.Filters, EncodeFilter(f))
	s.said[f], s.like[l] = unsigned(len(s.Filters)), append(s.like[l], f)
	return s.said[f]
}

// Filters are those that came with a message.
type Filters []sharedFilter

type sharedFilter struct {
	filter *model.Filter
	err    error
}

// DecodeFilters converts a message's filters from the wire and validates them. A wrong one is an error of
// the attachments that have it. All those that have the same one get the same pointer.
func DecodeFilters(in []*fabricv1.Filter) (Filters, error) {
	var c checks
	if !c.count("filters", len(in), MaxAttachments) {
		return nil, c.err
	}
	out := make(Filters, 0, len(in))
	for _, w := range in {
		var one checks
		f := one.filter(w)
		if f == nil && !one.failed() {
			one.fail("filter", "missing")
		}
		out = append(out, sharedFilter{f, one.err})
	}
	return out, nil
}

// filterOf is an attachment's filter, its own or one of the message's.
func (c *checks) filterOf(in *fabricv1.Attachment, shared Filters) *model.Filter {
	own, n := in.GetFilter(), in.GetSharedFilter()
	switch {
	case own == nil && n == 0:
		return nil
	case in.GetKind() != model.AttachOVS:
		c.fail("filter", "a VF has none")
	case own != nil && n > 0:
		c.fail("shared_filter", "%d, and a filter of its own", n)
	case own != nil:
		return c.filter(own)
	case int64(n) > int64(len(shared)):
		c.fail("shared_filter", "%d, and the message has %d", n, len(shared))
	case shared[n-1].err != nil && !c.failed():
		c.err = shared[n-1].err
	default:
		return shared[n-1].filter
	}
	return nil
}

// Checker reports what would keep an agent from accepting attachments, and looks at a filter that many
// have once. The zero value is ready for use.
type Checker struct{ seen map[*model.Filter]error }

// Check is [CheckAttachment].
func (k *Checker) Check(a *model.Attachment) error {
	if a.VLAN < 0 || a.MTU < 0 || a.MinTxRate < 0 || a.MaxTxRate < 0 {
		return invalid("attachment", "a negative vlan, mtu or rate")
	}
	w := encodeAttachment(a)
	if a.Filter == nil {
		_, err := DecodeAttachment(w, nil)
		return err
	}
	err, seen := k.seen[a.Filter]
	if !seen {
		var c checks
		c.filter(EncodeFilter(a.Filter))
		if k.seen == nil {
			k.seen = map[*model.Filter]error{}
		}
		err, k.seen[a.Filter] = c.err, c.err
	}
	w.SharedFilter = 1
	_, err = DecodeAttachment(w, Filters{{a.Filter, err}})
	return err
}
