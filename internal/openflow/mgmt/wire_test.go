package mgmt

import (
	"encoding/binary"
	"errors"
	"testing"

	"neutrino/internal/openflow"
)

// aFlow is the answer about one flow, without a match.
func aFlow(id flowID) []byte {
	b := make([]byte, 56)
	binary.BigEndian.PutUint16(b, 56)
	b[2] = id.table
	binary.BigEndian.PutUint16(b[12:], id.priority)
	binary.BigEndian.PutUint64(b[24:], id.cookie)
	return b
}

func TestAnswersAboutFlows(t *testing.T) {
	want := []flowID{{openflow.Mark<<48 | 1, 0, 45000}, {openflow.Mark<<48 | 2, 110, 10}}
	body := append([]byte{0, 1, 0, 1, 0, 0, 0, 0}, append(aFlow(want[0]), aFlow(want[1])...)...)
	var got []flowID
	more, err := parseFlows(body, func(id flowID) { got = append(got, id) })
	if err != nil || !more || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%v, more %v, %v; want %v", got, more, err, want)
	}
	for n := range len(body) {
		if n == 8 || n == 64 { // whole answers, too
			continue
		}
		if _, err = parseFlows(body[:n], func(flowID) {}); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut off after %d bytes: %v", n, err)
		}
	}
}

func TestAFlowTooLongIsAnError(t *testing.T) {
	f := openflow.Flow{Actions: make([]openflow.Action, 5000)}
	if _, err := addFlow(f); !errors.Is(err, ErrProtocol) {
		t.Errorf("addFlow = %v", err)
	}
	f.Actions = []openflow.Action{{Kind: 200}}
	if _, err := addFlow(f); !errors.Is(err, ErrProtocol) {
		t.Errorf("addFlow of an unknown action = %v", err)
	}
}

// FuzzAnswers: no bytes of a switch make a parser panic.
func FuzzAnswers(f *testing.F) {
	f.Add(append([]byte{0, 1, 0, 0, 0, 0, 0, 0}, aFlow(flowID{1, 2, 3})...))
	f.Add(append([]byte{0, statsPort10, 0, 0}, make([]byte, 48)...))
	f.Add([]byte{5, 0, 0, 8, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		if _, err := parseFlows(b, func(flowID) { n++ }); err != nil && !errors.Is(err, ErrProtocol) {
			t.Fatal(err)
		}
		if _, err := parsePorts(b, func(portState) { n++ }); err != nil && !errors.Is(err, ErrProtocol) {
			t.Fatal(err)
		}
		if n > len(b) {
			t.Fatalf("%d flows and ports in %d bytes", n, len(b))
		}
		_, _ = parseHeader(b)
		_ = parseError(b).Error()
	})
}
