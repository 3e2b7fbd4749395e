package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"neutrino/internal/agent/switchtest"
	"neutrino/internal/eswitch"
	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

func TestMain(m *testing.M) {
	if arg := os.Getenv(childEnv); arg != "" {
		if err := runChild(arg); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// rig is a host without a controller: tests play its part.
type rig struct {
	t     *testing.T
	loop  *loop
	table *table
	box   *outbox
	state *stateFile
	stop  func()
}

func newRig(t *testing.T, file string, sw eswitch.Switch) *rig {
	t.Helper()
	return newRigAudited(t, file, sw, 0)
}

func newRigAudited(t *testing.T, file string, sw eswitch.Switch, audit time.Duration) *rig {
	t.Helper()
	return newRigWith(t, file, sw, audit, nil)
}

func newRigWith(t *testing.T, file string, sw eswitch.Switch, audit time.Duration, e Plugs) *rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	state, s, err := openState(file, "host-1", log)
	if err != nil {
		t.Fatal(err)
	}
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, table: newTable(s), box: newOutbox(), state: state}
	r.loop = newLoop(Config{Host: "host-1", PhysicalDeviceMappings: mapping, AuditInterval: audit}, sw, state, s, r.table, r.box, log, m)
	r.loop.plugs = e
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.loop.run(ctx) })
	r.stop = func() {
		cancel()
		wg.Wait()
		if cerr := state.close(); cerr != nil {
			t.Error(cerr)
		}
	}
	return r
}

func (r *rig) ask(revision uint64, atts ...*model.Attachment) {
	r.t.Helper()
	r.want(revision, atts...)
	synctest.Wait()
}

// want is ask without waiting, for tests with a real clock.
func (r *rig) want(revision uint64, atts ...*model.Attachment) {
	r.t.Helper()
	m := &fabricv1.Snapshot{Epoch: "e1", Revision: revision}
	for _, a := range atts {
		m.Attachments = append(m.Attachments, rpc.EncodeAttachment(a))
	}
	if err := r.table.snapshot(m); err != nil {
		r.t.Fatal(err)
	}
}

// said is the latest report of a port.
func (r *rig) said(port string) model.PortReport {
	r.box.mu.Lock()
	defer r.box.mu.Unlock()
	if l := r.box.items[port]; l != nil {
		return l.report
	}
	return model.PortReport{}
}

// outcome is said without the times.
func (r *rig) outcome(port string) model.PortReport {
	report := r.said(port)
	report.Moments = model.Moments{}
	return report
}

func (r *rig) wantUp(ports ...string) {
	r.t.Helper()
	for _, p := range ports {
		if got := r.said(p); !got.Up {
			r.t.Errorf("%s: %+v, want up", p, got)
		}
	}
}

func oneNIC(vfs int) *switchtest.Switch {
	return switchtest.New(switchtest.Spec{PF: "eth6", Number: 1, VFs: vfs})
}

func TestLoopTouchesNothingBeforeItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(4)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if applied, _ := sw.Counts(); applied != 0 {
			t.Errorf("%d changes although nothing was asked", applied)
		}
		r.ask(1)
		if v := sw.VF(eswitch.VFID{PF: "eth6"}); !clean(vf{v, nil}) {
			t.Errorf("a free VF is not at the baseline: %s", list(v.Attrs))
		}
	})
}

func TestLoopIsQuietWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(4)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		r.wantUp("port-00")
		applied, looks := sw.Counts()
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if a, l := sw.Counts(); a != applied || l-looks != 10 {
			t.Errorf("in ten idle minutes: %d changes and %d looks, want none and one per audit", a-applied, l-looks)
		}
	})
}

