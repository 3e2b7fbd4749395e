package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc"
	"neutrino/internal/rpc/fabricv1"
)

// ErrStateInUse: another process holds the state file.
var ErrStateInUse = errors.New("state file is in use by another agent")

const stateFormat = 1

var (
	bucketMeta        = []byte("meta")
	bucketAttachments = []byte("attachments") // port id -> fabricv1.Attachment
	bucketNetworks    = []byte("networks")    // network id -> fabricv1.DHCPNetwork
	bucketRouters     = []byte("routers")     // router id -> fabricv1.Router
	bucketAssignments = []byte("assignments") // port id -> Assignment as JSON
	bucketReturning   = []byte("returning")   // PCI slot -> Returning as JSON
	keyFormat         = []byte("format")
	keyHost           = []byte("host")
	keyKnown          = []byte("known")      // present once a desired state was received
	keyGeneration     = []byte("generation") // the last one given, big-endian
)

// saved is what the file holds.
type saved struct {
	known       bool
	attachments map[string]*model.Attachment
	networks    map[string]*model.DHCPNetwork
	routers     map[string]*model.RouterSpec
	holdings
}

// holdings are the VFs that ports have or had.
type holdings struct {
	assigned   Assignments
	returning  map[string]Returning
	generation uint64
}

func (h holdings) equal(o holdings) bool {
	return h.generation == o.generation && maps.Equal(h.assigned, o.assigned) && maps.Equal(h.returning, o.returning)
}

// stateFile keeps what the host needs to come up without a controller. Every write is
// one transaction, on disk (fsync) when the call returns. It is safe for concurrent use.
type stateFile struct {
	db   *bbolt.DB
	path string
}

// openState opens or makes the file. One that cannot be read is moved aside, with a
// word in the log: the controller knows everything that was in it except which free VF
// the agent had chosen for a port, and that is found again from the VF's MAC address.
func openState(path, host string, log *slog.Logger) (*stateFile, saved, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, saved{}, fmt.Errorf("make the directory of the state file: %w", err)
	}
	f, s, err := tryState(path, host)
	if err == nil || errors.Is(err, ErrStateInUse) || !unreadable(err) {
		return f, s, err
	}
	aside := fmt.Sprintf("%s.unreadable-%s", path, time.Now().UTC().Format("20060102T150405.000"))
	log.Error("state file cannot be read; starting without it", "file", path, "kept_as", aside, "error", err)
	if rerr := os.Rename(path, aside); rerr != nil {
		return nil, saved{}, fmt.Errorf("move the unreadable state file aside: %w", rerr)
	}
	return tryState(path, host)
}

// errContent marks content that makes no sense, as opposed to a file system that fails.
var errContent = errors.New("unreadable content")

func unreadable(err error) bool {
	return errors.Is(err, errContent) || errors.Is(err, berrors.ErrInvalid) ||
		errors.Is(err, berrors.ErrVersionMismatch) || errors.Is(err, berrors.ErrChecksum)
}

func tryState(path, host string) (f *stateFile, s saved, err error) {
	// A file cut short under its memory map faults on access; that shall be an error.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bbolt.DB
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read state file %s: %w: %v", path, errContent, r)
		}
		if err != nil {
			f = nil
			closeQuietly(db)
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, s, fmt.Errorf("open state file %s: %w", path, ErrStateInUse)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, s, fmt.Errorf("open state file %s: %w", path, err)
	case err != nil:
		if st, serr := os.Stat(path); serr == nil && st.Mode().IsRegular() && st.Size() > 0 && st.Size() < 2*4096 {
			return nil, s, fmt.Errorf("open state file %s: %w: %w", path, errContent, err)
		}
		return nil, s, fmt.Errorf("open state file %s: %w", path, err)
	}
	f = &stateFile{db: db, path: path}
	if err = f.prepare(host); err != nil {
		return nil, s, err
	}
	s, err = f.load()
	return f, s, err
}

// closeQuietly closes a database that may be damaged.
func closeQuietly(db *bbolt.DB) {
	if db == nil {
		return
	}
	defer func() { _ = recover() }()
	_ = db.Close()
}

