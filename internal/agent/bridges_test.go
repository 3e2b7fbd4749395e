package agent

import (
	"context"
	"errors"
	"testing"

	"neutrino/internal/model"
)

// fakeFilters refuses ports by id.
type fakeFilters struct {
	set    map[string][]string // bridge -> ids of ports
	refuse map[string]error
}

func (f *fakeFilters) Set(_ context.Context, bridge string, ports []FilterPort) map[string]error {
	f.set[bridge] = nil
	bad := map[string]error{}
	for _, p := range ports {
		f.set[bridge] = append(f.set[bridge], p.Attachment.PortID)
		if err := f.refuse[p.Attachment.PortID]; err != nil {
			bad[p.Attachment.PortID] = err
		}
	}
	return bad
}

func (f *fakeFilters) Events() <-chan struct{} { return nil }

func TestFiltersGetWhatIsPluggedOfEveryMappedBridge(t *testing.T) {
	f := &fakeFilters{set: map[string][]string{}, refuse: map[string]error{"b": errors.New("no conntrack")}}
	w := &bridgeWorker{filters: f, mapped: []string{"br-a", "br-b"}}
	want := map[string]*model.Attachment{}
	ports := map[string]BridgePort{
		"a": {Interface: "tapa", OFPort: 1}, "b": {Interface: "tapb", OFPort: 2}, "c": {}, "d": {Interface: "tapd", OFPort: 4, Err: errors.New("broken")},
	}
	for id := range ports {
		want[id] = &model.Attachment{PortID: id, Bridge: "br-a", Kind: model.AttachOVS}
	}
	bad := w.filter(context.Background(), want, ports)
	if got := f.set["br-a"]; len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("br-a: %v, want what is plugged", got)
	}
	if _, asked := f.set["br-b"]; !asked {
		t.Error("a bridge without ports keeps the flows that it had")
	}
	if r := bridgeReport(want["b"], ports["b"], nil, bad["b"]); r.Up || r.Reason != "no conntrack" {
		t.Errorf("a port that cannot be filtered: %+v", r)
	}
	if r := bridgeReport(want["a"], ports["a"], nil, bad["a"]); !r.Up {
		t.Errorf("a port that is: %+v", r)
	}
}
