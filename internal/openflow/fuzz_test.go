package openflow

import (
	"encoding/json"
	"testing"
)

// FuzzCompile: nothing that is asked makes the compiler panic, or protect a port by nothing.
func FuzzCompile(f *testing.F) {
	for _, b := range []Bridge{
		{Conntrack: true, Ports: []Port{guest(1, defaultGroup("10.0.0.1/32", "10.0.0.2/32")...), guest(2)}},
		{Slot: 20, Ports: []Port{guest(1)}, Others: []Other{{OFPort: 3, Untagged: -1, Tagged: []int{0, 100, 5000}}}},
	} {
		text, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b Bridge
		if json.Unmarshal(text, &b) != nil {
			return
		}
		prog, errs := Compile(b)
		for _, p := range b.Ports {
			if !p.Protected || p.OFPort < 1 || p.OFPort > MaxOFPort {
				continue
			}
			if r := sentTo(prog, frame(p.OFPort, 0, MAC{2, 9, 9, 9, 9, 9}, MAC{2, 8, 8, 8, 8, 8}).put(EthType, 0x88cc), 0, 0); len(r.out) > 0 {
				t.Fatalf("a protected port sends what it likes: %v, errors %v", r.out, errs)
			}
		}
	})
}