// prepare makes the buckets of a new file and checks whose an old one is.
func (f *stateFile) prepare(host string) error {
	return f.db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return fmt.Errorf("prepare state file %s: %w", f.path, err)
		}
		for _, name := range [][]byte{bucketAttachments, bucketNetworks, bucketRouters, bucketAssignments, bucketReturning} {
			if _, err = tx.CreateBucketIfNotExists(name); err != nil {
				return fmt.Errorf("prepare state file %s: %w", f.path, err)
			}
		}
		switch format := meta.Get(keyFormat); {
		case format == nil:
			if err = meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, stateFormat)); err != nil {
				return err
			}
			return meta.Put(keyHost, []byte(host))
		case !bytes.Equal(format, binary.BigEndian.AppendUint32(nil, stateFormat)):
			return fmt.Errorf("state file %s has format %x, this program knows %d: %w", f.path, format, stateFormat, errContent)
		case string(meta.Get(keyHost)) != host:
			return fmt.Errorf("state file %s belongs to host %q, this is %q", f.path, meta.Get(keyHost), host)
		}
		return nil
	})
}

func (f *stateFile) load() (saved, error) {
	s := saved{
		attachments: map[string]*model.Attachment{}, networks: map[string]*model.DHCPNetwork{},
		routers:  map[string]*model.RouterSpec{},
		holdings: holdings{assigned: Assignments{}, returning: map[string]Returning{}},
	}
	err := f.db.View(func(tx *bbolt.Tx) error {
		s.known = tx.Bucket(bucketMeta).Get(keyKnown) != nil
		err := tx.Bucket(bucketAttachments).ForEach(func(k, v []byte) error {
			var m fabricv1.Attachment
			if perr := proto.Unmarshal(v, &m); perr != nil {
				return fmt.Errorf("attachment %q: %w: %w", k, errContent, perr)
			}
			a, aerr := rpc.DecodeAttachment(&m, nil)
			if aerr != nil {
				return fmt.Errorf("attachment %q: %w: %w", k, errContent, aerr)
			}
			if a.PortID != string(k) {
				return fmt.Errorf("attachment %q: %w: it is port %q", k, errContent, a.PortID)
			}
			s.attachments[a.PortID] = a
			return nil
		})
		if err != nil {
			return err
		}
		err = tx.Bucket(bucketNetworks).ForEach(func(k, v []byte) error {
			var m fabricv1.DHCPNetwork
			if err = proto.Unmarshal(v, &m); err != nil {
				return fmt.Errorf("network %q: %w: %w", k, errContent, err)
			}
			n, decodeErr := rpc.DecodeDHCPNetwork(&m)
			if decodeErr != nil {
				return fmt.Errorf("network %q: %w: %w", k, errContent, decodeErr)
			}
			if n.NetworkID != string(k) {
				return fmt.Errorf("network %q: %w: it is network %q", k, errContent, n.NetworkID)
			}
			s.networks[n.NetworkID] = n
			return nil
		})
		if err != nil {
			return err
		}
		if err = loadRouters(tx.Bucket(bucketRouters), s.routers); err != nil {
			return err
		}
		return s.holdings.load(tx)
	})
	if err != nil {
		return saved{}, fmt.Errorf("read state file %s: %w", f.path, err)
	}
	return s, nil
}

func loadRouters(b *bbolt.Bucket, into map[string]*model.RouterSpec) error {
	return b.ForEach(func(k, v []byte) error {
		var m fabricv1.Router
		if err := proto.Unmarshal(v, &m); err != nil {
			return fmt.Errorf("router %q: %w: %w", k, errContent, err)
		}
		r, err := rpc.DecodeRouter(&m)
		if err != nil {
			return fmt.Errorf("router %q: %w: %w", k, errContent, err)
		}
		if r.RouterID != string(k) {
			return fmt.Errorf("router %q: %w: it is router %q", k, errContent, r.RouterID)
		}
		into[r.RouterID] = r
		return nil
	})
}

