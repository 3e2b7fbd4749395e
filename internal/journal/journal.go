package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// Errors for errors.Is.
var (
	// ErrBusy: the key has an intent already.
	ErrBusy = errors.New("another change is under way")
	// ErrStuck: the work could be neither finished nor undone; the intent stays and
	// Recover is to be called again.
	ErrStuck = errors.New("change is half done")
)

var bucket = []byte("intents") // key -> Intent as JSON

// undoDeadline bounds the undoing of one step when the caller's context has ended.
const undoDeadline = 30 * time.Second

// Journal keeps intents in one bucket of a bbolt file that belongs to the caller. It
// is safe for concurrent use; work of different keys runs side by side.
type Journal struct {
	db   *bbolt.DB
	hook func(point string) // tests: called at each point where a crash is different

	mu     sync.Mutex
	active map[string]bool
}

// Option changes how a Journal works.
type Option func(*Journal)

// WithHook has f called between any two writes and steps, with the name of the point.
// It exists so that tests can end the process at each of them.
func WithHook(f func(point string)) Option { return func(j *Journal) { j.hook = f } }

// New makes the journal of an open file.
func New(db *bbolt.DB, opts ...Option) (*Journal, error) {
	j := &Journal{db: db, active: map[string]bool{}, hook: func(string) {}}
	for _, o := range opts {
		o(j)
	}
	err := db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the journal in %s: %w", db.Path(), err)
	}
	return j, nil
}

// Run writes the intent, does the steps and commits. When a step fails, what was done
// is undone and the intent goes; the error is the step's. When undoing fails as well,
// or the commit does, the error is ErrStuck too and the intent stays. Work that goes
// Forward only is not undone: it is stuck at once.
func (j *Journal) Run(ctx context.Context, in Intent, w Work) error {
	if err := j.lock(in.Key); err != nil {
		return err
	}
	defer j.unlock(in.Key)
	if err := j.begin(in, w); err != nil {
		return err
	}
	j.hook("begun")
	return j.finish(ctx, in, w)
}

// finish does the steps of an intent that is on disk.
func (j *Journal) finish(ctx context.Context, in Intent, w Work) error {
	for i, s := range w.Steps {
		if err := s.Do(ctx); err != nil {
			err = fmt.Errorf("%s: %w", s.Describe, err)
			if w.Forward {
				return fmt.Errorf("%w: %w", ErrStuck, err)
			}
			return j.back(ctx, in, w, i, err)
		}
		j.hook(fmt.Sprintf("done %d", i))
	}
	if err := j.end(in.Key, w.Commit); err != nil {
		return fmt.Errorf("record that %s is done: %w: %w", in.Key, ErrStuck, err)
	}
	j.hook("committed")
	return nil
}

// back undoes the steps from the one at last down, all of them, and removes the intent.
func (j *Journal) back(ctx context.Context, in Intent, w Work, last int, cause error) error {
	var errs []error
	for i := min(last, len(w.Steps)-1); i >= 0; i-- {
		s := w.Steps[i]
		if s.Undo == nil {
			continue
		}
		if err := undo(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("undo: %s: %w", s.Describe, err))
			// What came before rests on nothing of this step only by chance: stop.
			break
		}
		j.hook(fmt.Sprintf("undone %d", i))
	}
	if len(errs) == 0 {
		if err := j.end(in.Key, w.Abort); err != nil {
			errs = append(errs, fmt.Errorf("record that %s is undone: %w", in.Key, err))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrStuck, errors.Join(append([]error{cause}, errs...)...))
	}
	j.hook("aborted")
	return cause
}

// undo gives a step its time even where the caller has none left: a host is not left
// half changed because a client hung up.
func undo(ctx context.Context, s Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoDeadline)
	defer cancel()
	return s.Undo(ctx)
}

// Recover brings every pending intent to an end: plan makes its work again, from its
// kind and data. Intents whose work is under way in this process are left alone. The
// error joins those of all that are still stuck; the others are done.
func (j *Journal) Recover(ctx context.Context, plan func(Intent) (Work, error)) error {
	pending, err := j.Pending()
	if err != nil {
		return err
	}
	var errs []error
	for _, in := range pending {
		if j.lock(in.Key) != nil {
			continue
		}
		if err = j.recover(ctx, in, plan); err != nil {
			errs = append(errs, fmt.Errorf("%s of %s, begun %s: %w", in.Kind, in.Key, in.Began.Format(time.RFC3339), err))
		}
		j.unlock(in.Key)
	}
	return errors.Join(errs...)
}

func (j *Journal) recover(ctx context.Context, in Intent, plan func(Intent) (Work, error)) error {
	w, err := plan(in)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStuck, err)
	}
	if w.Forward {
		return j.finish(ctx, in, w)
	}
	if w.Done != nil {
		done, derr := w.Done(ctx)
		if derr != nil {
			return fmt.Errorf("%w: see whether it was done: %w", ErrStuck, derr)
		}
		if done {
			return j.end(in.Key, w.Commit)
		}
	}
	err = j.back(ctx, in, w, len(w.Steps)-1, nil)
	if errors.Is(err, ErrStuck) {
		return err
	}
	return nil
}

// Pending lists the intents on disk in order of their keys: those under way, and those
// that a crash or ErrStuck left.
func (j *Journal) Pending() ([]Intent, error) {
	var out []Intent
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
			var in Intent
			if err := json.Unmarshal(v, &in); err != nil {
				return fmt.Errorf("intent %q: %w", k, err)
			}
			in.Key = string(k)
			out = append(out, in)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the journal in %s: %w", j.db.Path(), err)
	}
	slices.SortFunc(out, func(a, b Intent) int { return strings.Compare(a.Key, b.Key) })
	return out, nil
}

func (j *Journal) begin(in Intent, w Work) error {
	in.Steps = w.Describe()
	in.Began = time.Now().UTC()
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("write down the intent to %s %s: %w", in.Kind, in.Key, err)
	}
	err = j.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		if b.Get([]byte(in.Key)) != nil {
			return ErrBusy
		}
		return b.Put([]byte(in.Key), data)
	})
	if err != nil {
		return fmt.Errorf("write down the intent to %s %s: %w", in.Kind, in.Key, err)
	}
	return nil
}

func (j *Journal) end(key string, also func(tx *bbolt.Tx) error) error {
	return j.db.Update(func(tx *bbolt.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return tx.Bucket(bucket).Delete([]byte(key))
	})
}

func (j *Journal) lock(key string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active[key] {
		return fmt.Errorf("%s: %w", key, ErrBusy)
	}
	j.active[key] = true
	return nil
}

func (j *Journal) unlock(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.active, key)
}
