package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

const childEnv = "NEUTRINO_JOURNAL_TEST_CHILD" // "<dir> <point to die at> <step to fail at>"

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

// host is a directory; step i is done while file i exists.
type host struct{ dir string }

func (h host) file(i int) string { return filepath.Join(h.dir, fmt.Sprint("step", i)) }

func (h host) has(i int) bool {
	_, err := os.Stat(h.file(i))
	return err == nil
}

var errBroken = errors.New("the host refuses")

// steps makes three files. fail is the step that cannot be done; -1 = none.
func (h host) steps(fail int) []Step {
	var out []Step
	for i := range 3 {
		out = append(out, Step{
			Describe: fmt.Sprint("make file ", i),
			Do: func(context.Context) error {
				if i == fail {
					return errBroken
				}
				return os.WriteFile(h.file(i), nil, 0o600)
			},
			Undo: func(context.Context) error {
				if err := os.Remove(h.file(i)); !errors.Is(err, os.ErrNotExist) {
					return err
				}
				return nil
			},
		})
	}
	return out
}

var records = []byte("records")

// work is what the owner makes of an intent of the given kind.
func (h host) work(kind string, fail int) Work {
	w := Work{Steps: h.steps(fail)}
	w.Commit = func(tx *bbolt.Tx) error { return tx.Bucket(records).Put([]byte(kind), []byte("yes")) }
	w.Done = func(context.Context) (bool, error) { return h.has(0) && h.has(1) && h.has(2), nil }
	if kind == "remove" {
		w = Work{Forward: true, Commit: func(tx *bbolt.Tx) error { return tx.Bucket(records).Delete([]byte("make")) }}
		for _, s := range h.steps(-1) {
			w.Steps = append(w.Steps, Step{Describe: "un" + s.Describe, Do: s.Undo})
		}
	}
	return w
}

func open(t testing.TB, file string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, berr := tx.CreateBucketIfNotExists(records)
		return berr
	})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func recorded(t testing.TB, db *bbolt.DB) bool {
	t.Helper()
	has := false
	if err := db.View(func(tx *bbolt.Tx) error { has = tx.Bucket(records).Get([]byte("make")) != nil; return nil }); err != nil {
		t.Fatal(err)
	}
	return has
}

func newJournal(t testing.TB) (*Journal, *bbolt.DB, host) {
	t.Helper()
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "db"))
	t.Cleanup(func() { _ = db.Close() })
	j, err := New(db)
	if err != nil {
		t.Fatal(err)
	}
	return j, db, host{dir}
}

// wantEnd checks that the host and the record are both in the new state, or both in the
// old one, and that no intent is left.
func wantEnd(t testing.TB, j *Journal, db *bbolt.DB, h host, isNew bool) {
	t.Helper()
	for i := range 3 {
		if h.has(i) != isNew {
			t.Errorf("step %d done %v, want %v", i, h.has(i), isNew)
		}
	}
	if got := recorded(t, db); got != isNew {
		t.Errorf("recorded %v, want %v", got, isNew)
	}
	pending, err := j.Pending()
	if err != nil || len(pending) != 0 {
		t.Errorf("pending %v, %v; want none", pending, err)
	}
}

func TestWorkIsDoneAndRecorded(t *testing.T) {
	j, db, h := newJournal(t)
	if err := j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, h.work("make", -1)); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, j, db, h, true)
}

func TestIntentIsOnDiskBeforeTheFirstStep(t *testing.T) {
	j, _, h := newJournal(t)
	w := h.work("make", -1)
	first := w.Steps[0].Do
	w.Steps[0].Do = func(ctx context.Context) error {
		p, err := j.Pending()
		if err != nil || len(p) != 1 || p[0].Key != "k" || string(p[0].Data) != `"data"` || len(p[0].Steps) != 3 || p[0].Began.IsZero() {
			t.Errorf("pending during the first step: %+v, %v", p, err)
		}
		return first(ctx)
	}
	if err := j.Run(t.Context(), Intent{Key: "k", Kind: "make", Data: json.RawMessage(`"data"`)}, w); err != nil {
		t.Fatal(err)
	}
}

func TestFailedStepIsUndoneWithThoseBeforeIt(t *testing.T) {
	for fail := range 3 {
		j, db, h := newJournal(t)
		err := j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, h.work("make", fail))
		if !errors.Is(err, errBroken) || errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), fmt.Sprint("make file ", fail)) {
			t.Errorf("step %d fails with %v", fail, err)
		}
		wantEnd(t, j, db, h, false)
	}
}

