package rpc

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/rpc/fabricv1"
	"neutrino/internal/trunk"
)

func probeRun(t testing.TB) *trunk.Run {
	v, err := trunk.ParseVLANs("100-200,300")
	if err != nil {
		t.Fatal(err)
	}
	r := &trunk.Run{
		ID: trunk.ID{1}, Key: make([]byte, 32), PhysicalNetwork: "default", VLANs: v, Sizes: []int{64, 1500}, Rounds: 2, Rate: 500,
		Hosts: []trunk.Host{{Host: "h1", Uplinks: 1}, {Host: "h2", Uplinks: 2}},
	}
	if err = r.Plan(trunk.DefaultLimit); err != nil {
		t.Fatal(err)
	}
	for i := range r.Hosts { // the wire has milliseconds
		r.Hosts[i].SendAfter = r.Hosts[i].SendAfter.Truncate(time.Millisecond)
	}
	return r
}

func TestProbeRoundTrip(t *testing.T) {
	r := probeRun(t)
	got, elapsed, cancel, err := DecodeProbe(EncodeProbe(r, 1500*time.Millisecond))
	if err != nil || cancel || elapsed != 1500*time.Millisecond || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v\n%+v: %v", got, r, err)
	}
	if got, _, cancel, err = DecodeProbe(CancelProbe(r.ID)); err != nil || !cancel || got.ID != r.ID {
		t.Errorf("cancel: %v", err)
	}
	for name, spoil := range map[string]func(*fabricv1.Probe){
		"id": func(p *fabricv1.Probe) { p.RunId = p.RunId[1:] }, "key": func(p *fabricv1.Probe) { p.Key = nil }, "vlans": func(p *fabricv1.Probe) { p.Vlans = "4095" },
		"rate": func(p *fabricv1.Probe) { p.Rate = 1e6 }, "no rate": func(p *fabricv1.Probe) { p.Rate = 0 }, "sizes": func(p *fabricv1.Probe) { p.Sizes = []uint32{1 << 31} },
		"order": func(p *fabricv1.Probe) { p.Sizes = []uint32{1500, 64} }, "rounds": func(p *fabricv1.Probe) { p.Rounds = 200 },
		"turn": func(p *fabricv1.Probe) { p.Hosts[0].SendAfterMs = 1 << 30 }, "long": func(p *fabricv1.Probe) { p.DurationMs = 1 << 31 },
		"elapsed": func(p *fabricv1.Probe) { p.ElapsedMs = p.DurationMs + 1 }, "host": func(p *fabricv1.Probe) { p.Hosts[0].Host = "a b" },
	} {
		p := proto.Clone(EncodeProbe(r, 0)).(*fabricv1.Probe)
		spoil(p)
		if _, _, _, err = DecodeProbe(p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbeResultRoundTrip(t *testing.T) {
	v := probeRun(t).VLANs
	r := &trunk.Result{
		Run: trunk.ID{1}, Host: "h1", Error: "half of it", Foreign: 3,
		Uplinks:    []trunk.Uplink{{Name: "eth6", MAC: "02:00:00:00:00:01", MTU: 1500, Sent: 7, Unfit: []int{9000}, Error: "too slow"}},
		Heard:      []trunk.Heard{{From: 1, Uplink: 1, On: 0, Size: 64, VLANs: v, Partial: v, Twice: v}},
		Leaks:      []trunk.Leak{{From: 1, Sent: 5, Heard: 4095, Count: 2}},
		Neighbours: []trunk.Seen{{Neighbour: trunk.Neighbour{Chassis: "c", Port: "p", PortText: "d", SystemName: "s", NativeVLAN: 1, VLANs: v, MaxFrame: 9216}}},
	}
	got, err := DecodeProbeResult("h1", EncodeProbeResult(r))
	if err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v\n%+v: %v", got, r, err)
	}
	for name, spoil := range map[string]func(*fabricv1.ProbeResult){
		"id": func(p *fabricv1.ProbeResult) { p.RunId = nil }, "netdev": func(p *fabricv1.ProbeResult) { p.Uplinks[0].Name = "a/b" },
		"on": func(p *fabricv1.ProbeResult) { p.Heard[0].On = 1 }, "from": func(p *fabricv1.ProbeResult) { p.Heard[0].From = 1 << 20 },
		"vlans": func(p *fabricv1.ProbeResult) { p.Heard[0].Partial = "x" }, "leak": func(p *fabricv1.ProbeResult) { p.Leaks[0].Sent = 0 },
		"lldp": func(p *fabricv1.ProbeResult) { p.Neighbours[0].Chassis = "\xff" },
	} {
		p := proto.Clone(EncodeProbeResult(r)).(*fabricv1.ProbeResult)
		spoil(p)
		if _, err = DecodeProbeResult("h1", p); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzProbe(f *testing.F) {
	b, _ := proto.Marshal(EncodeProbe(probeRun(f), 0))
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var order fabricv1.Probe
		if proto.Unmarshal(b, &order) == nil {
			if r, _, cancel, err := DecodeProbe(&order); err == nil && !cancel && r.Rate > trunk.MaxRate {
				t.Error("too fast")
			}
		}
		var result fabricv1.ProbeResult
		if proto.Unmarshal(b, &result) == nil {
			_, _ = DecodeProbeResult("h", &result)
		}
	})
}
