package trunk

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func vlans(t testing.TB, s string) VLANs {
	t.Helper()
	v, err := ParseVLANs(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVLANsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOf(rapid.IntRange(1, MaxVLAN)).Draw(t, "ids")
		var v VLANs
		for _, id := range ids {
			v.Add(id)
		}
		back, err := ParseVLANs(v.String())
		if err != nil || back != v {
			t.Fatalf("%q: %v", v.String(), err)
		}
		slices.Sort(ids)
		if !slices.Equal(v.IDs(), slices.Compact(ids)) {
			t.Fatalf("%v is not %v", v.IDs(), ids)
		}
	})
	for in, want := range map[string]string{"": "", " 5 , 1-3,2-4": "1-5", "4094": "4094", "7,9": "7,9"} {
		if got := vlans(t, in).String(); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"0", "4095", "5-3", "a", "1-", "-1", "1,,2", "+1", "1-2-3"} {
		if v, err := ParseVLANs(in); err == nil {
			t.Errorf("%q is taken for %s", in, v)
		}
	}
}

func testRun(t testing.TB, hosts ...string) *Run {
	t.Helper()
	r := &Run{
		ID: ID{1, 2, 3}, Key: []byte("key"), PhysicalNetwork: "default", VLANs: vlans(t, "100-110"),
		Sizes: []int{1500, 64}, Rounds: 2, Rate: 500,
	}
	for _, h := range hosts {
		r.Hosts = append(r.Hosts, Host{Host: h, Uplinks: 1})
	}
	if err := r.Plan(DefaultLimit); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFrameRoundTrip(t *testing.T) {
	key := []byte("secret")
	f := Frame{Run: ID{9}, Host: 3, Uplink: 1, VLAN: 105, Size: 1500, Round: 1}
	b := f.Append(nil, [6]byte{2}, key)
	if len(b) != 18+1500 || b[12] != 0x81 || b[14] != 0 || b[15] != 105 {
		t.Fatalf("%d bytes: % x", len(b), b[:20])
	}
	got, err := Parse(b[18:], key)
	if err != nil || got != f {
		t.Fatalf("%+v: %v", got, err)
	}
	for name, bad := range map[string][]byte{
		"short": b[18 : len(b)-1], "long": append(slices.Clone(b[18:]), 0), "empty": nil, "head only": b[18 : 18+frameSize-1],
	} {
		if _, err = Parse(bad, key); !errors.Is(err, ErrNotProbe) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err = Parse(b[18:], []byte("other")); !errors.Is(err, ErrNotProbe) {
		t.Errorf("another key: %v", err)
	}
	for i := range frameSize {
		c := slices.Clone(b[18:])
		c[i] ^= 1
		if _, err = Parse(c, key); err == nil {
			t.Errorf("byte %d is not checked", i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Frame{VLAN: 5, Size: 64}.Append(nil, [6]byte{}, nil)[18:])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Parse(b, nil)
		if err == nil && got.Append(nil, [6]byte{}, nil)[18] != b[0] {
			t.Error("not what was written")
		}
	})
}

func lldp(tlvs ...any) []byte {
	var b []byte
	for i := 0; i < len(tlvs); i += 2 {
		kind, v := tlvs[i].(int), tlvs[i+1].(string)
		b = append(b, byte(kind<<1|len(v)>>8), byte(len(v)))
		b = append(b, v...)
	}
	return b
}

func TestLLDP(t *testing.T) {
	head := []any{1, "\x04\x02\x00\x00\x00\x00\x01", 2, "\x05Ethernet1/7", 3, "\x00\x78"}
	full := lldp(append(slices.Clone(head), 4, "to rack 3", 5, "leaf\x1b[1m", 127, "\x00\x80\xc2\x01\x00\x01", 127, "\x00\x80\xc2\x03\x00\x69\x02ab",
		127, "\x00\x12\x0f\x04\x23\xf0", 127, "\x00\x12\xbb\x01zz", 0, "")...)
	n, err := ParseLLDP(append(full, 0, 0, 0)) // padding behind the end
	if err != nil || n.Chassis != "02:00:00:00:00:01" || n.Port != "Ethernet1/7" || n.SystemName != "leaf?[1m" || n.NativeVLAN != 1 ||
		n.VLANs.String() != "105" || n.MaxFrame != 9200 || n.PortText != "to rack 3" {
		t.Errorf("%+v: %v", n, err)
	}
	for name, bad := range map[string][]byte{
		"no end": lldp(head...), "wrong order": lldp(2, "\x05x", 1, "\x04abcdef", 3, "\x00\x78", 0, ""),
		"port twice": lldp(append(slices.Clone(head), 2, "\x05x", 0, "")...), "empty": nil, "one byte": {2},
		"too long": {0x02, 0xff, 4}, "short MAC": lldp(1, "\x04ab", 2, "\x05x", 3, "\x00\x78", 0, ""),
		"short org": lldp(append(slices.Clone(head), 127, "\x00\x80\xc2", 0, "")...),
		"bad name":  lldp(append(slices.Clone(head), 127, "\x00\x80\xc2\x03\x00\x69\x09ab", 0, "")...),
	} {
		if _, err = ParseLLDP(bad); !errors.Is(err, ErrLLDP) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzLLDP(f *testing.F) {
	f.Add(lldp(1, "\x04\x02\x00\x00\x00\x00\x01", 2, "\x05x", 3, "\x00\x78", 0, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := ParseLLDP(b); err == nil && (n.Chassis == "" || len(n.SystemName) > maxLLDPID) {
			t.Errorf("%+v", n)
		}
	})
}

func TestPlanIsBounded(t *testing.T) {
	r := testRun(t, "a", "b", "c")
	if frames, _ := r.Total(); frames != 3*11*2*2 {
		t.Errorf("%d frames", frames)
	}
	each := r.sending()
	for i := 1; i < len(r.Hosts); i++ {
		if gap := r.Hosts[i].SendAfter - r.Hosts[i-1].SendAfter; gap < each+Gap {
			t.Errorf("turns overlap: %s for %s", gap, each)
		}
	}
	if r.Hosts[0].SendAfter < Margin || r.Duration <= r.Hosts[2].SendAfter+each {
		t.Errorf("%+v", r)
	}
	if s := r.Spacing(9000); time.Second/s*9018*8 > MaxBits {
		t.Errorf("large frames every %s", s)
	}
	for name, spoil := range map[string]func(*Run){
		"rate": func(r *Run) { r.Rate = MaxRate + 1 }, "no VLANs": func(r *Run) { r.VLANs = VLANs{} }, "one host": func(r *Run) { r.Hosts = r.Hosts[:1] },
		"size": func(r *Run) { r.Sizes = []int{63} }, "rounds": func(r *Run) { r.Rounds = 9 }, "listen": func(r *Run) { r.Listen = time.Hour },
		"too long": func(r *Run) { r.VLANs = vlans(t, "1-4094"); r.Rate = 1 }, "uplinks": func(r *Run) { r.Hosts[0].Uplinks = 17 },
	} {
		bad := testRun(t, "a", "b")
		spoil(bad)
		if err := bad.Plan(DefaultLimit); !errors.Is(err, ErrPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// simulate runs a verification over a wire that carries what pass lets through: how
// often, and in which VLAN. vfs are the VLANs of hosts' VFs.
func simulate(r *Run, vfs map[string]VLANs, pass func(from, to string, f Frame) (times, vlan int)) *Report {
	tallies := make([]*Tally, len(r.Hosts))
	results := map[string]*Result{}
	for i := range r.Hosts {
		tallies[i] = NewTally(r)
	}
	for from := range r.Hosts {
		r.Each(from, 0, func(f Frame) bool {
			b := f.Append(nil, [6]byte{2}, r.Key)[18:]
			for to := range r.Hosts {
				times, vlan := pass(r.Hosts[from].Host, r.Hosts[to].Host, f)
				for range times {
					tallies[to].Frame(0, vlan, b)
				}
			}
			return true
		})
	}
	for i, h := range r.Hosts {
		res := &Result{Run: r.ID, Host: h.Host, Uplinks: []Uplink{{Name: "eth6", MTU: 1500, Sent: r.Frames(), VFVLANs: vfs[h.Host]}}}
		tallies[i].Fill(res)
		// As it goes through the store.
		text, err := json.Marshal(res)
		back := &Result{}
		if err != nil || json.Unmarshal(text, back) != nil {
			panic("result does not survive JSON")
		}
		results[h.Host] = back
	}
	return Judge(r, results)
}

func wire(from, to string, f Frame) (int, int) {
	if from == to {
		return 0, 0
	}
	return 1, f.VLAN
}

func TestVerdict(t *testing.T) {
	r := testRun(t, "a", "b", "c")
	if rep := simulate(r, nil, wire); !rep.Clean || rep.Checked != 6 || len(rep.Pairs) != 0 {
		t.Errorf("clean wire: %+v", rep)
	}
	rep := simulate(r, nil, func(from, to string, f Frame) (int, int) {
		n, v := wire(from, to, f)
		switch {
		case (from == "c" || to == "c") && f.VLAN == 105: // not allowed on c's port
			n = 0
		case from == "a" && to == "b" && f.VLAN == 101: // one way
			n = 0
		case from == "b" && f.VLAN == 102 && f.Size > 64:
			n = 0
		case from == "a" && to == "c" && f.VLAN == 103 && f.Round == 0:
			n = 0
		case from == "b" && to == "a" && f.VLAN == 104:
			n *= 2
		case from == "a" && to == "a" && f.VLAN == 106:
			n, v = 1, f.VLAN
		case from == "b" && to == "c" && f.VLAN == 107:
			v = 0
		}
		return n, v
	})
	text, _ := json.Marshal(rep)
	for _, want := range []string{
		`{"from":"a","from_uplink":"eth6","to":"b","to_uplink":"eth6","lost":"101","one_way":"101"}`,
		`{"from":"a","from_uplink":"eth6","to":"c","to_uplink":"eth6","lost":"105","partial":"103"}`,
		`{"from":"b","from_uplink":"eth6","to":"a","to_uplink":"eth6","lost":"","mtu_holes":[{"vlans":"102","passed":64,"lost":1500}],"duplicated":"104"}`,
		`"loops":[{"host":"a","uplink":"eth6","vlans":"106"}]`,
		`"sent_vlan":107,"heard_vlan":0,"count":4`,
		`"lost":"105,107","one_way":"107","mtu_holes":[{"vlans":"102"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nis not in\n%s", want, text)
		}
	}
	if rep.Clean {
		t.Error("clean")
	}
}

// TestSilentHostsAreNotLosses: who did not listen or send is told as such, once.
func TestSilentHostsAreNotLosses(t *testing.T) {
	r := testRun(t, "a", "b", "c")
	rep := Judge(r, map[string]*Result{
		"a": {Uplinks: []Uplink{{Name: "x", Sent: 1, Error: "is down"}}, Heard: []Heard{{From: 77, Uplink: 9, On: 4, Size: 64}}, Leaks: []Leak{{From: 9, On: 9}}},
		"b": {Error: "no uplink"},
	})
	if rep.Clean || rep.Checked != 0 || len(rep.Pairs) != 0 || rep.Hosts[2].State != HostSilent || rep.Hosts[1].State != HostFailed {
		t.Errorf("%+v", rep)
	}
}

// TestVLANsOfVFsThatANICKeepsAreNotCalledLost: a's NIC hands over nobody's frames in the
// VLANs of its VFs. Of these VLANs 103 does not pass a's switch port either.
func TestVLANsOfVFsThatANICKeepsAreNotCalledLost(t *testing.T) {
	r := testRun(t, "a", "b", "c")
	vfs := map[string]VLANs{"a": vlans(t, "102-105"), "c": vlans(t, "107")}
	rep := simulate(r, vfs, func(from, to string, f Frame) (int, int) {
		n, v := wire(from, to, f)
		switch {
		case to == "a" && f.VLAN >= 101 && f.VLAN <= 104, // 101: no VF of a uses it
			from == "a" && f.VLAN == 103,
			from == "b" && to == "a" && f.VLAN == 105, // a hears c in it
			from == "b" && to == "c" && f.VLAN == 107: // c hears a in it
			n = 0
		}
		return n, v
	})
	got := map[string]string{}
	for _, p := range rep.Pairs {
		got[p.From+p.To] = "lost " + p.Lost.String() + " one-way " + p.OneWay.String() + " kept " + p.Kept.String()
	}
	want := map[string]string{
		"ba": "lost 101,103,105 one-way 101,105 kept 102,104", "ca": "lost 101,103 one-way 101 kept 102,104",
		"ab": "lost 103 one-way  kept ", "ac": "lost 103 one-way  kept ", "bc": "lost 107 one-way 107 kept ",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant\n%v", got, want)
	}
	if rep.Clean {
		t.Error("clean, though there are VLANs of which nothing is known")
	}
}

// TestEveryRoundGoesElsewhere: one destination that a NIC or a switch does not pass on loses
// no VLAN.
func TestEveryRoundGoesElsewhere(t *testing.T) {
	seen := map[string]bool{}
	for round := range DefaultRounds {
		seen[string(Frame{VLAN: 5, Size: 64, Round: round}.Append(nil, [6]byte{}, nil)[:6])] = true
	}
	for _, to := range [][6]byte{Group, Station, Broadcast} {
		if !seen[string(to[:])] {
			t.Errorf("no copy goes to %x", to)
		}
	}
}

// TestWhatANICsOwnSwitchGivesBackIsNoLoop: a's NIC gives its own broadcasts back in the VLANs
// of its VFs; behind its port VLAN 104 loops.
func TestWhatANICsOwnSwitchGivesBackIsNoLoop(t *testing.T) {
	r := testRun(t, "a", "b")
	rep := simulate(r, map[string]VLANs{"a": vlans(t, "103-104")}, func(from, to string, f Frame) (int, int) {
		n, v := wire(from, to, f)
		if from == "a" && to == "a" && f.VLAN >= 103 && f.VLAN <= 105 {
			n, v = 1, f.VLAN
			if f.VLAN == 104 {
				n = 2
			}
		}
		return n, v
	})
	if len(rep.Loops) != 1 || rep.Loops[0].VLANs.String() != "104-105" || rep.Clean {
		t.Errorf("%+v", rep)
	}
}
