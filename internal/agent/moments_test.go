package agent

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// slow makes the switch take d for each change of a VF to a port.
func slow(d time.Duration) func(eswitch.Change) error {
	return func(c eswitch.Change) error {
		if mac, ok := c.Attrs.MAC.Get(); ok && mac != "00:00:00:00:00:00" {
			time.Sleep(d)
		}
		return nil
	}
}

func TestMomentsSayWhenAPortCameHowFarAndStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(4)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1) // clean
		sw.FailWith(slow(20 * time.Millisecond))
		asked := model.MomentOf(time.Now())
		r.ask(2, attachment(0))
		time.Sleep(time.Second)
		synctest.Wait()
		done := asked + 20_000
		want := model.Moments{Received: asked, Recorded: asked, Programmed: done, ReadBack: done}
		first := r.said("port-00")
		if !first.Up || first.Moments != want {
			t.Fatalf("moments %+v, want %+v", first.Moments, want)
		}
		seq, _, _ := r.box.take()
		r.box.ack(seq)

		// Nothing of it changes while nothing happens to the port, whatever happens to others.
		time.Sleep(10 * time.Minute)
		r.ask(3, attachment(0), attachment(1))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := r.said("port-00"); got != first {
			t.Errorf("%+v, was %+v", got, first)
		}
		if _, again, _ := r.box.take(); len(again) != 1 || again[0].PortID != "port-01" {
			t.Errorf("reported again: %+v", again)
		}

		// A new wish has times of its own; the VF needs no change for this one.
		now := model.MomentOf(time.Now())
		named := attachment(0)
		named.Device, named.Revision = "instance", 77
		r.ask(4, named, attachment(1))
		if got, want := r.said("port-00").Moments, (model.Moments{Received: now, Recorded: now, ReadBack: now}); got != want {
			t.Errorf("moments %+v, want %+v", got, want)
		}
	})
}

func TestMomentsEndWhereThePortHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(4)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1)
		sw.FailWith(func(eswitch.Change) error { return errors.New("firmware said no") })
		asked := model.MomentOf(time.Now())
		r.ask(2, attachment(0))
		want := model.Moments{Received: asked, Recorded: asked}
		if got := r.said("port-00"); got.Up || got.Moments != want {
			t.Fatalf("%+v, want %+v", got, want)
		}
		sw.FailWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := r.said("port-00")
		if !got.Up || got.Moments.Received != asked || got.Moments.Programmed <= asked || got.Moments.ReadBack < got.Moments.Programmed {
			t.Fatalf("%+v", got)
		}

		// It is lost, and nothing helps: what was is still told.
		time.Sleep(time.Hour)
		sw.FailWith(func(eswitch.Change) error { return errors.New("firmware said no") })
		sw.Disturb(true, func(s *eswitch.State) { s.PFs[0].VFs[got.VF].Attrs.VLAN = eswitch.Set(7) })
		synctest.Wait()
		time.Sleep(time.Second)
		if lost := r.said("port-00"); lost.Up || lost.Moments != got.Moments {
			t.Fatalf("%+v, want the moments %+v", lost, got.Moments)
		}
		// It is won back: that is the news.
		back := model.MomentOf(time.Now())
		sw.FailWith(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if won := r.said("port-00"); !won.Up || won.Moments.ReadBack < back || won.Moments.Programmed < back || won.Moments.Recorded != got.Moments.Recorded {
			t.Errorf("%+v", won)
		}
	})
}

// A driver that accepts and does not do it is tried again and again: that is one report.
func TestMomentsOfALyingDriverAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := oneNIC(2)
		r := newRig(t, filepath.Join(t.TempDir(), "state.db"), sw)
		defer r.stop()
		r.ask(1)
		sw.Lie(eswitch.VFID{PF: "eth6", Index: 0}, true)
		r.ask(2, attachment(0))
		first := r.said("port-00")
		if first.Up || first.Moments.Programmed == 0 || first.Moments.ReadBack != 0 {
			t.Fatalf("%+v", first)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if got := r.said("port-00"); got.Moments != first.Moments {
			t.Errorf("%+v, was %+v", got, first)
		}
	})
}

// What came out of the state file did not arrive: no time is made up for it.
func TestMomentsAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, sw := filepath.Join(t.TempDir(), "state.db"), oneNIC(2)
		r := newRig(t, file, sw)
		r.ask(1, attachment(0))
		r.stop()
		time.Sleep(time.Minute)
		r = newRig(t, file, sw)
		defer r.stop()
		synctest.Wait()
		want := model.Moments{ReadBack: model.MomentOf(time.Now())}
		if got := r.said("port-00"); got.Moments != want {
			t.Errorf("%+v, want %+v", got.Moments, want)
		}
		// The controller says the same again: nothing is news.
		r.ask(2, attachment(0))
		if got := r.said("port-00"); got.Moments != want {
			t.Errorf("%+v, want %+v", got.Moments, want)
		}
	})
}