func TestLoopPutsBackWhatDrifts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(3)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		port := r.said("port-00")
		id := eswitch.VFID{PF: port.PF, Index: port.VF}
		time.Sleep(time.Second)
		sw.Disturb(true, func(s *eswitch.State) {
			s.PFs[0].VFs[id.Index].Attrs.VLAN = eswitch.Set(7)
			s.PFs[0].VFs[2].Attrs.Trust = eswitch.Set(true)
		})
		synctest.Wait()
		if got := sw.VF(id).Attrs.VLAN; got.String() != "100" {
			t.Errorf("vlan %s", got)
		}
		if got := sw.VF(eswitch.VFID{PF: "eth6", Index: 2}); !clean(vf{got, nil}) {
			t.Error("a free VF that was changed was not cleaned")
		}
		r.wantUp("port-00")
		for name, want := range map[string]float64{"vlan": 1, "trust": 1, "mac": 0} {
			var m dto.Metric
			if err := r.loop.metrics.drift.WithLabelValues(name).Write(&m); err != nil {
				t.Fatal(err)
			}
			if got := m.GetCounter().GetValue(); got != want {
				t.Errorf("drift of %s counted %v times, want %v", name, got, want)
			}
		}
		// Without an event the audit finds it.
		sw.Disturb(false, func(s *eswitch.State) { s.PFs[0].VFs[id.Index].Attrs = switchtest.Fresh() })
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if got := sw.VF(id).Attrs.VLAN; got.String() != "100" {
			t.Errorf("after the audit: vlan %s", got)
		}
	})
}

func TestLoopOneBrokenVFHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(4)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		broken := eswitch.VFID{PF: "eth6", Index: 1}
		var tries []time.Time
		sw.FailWith(func(c eswitch.Change) error {
			if mac, ok := c.Attrs.MAC.Get(); ok && c.VF == broken && mac != "00:00:00:00:00:00" {
				tries = append(tries, time.Now())
				return errors.New("firmware said no")
			}
			return nil
		})
		a, b, c := attachment(0), attachment(1), attachment(2)
		a.PCISlot, b.PCISlot, c.PCISlot = switchtest.Slot(1, 0), switchtest.Slot(1, 1), switchtest.Slot(1, 2)
		r.ask(1, a, b, c)
		r.wantUp("port-00", "port-02")
		got := r.said("port-01")
		if got.Up || !strings.Contains(got.Reason, "firmware said no") || got.PCISlot != switchtest.Slot(1, 1) {
			t.Errorf("report %+v", got)
		}
		if v := sw.VF(broken); !clean(vf{v, nil}) {
			t.Errorf("the half-done VF was left with %s", list(v.Attrs))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(tries); n < 6 || n > 14 {
			t.Errorf("tried %d times in a minute", n)
		}
		if up, rep := r.said("port-00"), r.said("port-01"); !up.Up || rep != got {
			t.Errorf("reports flap: %+v, %+v", up, rep)
		}
		sw.FailWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.wantUp("port-00", "port-01", "port-02")
	})
}

func TestLoopNoticesADriverThatLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(2)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1) // clean
		sw.Lie(eswitch.VFID{PF: "eth6", Index: 0}, true)
		r.ask(2, attachment(0))
		if got := r.said("port-00"); got.Up || !strings.Contains(got.Reason, "does not read back") {
			t.Errorf("report %+v", got)
		}
		applied, _ := sw.Counts()
		time.Sleep(time.Minute)
		if a, _ := sw.Counts(); a-applied > 14 {
			t.Errorf("%d changes in a minute", a-applied)
		}
		sw.Lie(eswitch.VFID{PF: "eth6", Index: 0}, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.wantUp("port-00")
	})
}

func TestLoopWaitsForAVFThatIsNotClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(1)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		r.wantUp("port-00")
		sw.FailWith(func(eswitch.Change) error { return fmt.Errorf("not now: %w", eswitch.ErrBusy) })
		sw.Disturb(false, func(s *eswitch.State) { s.PFs[0].VFs[0].Attrs.Trust = eswitch.Set(true) })
		r.ask(2, attachment(1)) // the VF changes hands, and cannot be cleaned
		if got := r.said("port-01"); got.Up || !strings.Contains(got.Reason, "1 being returned") {
			t.Errorf("report %+v", got)
		}
		if got := r.said("port-00"); got.PortID != "" {
			t.Errorf("a port that is not asked for is reported: %+v", got)
		}
		sw.FailWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		r.wantUp("port-01")
	})
}

func TestLoopSurvivesABlindSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(2)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		sw.Blind(errors.New("netlink: no buffer space"))
		r.ask(2, attachment(0), attachment(1))
		r.wantUp("port-00")
		if got := r.said("port-01"); got.Up || !strings.Contains(got.Reason, "no buffer space") {
			t.Errorf("report %+v", got)
		}
		sw.Blind(nil)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		r.wantUp("port-00", "port-01")
	})
}

func TestLoopRefusesWhatItCannotAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(2)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		bad := *attachment(0)
		bad.VLAN, bad.Revision = 5000, 99
		r.ask(2, &bad, attachment(1))
		r.wantUp("port-01")
		if got := r.said("port-00"); got.Up || got.Revision != 99 || !strings.Contains(got.Reason, "vlan: 5000") {
			t.Errorf("report %+v", got)
		}
		if got := sw.VF(eswitch.VFID{PF: "eth6", Index: 0}).Attrs.VLAN; got.String() != "100" {
			t.Errorf("what ran does not go on: vlan %s", got)
		}
	})
}

func TestRestartKeepsAssignmentsAndNeedsNoController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, sw := filepath.Join(t.TempDir(), "state.db"), oneNIC(4)
		r := newRig(t, file, sw)
		r.ask(1, attachment(2))
		r.ask(2, attachment(0), attachment(1), attachment(2))
		was := map[string]model.PortReport{"port-00": r.outcome("port-00"), "port-01": r.outcome("port-01"), "port-02": r.outcome("port-02")}
		r.stop()
		applied, _ := sw.Counts()

		r = newRig(t, file, sw)
		synctest.Wait()
		if a, _ := sw.Counts(); a != applied {
			t.Errorf("a restart made %d changes", a-applied)
		}
		for id, want := range was {
			if got := r.outcome(id); got != want {
				t.Errorf("%s: %+v, want %+v", id, got, want)
			}
		}
		r.stop()

		// The host was restarted: its VFs are new. It comes up without a controller.
		sw = oneNIC(4)
		r = newRig(t, file, sw)
		defer r.stop()
		synctest.Wait()
		for id, want := range was {
			if got := r.outcome(id); got != want {
				t.Errorf("%s after a restart of the host: %+v, want %+v", id, got, want)
			}
		}
		if v, ok := r.loop.find("port-01"); !ok || v.Netdev != fmt.Sprintf("eth6v%d", v.Index) {
			t.Errorf("find: %+v %t", v, ok)
		}
	})
}

func TestNetdevThatWentAwayIsStillKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, sw := filepath.Join(t.TempDir(), "state.db"), oneNIC(2)
		r := newRig(t, file, sw)
		r.ask(1, attachment(0))
		was, _ := r.loop.find("port-00")
		sw.Disturb(true, func(s *eswitch.State) { s.PFs[0].VFs[was.Index].Netdev = "" })
		time.Sleep(2 * time.Minute)
		r.stop()
		r = newRig(t, file, sw)
		defer r.stop()
		synctest.Wait()
		if got, ok := r.loop.find("port-00"); !ok || got != was {
			t.Errorf("found %+v, %t; want %+v", got, ok, was)
		}
	})
}

// Events in a row cause few looks.
func TestLoopCoalescesEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(2)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1, attachment(0))
		_, before := sw.Counts()
		for range 1000 {
			sw.Disturb(true, func(*eswitch.State) {})
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if _, looks := sw.Counts(); looks-before > 21 {
			t.Errorf("%d looks in a second", looks-before)
		}
	})
}
