package ml2

import (
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// Claims never double nor leak under any sequence of creates and deletes.
func TestClaimsProperty(t *testing.T) {
	c := config()
	c.VLANRanges = []string{"a:1:6", "b:3:4"}
	c.VNIRanges = []string{"10:13"}
	m := build(t, c)
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		held := claims{}
		var nets []model.Segment
		t.Repeat(map[string]func(*rapid.T){
			"tenant": func(t *rapid.T) {
				s, err := m.TenantSegment(false, held.taken, rnd)
				if err != nil {
					if !fault.HasType(err, "NoNetworkAvailable") || len(nets) < 6+2+4 {
						t.Fatalf("%d networks: %v", len(nets), err)
					}
					return
				}
				add(t, m, held, &nets, s)
			},
			"provider": func(t *rapid.T) {
				asked := model.Segment{
					NetworkType:     rapid.SampledFrom([]string{"vlan", "flat", "vxlan", "local"}).Draw(t, "type"),
					PhysicalNetwork: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "physnet"),
					SegmentationID:  rapid.IntRange(0, 14).Draw(t, "id"),
				}
				if s, err := m.ProviderSegment(asked, nil, held.taken, rnd); err == nil {
					add(t, m, held, &nets, s)
				} else if fault.As(err) == nil {
					t.Fatalf("no fault: %v", err)
				}
			},
			"delete": func(t *rapid.T) {
				if len(nets) == 0 {
					return
				}
				i := rapid.IntRange(0, len(nets)-1).Draw(t, "which")
				for _, k := range m.SegmentClaims(nets[i]) {
					delete(held, k)
				}
				nets = append(nets[:i], nets[i+1:]...)
			},
			"": func(t *rapid.T) {
				want := 0
				for _, s := range nets {
					want += len(m.SegmentClaims(s))
				}
				if len(held) != want {
					t.Fatalf("%d claims for %d wanted", len(held), want)
				}
			},
		})
	})
}

func add(t *rapid.T, m *ML2, held claims, nets *[]model.Segment, s model.Segment) {
	for _, k := range m.SegmentClaims(s) {
		if held[k] {
			t.Fatalf("%v was given twice", k)
		}
	}
	held.take(m, s)
	*nets = append(*nets, s)
}

// Every free id is about as likely as any other, by draws and by the walk.
func TestPickIsUniform(t *testing.T) {
	rnd := random()
	for _, ranges := range [][]idRange{{{1, 8}}, {{1, 3}, {100, 101}, {5000, 5002}}} {
		free := func(id int) bool { return id%2 == 0 || id > 100 }
		count := map[int]int{}
		const n = 8000
		for range n {
			id, ok := pick(ranges, free, rnd)
			if !ok || !free(id) {
				t.Fatalf("%d %v", id, ok)
			}
			count[id]++
		}
		for id, c := range count {
			if want := n / len(count); c < want*8/10 || c > want*12/10 {
				t.Errorf("%v: %d came %d times of %d", ranges, id, c, n)
			}
		}
	}
	if id, ok := pick([]idRange{{3, 9}}, func(id int) bool { return id > 4 }, nil); id != 5 || !ok {
		t.Errorf("without randomness %d", id)
	}
	if _, ok := pick(nil, func(int) bool { return true }, rnd); ok {
		t.Error("no range has an id")
	}
}

func FuzzVLANRanges(f *testing.F) {
	for _, s := range []string{"default:2:1000", "phys", ":1:2", "a:1", "a:1:2:3", "a: 1 : 2 ", "a:99999999999999999999:1", "ü:1:4094"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVLANRanges([]string{s, s})
		if err == nil {
			for _, r := range v.ranges[v.names[0]] {
				if r.min < minVLAN || r.max > maxVLAN || r.min > r.max {
					t.Errorf("%q gives %v", s, r)
				}
			}
			if len(v.names) != 1 || v.names[0] == "" || len(v.ranges[v.names[0]]) != 1 {
				t.Errorf("%q gives %v", s, v)
			}
		}
		vnis, err := parseVNIRanges([]string{s})
		if err == nil && (len(vnis) != 1 || vnis[0].min < minVNI || vnis[0].max > maxVNI) {
			t.Errorf("%q gives %v", s, vnis)
		}
	})
}

// BenchmarkTenantSegment is a choice with 99 of 100 ids taken.
func BenchmarkTenantSegment(b *testing.B) {
	for _, k := range []struct {
		name   string
		config func(*Config)
		ids    int
	}{
		{"vlan", func(c *Config) { c.TenantNetworkTypes, c.VLANRanges = []string{"vlan"}, []string{"a"} }, 4094},
		{"vxlan16M", func(c *Config) { c.TenantNetworkTypes, c.VNIRanges = []string{"vxlan"}, []string{"1:16777215"} }, 1<<24 - 1},
	} {
		b.Run(k.name, func(b *testing.B) {
			c := config()
			k.config(&c)
			m, rnd := build(b, c), random()
			taken := func(c Claim) bool { // a cheap stand-in for a table: ids that end in 00 are free
				return !strings.HasSuffix(c.Key, "00")
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.TenantSegment(false, taken, rnd); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