func TestUndoHasTimeWhenTheCallerHasNone(t *testing.T) {
	j, db, h := newJournal(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := h.work("make", 2)
	w.Steps[2].Do = func(ctx context.Context) error { cancel(); return ctx.Err() }
	undo := w.Steps[0].Undo
	w.Steps[0].Undo = func(ctx context.Context) error {
		if ctx.Err() != nil {
			t.Error("the step is undone with a context that has ended")
		}
		return undo(ctx)
	}
	if err := j.Run(ctx, Intent{Key: "k"}, w); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	wantEnd(t, j, db, h, false)
}

func TestWhatCannotBeUndoneStaysAndIsRecoveredLater(t *testing.T) {
	j, db, h := newJournal(t)
	w := h.work("make", 2)
	w.Steps[0].Undo = func(context.Context) error { return errors.New("not now") }
	err := j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, w)
	if !errors.Is(err, ErrStuck) || !errors.Is(err, errBroken) {
		t.Fatalf("err = %v, want ErrStuck and the cause", err)
	}
	if err = j.Run(t.Context(), Intent{Key: "k"}, h.work("make", -1)); !errors.Is(err, ErrBusy) {
		t.Errorf("another change of the same key: %v, want ErrBusy", err)
	}
	plan := func(Intent) (Work, error) { return w, nil }
	if err = j.Recover(t.Context(), plan); !errors.Is(err, ErrStuck) {
		t.Errorf("recover while it cannot be undone: %v", err)
	}
	plan = func(in Intent) (Work, error) { return h.work(in.Kind, -1), nil }
	if err = j.Recover(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, j, db, h, false)
}

func TestForwardWorkIsNotUndone(t *testing.T) {
	j, db, h := newJournal(t)
	if err := j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, h.work("make", -1)); err != nil {
		t.Fatal(err)
	}
	w := h.work("remove", -1)
	w.Steps[1].Do = func(context.Context) error { return errBroken }
	if err := j.Run(t.Context(), Intent{Key: "k", Kind: "remove"}, w); !errors.Is(err, ErrStuck) || !errors.Is(err, errBroken) {
		t.Fatalf("err = %v", err)
	}
	if h.has(0) || !h.has(1) {
		t.Error("steps were undone, or done after the one that failed")
	}
	if err := j.Recover(t.Context(), func(in Intent) (Work, error) { return h.work(in.Kind, -1), nil }); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, j, db, h, false)
}

func TestRecoverLeavesWhatIsUnderWayAlone(t *testing.T) {
	j, db, h := newJournal(t)
	w := h.work("make", -1)
	do := w.Steps[1].Do
	w.Steps[1].Do = func(ctx context.Context) error {
		if err := j.Recover(ctx, func(Intent) (Work, error) { return Work{}, errors.New("planned anew") }); err != nil {
			t.Errorf("recover met the change that is under way: %v", err)
		}
		return do(ctx)
	}
	if err := j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, w); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, j, db, h, true)
}

func TestUnplannableIntentDoesNotHoldUpOthers(t *testing.T) {
	j, db, h := newJournal(t)
	for _, key := range []string{"a", "b"} {
		w := h.work("make", 2)
		w.Steps[0].Undo = func(context.Context) error { return errBroken }
		if err := j.Run(t.Context(), Intent{Key: key, Kind: key}, w); !errors.Is(err, ErrStuck) {
			t.Fatal(err)
		}
	}
	err := j.Recover(t.Context(), func(in Intent) (Work, error) {
		if in.Kind == "a" {
			return Work{}, errors.New("unreadable")
		}
		return h.work("make", -1), nil
	})
	if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "unreadable") {
		t.Errorf("err = %v", err)
	}
	p, perr := j.Pending()
	if perr != nil || len(p) != 1 || p[0].Key != "a" {
		t.Errorf("pending %v, %v; want a alone", p, perr)
	}
	_ = db
}

