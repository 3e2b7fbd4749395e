package tune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"neutrino/internal/vfnl"
)

// What a Keeper does when nothing else is said.
const (
	defaultAudit = 30 * time.Second
	defaultQuiet = 300 * time.Millisecond
	defaultGap   = time.Second

	// impatience is how long links may be busy before it looks all the same.
	impatience = 5 * time.Second

	// A value that somebody else sets again and again is left to them for a while.
	contestLimit = 10
	contestTime  = 10 * time.Minute
)

// Keeper keeps a machine as its record says: at boot, where every value is at its
// default, and whenever something makes it anew. A driver opens its queues and
// interrupts anew with the link, so the kernel's word on links is a reason to look; for
// the rest, irqbalance started again or a guest with a new VF, it looks now and then.
type Keeper struct {
	Host *Host
	Log  *slog.Logger
	// Monitor subscribes to link changes; nil = vfnl.OpenMonitor.
	Monitor func() (*vfnl.Monitor, error)
	Ready   func()        // called once the machine is as the record says
	Audit   time.Duration // how often it looks without a reason
	Quiet   time.Duration // how long links have to be quiet before it looks
	Gap     time.Duration // the least time from one look to the next

	state    Keeping
	refused  map[Target]string
	mends    map[Target][]time.Time
	complain map[Target]bool
}

// Keeping is what a Keeper tells of itself.
type Keeping struct {
	PID       int       `json:"pid"`
	Since     time.Time `json:"since"`
	Looks     int       `json:"looks"`
	Mended    int       `json:"mended"` // values put back since it runs, those of its first look apart
	Contested []string  `json:"contested,omitempty"`
}

func (s store) keeping() string { return filepath.Join(s.run, "tune-keep.json") }

// errNothing: there is no record that is to be kept.
var errNothing = errors.New("nothing is to be kept")

// Run keeps the machine until ctx ends or the record goes.
func (k *Keeper) Run(ctx context.Context) error {
	k.defaults()
	open := k.Monitor
	if open == nil {
		open = vfnl.OpenMonitor
	}
	m, err := open() // before the first look, so that nothing is missed
	if err != nil {
		return err
	}
	events := make(chan struct{}, 1)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return m.Run(ctx, func(vfnl.Event) {
			select {
			case events <- struct{}{}:
			default:
			}
		})
	})
	g.Go(func() error { return k.loop(ctx, events) })
	err = g.Wait()
	defer os.Remove(k.Host.store().keeping()) //nolint:errcheck // it may not be there
	if errors.Is(err, errNothing) {
		k.Log.Info("nothing is to be kept any more")
		return nil
	}
	return err
}

func (k *Keeper) defaults() {
	for _, d := range []struct {
		at *time.Duration
		to time.Duration
	}{{&k.Audit, defaultAudit}, {&k.Quiet, defaultQuiet}, {&k.Gap, defaultGap}} {
		if *d.at <= 0 {
			*d.at = d.to
		}
	}
	k.refused, k.mends, k.complain = map[Target]string{}, map[Target][]time.Time{}, map[Target]bool{}
	k.state = Keeping{PID: os.Getpid(), Since: time.Now().UTC().Truncate(time.Second)}
}

// loop looks once at the start, after events and now and then.
func (k *Keeper) loop(ctx context.Context, events <-chan struct{}) error {
	due := time.NewTimer(0)
	defer due.Stop()
	var last, first time.Time // the last look; the first event since
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-events:
			if first.IsZero() {
				first = time.Now()
			}
			quiet := min(k.Quiet, impatience-time.Since(first)) // links that are never quiet do not put it off for ever
			due.Reset(max(quiet, k.Gap-time.Since(last), 0))
		case <-due.C:
			err := k.look(ctx)
			last, first = time.Now(), time.Time{}
			switch {
			case errors.Is(err, errNothing), errors.Is(err, ErrContainer), errors.Is(err, ErrBadRecord):
				return err
			case err != nil && ctx.Err() == nil:
				k.Log.Warn("tuning could not be looked after; it is tried again", "err", err)
			}
			wait := k.Audit
			if errors.Is(err, ErrBusy) {
				wait = k.Gap
			} else if k.state.Looks == 1 && k.Ready != nil {
				k.Ready()
				k.Ready = nil
			}
			due.Reset(wait)
		}
	}
}

// look makes the machine so once.
func (k *Keeper) look(ctx context.Context) error {
	release, err := k.Host.store().lock()
	if err != nil {
		return err
	}
	defer release()
	r, err := k.Host.current()
	if err != nil {
		return err
	}
	if r == nil || !r.Persist {
		return errNothing
	}
	h := *k.Host
	h.lenient = true
	k.state.Looks++
	first := k.state.Looks == 1
	d, err := h.draft(r)
	if err != nil {
		return err
	}
	d.skip = k.skip
	var done []Done
	if len(slices.DeleteFunc(d.Changes(), k.skip)) > 0 {
		done, err = d.apply(ctx, nil)
	}
	k.note(done, first)
	return errors.Join(err, k.tell())
}

// skip leaves out what the kernel has refused, and what somebody else sets again and
// again.
func (k *Keeper) skip(f Finding) bool {
	if want, ok := k.refused[f.Target]; ok && want == f.Want {
		return true
	}
	recent := slices.DeleteFunc(k.mends[f.Target], func(t time.Time) bool { return time.Since(t) > contestTime })
	k.mends[f.Target] = recent
	if len(recent) < contestLimit {
		delete(k.complain, f.Target)
		return false
	}
	if !k.complain[f.Target] {
		k.complain[f.Target] = true
		k.Log.Warn("somebody else sets this again and again; it is left to them for a while", "what", f.What, "is", f.Now, "wanted", f.Want)
	}
	return true
}

func (k *Keeper) note(done []Done, first bool) {
	for _, x := range done {
		switch {
		case x.Err != nil:
			k.refused[x.Target] = x.Want
			k.Log.Warn("this cannot be set here", "what", x.What, "wanted", x.Want, "err", x.Err)
		case first:
			k.Log.Info("tuned", "what", x.What, "from", x.Now, "to", x.Want)
		default:
			k.state.Mended++
			k.mends[x.Target] = append(k.mends[x.Target], time.Now())
			k.Log.Info("tuned again: it had changed", "what", x.What, "from", x.Now, "to", x.Want)
		}
	}
	k.state.Contested = nil
	for t := range k.complain {
		k.state.Contested = append(k.state.Contested, t.String())
	}
	slices.Sort(k.state.Contested)
}

// tell writes down how it goes, for `neutrino tune status`.
func (k *Keeper) tell() error {
	path := k.Host.store().keeping()
	data, err := json.Marshal(k.state)
	if err == nil {
		err = os.MkdirAll(k.Host.store().run, 0o755)
	}
	if err == nil {
		err = renameio.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write how tuning is kept: %w", err)
	}
	return nil
}

// Keeping is what the keeper that runs tells of itself; nil = none runs.
func (h *Host) Keeping() *Keeping {
	data, err := os.ReadFile(h.store().keeping())
	if err != nil {
		return nil
	}
	k := &Keeping{}
	if json.Unmarshal(data, k) != nil {
		return nil
	}
	if exe, _ := h.text("proc", strconv.Itoa(k.PID), "comm"); exe == "" {
		return nil // it was killed
	}
	return k
}
