package rpc

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

func filtered(rules ...model.FilterRule) *model.Attachment {
	return &model.Attachment{
		Kind: model.AttachOVS, Bridge: "br-eth6", PortID: "port", Revision: 1, NetworkID: "net", VnicType: "normal", PhysicalNetwork: "default",
		MAC: "fa:16:3e:00:00:01", LinkState: model.LinkAuto, Filter: &model.Filter{Rules: rules},
	}
}

func TestFiltersTravel(t *testing.T) {
	n := func(v int) *int { return &v }
	for name, a := range map[string]*model.Attachment{
		"none":    filtered(),
		"anybody": filtered(model.FilterRule{Egress: true, Protocol: model.AnyProtocol}),
		"nobody":  filtered(model.FilterRule{IPv6: true, Protocol: 6, PortMin: n(0), PortMax: n(65535), Remotes: []netip.Prefix{}}),
		"members": filtered(model.FilterRule{Protocol: 1, PortMin: n(8), Stateless: true, Remotes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("10.1.0.0/16")}}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeAttachment(EncodeAttachment(a), nil)
			if err != nil || !reflect.DeepEqual(got, a) {
				t.Errorf("%+v, %v; want %+v", got.Filter, err, a.Filter)
			}
		})
	}
	bare := filtered()
	bare.Filter = nil
	if got, err := DecodeAttachment(EncodeAttachment(bare), nil); err != nil || got.Filter != nil {
		t.Errorf("no filter comes as %+v, %v", got.Filter, err)
	}
}

func TestFiltersThatNobodySends(t *testing.T) {
	big := uint32(70000)
	many := make([]string, maxRemotes+1)
	for i := range many {
		many[i] = "10.0.0.1/32"
	}
	for field, f := range map[string]*fabricv1.Filter{
		"filter.rules":          {Rules: make([]*fabricv1.FilterRule, maxRules+1)},
		"filter.rules.protocol": {Rules: []*fabricv1.FilterRule{{Protocol: &big}}},
		"filter.rules.port_min": {Rules: []*fabricv1.FilterRule{{Protocol: new(uint32), PortMin: &big}}},
		"filter.rules.remotes":  {Rules: []*fabricv1.FilterRule{{Remotes: &fabricv1.Remotes{Prefixes: many}}}},
		"of the rule's family":  {Rules: []*fabricv1.FilterRule{{Ipv6: true, Remotes: &fabricv1.Remotes{Prefixes: []string{"10.0.0.1/32"}}}}},
		"is not a prefix":       {Rules: []*fabricv1.FilterRule{{Remotes: &fabricv1.Remotes{Prefixes: []string{"10.0.0.1"}}}}},
		"missing, with ports":   {Rules: []*fabricv1.FilterRule{{PortMax: new(uint32)}}},
		"not of kind":           {},
	} {
		w := EncodeAttachment(filtered())
		w.Filter = f
		if field == "not of kind" {
			w.Kind, w.Bridge = "", ""
			field = "filter"
		}
		if _, err := DecodeAttachment(w, nil); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}