// Whatever fails and however often it is recovered, the end is the old or the new state.
func TestEndsInTheOldOrTheNewState(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "journal")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, &bbolt.Options{NoSync: true})
		if err != nil {
			rt.Fatal(err)
		}
		defer db.Close()
		if err = db.Update(func(tx *bbolt.Tx) error { _, berr := tx.CreateBucketIfNotExists(records); return berr }); err != nil {
			rt.Fatal(err)
		}
		j, err := New(db)
		if err != nil {
			rt.Fatal(err)
		}
		h := host{dir}
		flaky := func(w Work) Work {
			for i := range w.Steps {
				do, undo := w.Steps[i].Do, w.Steps[i].Undo
				w.Steps[i].Do = func(ctx context.Context) error {
					how := rapid.IntRange(0, 3).Draw(rt, "do") // 1: fails before, 2: after its work
					if how == 1 {
						return errBroken
					}
					if derr := do(ctx); derr != nil {
						return derr
					}
					if how == 2 {
						return errBroken
					}
					return nil
				}
				if undo == nil {
					continue
				}
				w.Steps[i].Undo = func(ctx context.Context) error {
					if rapid.IntRange(0, 2).Draw(rt, "undo") == 1 {
						return errBroken
					}
					return undo(ctx)
				}
			}
			return w
		}
		_ = j.Run(context.Background(), Intent{Key: "k", Kind: "make"}, flaky(h.work("make", -1)))
		for range rapid.IntRange(0, 3).Draw(rt, "recoveries") {
			_ = j.Recover(context.Background(), func(in Intent) (Work, error) { return flaky(h.work(in.Kind, -1)), nil })
		}
		if err = j.Recover(context.Background(), func(in Intent) (Work, error) { return h.work(in.Kind, -1), nil }); err != nil {
			rt.Fatal(err)
		}
		rec := false
		_ = db.View(func(tx *bbolt.Tx) error { rec = tx.Bucket(records).Get([]byte("make")) != nil; return nil })
		for i := range 3 {
			if h.has(i) != rec {
				rt.Fatalf("recorded %v, but step %d done %v", rec, i, h.has(i))
			}
		}
	})
}

// runChild does and undoes work until the point at which it is to die.
func runChild(arg string) error {
	var dir, kind string
	var point, fail int
	if _, err := fmt.Sscan(arg, &dir, &kind, &point, &fail); err != nil {
		return err
	}
	db, err := bbolt.Open(filepath.Join(dir, "db"), 0o600, nil)
	if err != nil {
		return err
	}
	if err = db.Update(func(tx *bbolt.Tx) error { _, berr := tx.CreateBucketIfNotExists(records); return berr }); err != nil {
		return err
	}
	n := 0
	die := func(string) {
		if n == point {
			_ = db // killed with everything open
			p, _ := os.FindProcess(os.Getpid())
			_ = p.Kill()
			select {}
		}
		n++
	}
	j, err := New(db, WithHook(die))
	if err != nil {
		return err
	}
	err = j.Run(context.Background(), Intent{Key: "k", Kind: kind}, host{dir}.work(kind, fail))
	if err != nil && !errors.Is(err, errBroken) {
		return err
	}
	fmt.Println("survived")
	return nil
}

// Killed with kill -9 between any two steps, forward, undoing or removing, the next start
// ends in the old or the new state.
func TestKilledAtEveryStep(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind string
		fail int
	}{{"make", -1}, {"make", 2}, {"make", 1}, {"remove", -1}} {
		points := 0
		for point := 0; ; point++ {
			dir := t.TempDir()
			h := host{dir}
			if c.kind == "remove" {
				db := open(t, filepath.Join(dir, "db"))
				j, jerr := New(db)
				if jerr == nil {
					jerr = j.Run(t.Context(), Intent{Key: "k", Kind: "make"}, h.work("make", -1))
				}
				if jerr = errors.Join(jerr, db.Close()); jerr != nil {
					t.Fatal(jerr)
				}
			}
			cmd := exec.Command(exe)
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", childEnv, dir, c.kind, point, c.fail))
			out, cerr := cmd.Output()
			survived := strings.Contains(string(out), "survived")
			if !survived && (cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != -1) {
				t.Fatalf("child: %v %s", cerr, out)
			}
			db := open(t, filepath.Join(dir, "db"))
			j, jerr := New(db)
			if jerr != nil {
				t.Fatal(jerr)
			}
			if err = j.Recover(t.Context(), func(in Intent) (Work, error) { return h.work(in.Kind, -1), nil }); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, j, db, h, recorded(t, db))
			if c.kind == "remove" && recorded(t, db) && point > 0 {
				t.Error("what was being removed stands again")
			}
			if err = db.Close(); err != nil {
				t.Fatal(err)
			}
			if survived {
				break
			}
			points++
		}
		if points < 4 {
			t.Errorf("%s failing at %d: only %d points to die at", c.kind, c.fail, points)
		}
	}
}
