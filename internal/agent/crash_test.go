package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

const childEnv = "NEUTRINO_AGENT_TEST_CHILD" // "<state file> <NIC> <pin directory> <seed>"

// runChild is an agent whose controller changes its mind all the time, until somebody
// kills it. It says "go" when the first wish is carried out.
func runChild(arg string) error {
	var file, name, pins string
	var seed uint64
	if _, err := fmt.Sscan(arg, &file, &name, &pins, &seed); err != nil {
		return err
	}
	sw, err := veb.Open(name, pins)
	if err != nil {
		return err
	}
	state, s, err := openState(file, "host-1", slog.Default())
	if err != nil {
		return err
	}
	m, err := newMetrics(nil)
	if err != nil {
		return err
	}
	tb := newTable(s)
	l := newLoop(Config{Host: "host-1", PhysicalDeviceMappings: mapping}, sw, state, s, tb, newOutbox(), slog.New(slog.DiscardHandler), m)
	rnd := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's dice
	for i := range 1 << 20 {
		snap := &fabricv1.Snapshot{Epoch: "e", Revision: uint64(i)}
		for n := range 6 {
			if rnd.IntN(2) == 0 {
				a := attachment(n)
				a.VLAN, a.Revision = 1+rnd.IntN(4094), int64(i)
				snap.Attachments = append(snap.Attachments, rpc.EncodeAttachment(a))
			}
		}
		if err = tb.snapshot(snap); err != nil {
			return err
		}
		l.pass(context.Background())
		if i == 0 {
			fmt.Println("go")
		}
	}
	return nil
}

// Killed at any moment, the agent starts again with what it had recorded: the file is
// readable, no VF is given twice, ports stay where they were, and the NIC comes to what
// was last recorded without a controller.
func TestKilledAtAnyMoment(t *testing.T) {
	name, pins := newVEB(t, 5)
	file := filepath.Join(t.TempDir(), "state.db")
	sw := openVEB(t, name, pins)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 12 {
		cmd := exec.Command(exe)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d", childEnv, file, name, pins, round))
		out, perr := cmd.StdoutPipe()
		if perr != nil {
			t.Fatal(perr)
		}
		if err = cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := make([]byte, 2)
		if _, err = out.Read(said); err != nil || string(said) != "go" {
			t.Fatalf("child said %q, %v", said, err)
		}
		time.Sleep(time.Duration(rand.N(30_000)) * time.Microsecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()

		var log bytes.Buffer
		state, s, oerr := openState(file, "host-1", slog.New(slog.NewTextHandler(&log, nil)))
		if oerr != nil || log.Len() > 0 {
			t.Fatalf("round %d: %v %s", round, oerr, log.String())
		}
		if err = state.close(); err != nil {
			t.Fatal(err)
		}
		slots := map[string]string{}
		for id, a := range s.assigned {
			if slots[a.PCISlot] != "" || s.attachments[id] == nil {
				t.Fatalf("round %d: %s has VF %s, which %q has too or nobody asked for", round, id, a.PCISlot, slots[a.PCISlot])
			}
			slots[a.PCISlot] = id
		}
		r := newRig(t, file, sw)
		want := make([]*model.Attachment, 0, len(s.assigned))
		for id := range s.assigned {
			want = append(want, s.attachments[id])
		}
		r.reach(want...)
		for id, a := range s.assigned {
			if got := r.said(id); got.PCISlot != a.PCISlot {
				t.Errorf("round %d: %s is on %s, was on %s", round, id, got.PCISlot, a.PCISlot)
			}
		}
		r.stop()
	}
}