func (h *holdings) load(tx *bbolt.Tx) error {
	if g := tx.Bucket(bucketMeta).Get(keyGeneration); len(g) == 8 {
		h.generation = binary.BigEndian.Uint64(g)
	} else if g != nil {
		return fmt.Errorf("generation: %w", errContent)
	}
	err := tx.Bucket(bucketAssignments).ForEach(func(k, v []byte) error {
		var a Assignment
		if err := json.Unmarshal(v, &a); err != nil || a.PortID != string(k) || a.PCISlot == "" {
			return fmt.Errorf("assignment %q: %w", k, errContent)
		}
		h.assigned[a.PortID] = a
		return nil
	})
	if err != nil {
		return err
	}
	return tx.Bucket(bucketReturning).ForEach(func(k, v []byte) error {
		var r Returning
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("VF on its way back %q: %w", k, errContent)
		}
		h.returning[string(k)] = r
		return nil
	})
}

// record makes the file hold this desired state and these holdings, writing only what
// differs from what it held (was, old). It returns when all is on disk.
func (f *stateFile) record(was, want map[string]*model.Attachment, old, next holdings) error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if err := meta.Put(keyKnown, []byte{1}); err != nil {
			return err
		}
		if err := meta.Put(keyGeneration, binary.BigEndian.AppendUint64(nil, next.generation)); err != nil {
			return err
		}
		err := rewrite(tx.Bucket(bucketAttachments), was, want,
			func(a, b *model.Attachment) bool { return a == b },
			func(a *model.Attachment) ([]byte, error) { return proto.Marshal(rpc.EncodeAttachment(a)) })
		if err != nil {
			return err
		}
		err = rewrite(tx.Bucket(bucketAssignments), old.assigned, next.assigned,
			func(a, b Assignment) bool { return a == b },
			func(a Assignment) ([]byte, error) { return json.Marshal(a) })
		if err != nil {
			return err
		}
		return rewrite(tx.Bucket(bucketReturning), old.returning, next.returning,
			func(a, b Returning) bool { return a == b },
			func(r Returning) ([]byte, error) { return json.Marshal(r) })
	})
	if err != nil {
		return fmt.Errorf("write state file %s: %w", f.path, err)
	}
	return nil
}

// recordNetworks does for DHCP networks what record does for attachments.
func (f *stateFile) recordNetworks(was, want map[string]*model.DHCPNetwork) error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		return rewrite(tx.Bucket(bucketNetworks), was, want,
			func(a, b *model.DHCPNetwork) bool { return a == b },
			func(n *model.DHCPNetwork) ([]byte, error) { return proto.Marshal(rpc.EncodeDHCPNetwork(n)) })
	})
	if err != nil {
		return fmt.Errorf("write state file %s: %w", f.path, err)
	}
	return nil
}

// recordRouters does for routers what record does for attachments.
func (f *stateFile) recordRouters(was, want map[string]*model.RouterSpec) error {
	err := f.db.Update(func(tx *bbolt.Tx) error {
		return rewrite(tx.Bucket(bucketRouters), was, want,
			func(a, b *model.RouterSpec) bool { return a == b },
			func(r *model.RouterSpec) ([]byte, error) { return proto.Marshal(rpc.EncodeRouter(r)) })
	})
	if err != nil {
		return fmt.Errorf("write state file %s: %w", f.path, err)
	}
	return nil
}

func rewrite[T any](b *bbolt.Bucket, was, want map[string]T, same func(a, b T) bool, encode func(T) ([]byte, error)) error {
	for k := range was {
		if _, keep := want[k]; !keep {
			if err := b.Delete([]byte(k)); err != nil {
				return err
			}
		}
	}
	for k, v := range want {
		if old, ok := was[k]; ok && same(old, v) {
			continue
		}
		data, err := encode(v)
		if err != nil {
			return err
		}
		if err = b.Put([]byte(k), data); err != nil {
			return err
		}
	}
	return nil
}

func (f *stateFile) close() error { return f.db.Close() }
