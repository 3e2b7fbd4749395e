package fabric

import (
	"context"
	"net/netip"
	"sync"
	"testing"

	"neutrino/internal/agent"
	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// plugged are bridges on which every port is plugged, and their filters.
type plugged struct {
	mu  sync.Mutex
	got map[string]*model.Attachment
}

func (b *plugged) Set(_ context.Context, want []*model.Attachment) (map[string]agent.BridgePort, error) {
	out := map[string]agent.BridgePort{}
	for i, a := range want {
		out[a.PortID] = agent.BridgePort{Interface: "tap", OFPort: i + 1, Ready: true}
	}
	return out, nil
}

func (*plugged) Events() <-chan struct{} { return nil }

type pluggedFilters struct{ *plugged }

func (f pluggedFilters) Set(_ context.Context, _ string, ports []agent.FilterPort) map[string]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got = map[string]*model.Attachment{}
	for _, p := range ports {
		f.got[p.Attachment.PortID] = p.Attachment
	}
	return nil
}

// TestAFilterAloneIsToldAndCostsTheStoreNothing: groups change all the time. Hosts hear of
// it, and no row is written for it.
func TestAFilterAloneIsToldAndCostsTheStoreNothing(t *testing.T) {
	p, br := newPlane(), &plugged{}
	c := startController(t, p, socket(t, "f.sock"), Options{})
	id := p.bind("h1", 1, 1)
	filter := func(members ...string) {
		p.edit(func() {
			a := *p.atts[id]
			a.Kind, a.Bridge, a.VnicType, a.PCISlot = model.AttachOVS, "br-eth6", "normal", ""
			remotes := []netip.Prefix{}
			for _, m := range members {
				remotes = append(remotes, netip.MustParsePrefix(m))
			}
			a.Filter = &model.Filter{Rules: []model.FilterRule{{Protocol: model.AnyProtocol, Remotes: remotes}}}
			p.atts[id] = &a
		})
	}
	filter()
	cfg := agent.Config{Host: "h1", Controllers: []string{c.address}, BridgeMappings: map[string]string{"default": "br-eth6"}, Filters: true}
	startAgent(t, nic(1), cfg, agent.WithBridges(br), agent.WithFilters(pluggedFilters{br}))
	members := func() int {
		br.mu.Lock()
		defer br.mu.Unlock()
		a := br.got[id]
		if a == nil || a.Filter == nil || a.Filter.Rules[0].Remotes == nil {
			return -1
		}
		return len(a.Filter.Rules[0].Remotes)
	}
	eventually(t, "the port's filter arrives", func() bool { return members() == 0 })
	p.wantStatus(t, id, model.StatusActive)
	revision := p.atts[id].Revision
	filter("10.0.0.1/32", "10.0.0.2/32")
	eventually(t, "the members arrive", func() bool { return members() == 2 })
	filter("10.0.0.1/32")
	eventually(t, "a member less arrives", func() bool { return members() == 1 })
	if status, reason := p.status(id); status != model.StatusActive || p.atts[id].Revision != revision {
		t.Errorf("the port is %s %s", status, reason)
	}
}

// TestFiltersAreSharedWithThoseWhoTakeIt: an agent of before, told of a filter elsewhere in the message,
// would not filter at all.
func TestFiltersAreSharedWithThoseWhoTakeIt(t *testing.T) {
	p := newPlane()
	c := startController(t, p, socket(t, "f.sock"), Options{})
	ids := []string{p.bind("h1", 1, 1), p.bind("h1", 2, 1)}
	filter := func() *model.Filter {
		return &model.Filter{Rules: []model.FilterRule{{Protocol: model.AnyProtocol, Remotes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}}}
	}
	p.edit(func() {
		for _, id := range ids {
			a := *p.atts[id]
			a.Kind, a.Bridge, a.VnicType, a.PCISlot, a.Filter = model.AttachOVS, "br-eth6", "normal", "", filter()
			p.atts[id] = &a
		}
	})
	for _, sharing := range []bool{false, true} {
		cl := dial(t, c, rpc.Hello{Host: "h1", Instance: map[bool]string{false: "old", true: "new"}[sharing], SharedFilters: sharing})
		hear(cl, (*fabricv1.FromController).GetWelcome)
		snap := hear(cl, (*fabricv1.FromController).GetSnapshot)
		if len(snap.GetAttachments()) != 2 || (len(snap.GetFilters()) == 1) != sharing {
			t.Fatalf("sharing %v: %d attachments and %d filters", sharing, len(snap.GetAttachments()), len(snap.GetFilters()))
		}
		for _, a := range snap.GetAttachments() {
			if (a.GetFilter() == nil) != sharing || (a.GetSharedFilter() == 1) != sharing {
				t.Errorf("sharing %v: %v", sharing, a)
			}
		}
	}
}
