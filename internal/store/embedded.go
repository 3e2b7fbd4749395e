package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"golang.org/x/sys/unix"
)

const (
	// maxRequest is the largest transaction in bytes that the embedded etcd takes.
	maxRequest = 10 << 20
	// maxOps is the largest number of changes, or of comparisons, in one transaction.
	maxOps = 16384
	// walSegment is the size in bytes of one file of the embedded etcd's log; two are on
	// the disk at least.
	walSegment = 16 << 20
	// stopPatience is how long a member that has failed may take to stop.
	stopPatience = 3 * time.Second
)

// memberName is etcd's name of the embedded member. With memberURL it identifies the
// member in its data; nothing listens there.
const (
	memberName = "neutrino"
	memberURL  = "http://127.0.0.1:2380"
)

var walSegmentOnce sync.Once

// member is the embedded etcd.
type member struct {
	etcd    *embed.Etcd
	dir     string
	minFree int64
	lock    *os.File
	log     *slog.Logger

	failOnce sync.Once
	failed   chan struct{}
	reason   string // why it failed; read after failed is closed
}

// startMember locks the directory and starts the member. It returns when the member
// serves, or an error that says why it does not.
func startMember(ctx context.Context, cfg Config) (*member, error) {
	walSegmentOnce.Do(func() { wal.SegmentSizeBytes = walSegment })
	m := newMember(cfg)
	doing := "starting etcd in " + cfg.DataDir
	if err := m.lockDir(); err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if err := m.usable(); err != nil {
		m.unlock()
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	c, err := m.config(cfg)
	if err != nil {
		m.unlock()
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	if err = m.launch(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err), m.stop())
	}
	if err = m.reserve(); err != nil {
		m.log.Warn("no space is reserved for the database", "error", err)
	}
	return m, nil
}

func newMember(cfg Config) *member {
	return &member{
		dir: cfg.DataDir, minFree: cfg.MinFreeBytes, failed: make(chan struct{}),
		log: cfg.Log.With("part", "etcd"),
	}
}

// config of a member that is alone: no peers, so elections are quick and nothing listens.
func (m *member) config(cfg Config) (*embed.Config, error) {
	c := embed.NewConfig()
	c.Name = memberName
	c.Dir = filepath.Join(cfg.DataDir, "etcd")
	peer, err := url.Parse(memberURL)
	if err != nil {
		return nil, err
	}
	c.ListenPeerUrls, c.ListenClientUrls, c.ListenClientHttpUrls = nil, nil, nil
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = []url.URL{*peer}, []url.URL{*peer}
	c.InitialCluster = c.InitialClusterFromName(memberName)
	if cfg.ListenClient != "" {
		u := url.URL{Scheme: "http", Host: cfg.ListenClient}
		c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{u}, []url.URL{u}
	}
	c.EnableGRPCGateway = false
	c.ElectionMs = uint(cfg.ElectionTimeout / time.Millisecond)
	c.TickMs = c.ElectionMs / 5
	c.QuotaBackendBytes = cfg.QuotaBytes
	c.MaxTxnOps = maxOps
	c.MaxRequestBytes = maxRequest
	// Nobody has to catch up, so the log in memory can be short; the log on disk is what
	// a restart reads.
	c.SnapshotCount = 1000
	c.SnapshotCatchUpEntries = 50
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = time.Second
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newLogger(m.log, m.fail))
	return c, nil
}

// launch starts etcd in a goroutine of its own, because etcd ends the goroutine (newLogger)
// or panics when its data is beyond repair.
func (m *member) launch(ctx context.Context, c *embed.Config) error {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		r := result{err: errors.New("it gave up")}
		defer func() {
			if p := recover(); p != nil {
				m.fail(fmt.Sprintf("it panicked: %v", p))
			}
			started <- r
		}()
		if r.err = discardUnborn(newLogger(m.log, m.fail), c.Dir); r.err == nil {
			r.err = errors.New("it gave up")
			r.etcd, r.err = embed.StartEtcd(c)
		}
	}()
	select {
	case r := <-started:
		if r.err != nil {
			return r.err
		}
		m.etcd = r.etcd
	case <-m.failed:
		return errors.New(m.reason)
	case <-ctx.Done():
		m.fail("it did not start in time")
		return ctx.Err()
	}
	select {
	case <-m.etcd.Server.ReadyNotify():
		return nil
	case <-m.failed:
		return errors.New(m.reason)
	case <-ctx.Done():
		m.fail("it was not ready in time")
		return ctx.Err()
	}
}

func (m *member) client() *clientv3.Client { return v3client.New(m.etcd.Server) }

// fail marks the member as beyond repair in this process.
func (m *member) fail(reason string) {
	m.failOnce.Do(func() {
		m.reason = reason
		close(m.failed)
		m.log.Error("the embedded etcd has stopped; nothing can be written until the process is restarted", "reason", reason)
	})
}

func (m *member) hasFailed() bool {
	select {
	case <-m.failed:
		return true
	default:
		return false
	}
}

// ask does one request to etcd. The embedded etcd is asked in another goroutine, because
// it runs a request in the asker's: if it fails, the goroutine may end, or wait for ever
// for a lock that went down with another. Such a goroutine is left behind; the caller is
// not.
func ask[T any](ctx context.Context, db *DB, request func(ctx context.Context) (T, error)) (T, error) {
	if db.member == nil {
		return request(ctx)
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		var a answer
		a.value, a.err = request(ctx)
		answered <- a
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-db.member.failed:
		var none T
		return none, db.member.usable()
	}
}

// usable returns an ErrUnavailable when a write should not be tried.
func (m *member) usable() error {
	if m.hasFailed() {
		return fmt.Errorf("%w: the embedded etcd has stopped: %s", ErrUnavailable, m.reason)
	}
	if m.minFree < 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(m.dir, &fs); err != nil {
		return fmt.Errorf("%w: looking for free space in %s: %w", ErrUnavailable, m.dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < m.minFree {
		return fmt.Errorf("%w: disk full: %d MiB free in %s, %d MiB must be", ErrUnavailable, free>>20, m.dir, m.minFree>>20)
	}
	return nil
}

// stop closes the clients and stops the member. One that has failed may hang: it is left
// behind after a while, with its directory locked.
func (m *member) stop(clients ...*clientv3.Client) error {
	if m.etcd == nil {
		if !m.hasFailed() { // else StartEtcd may still hold the data
			m.unlock()
		}
		return nil
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, c := range clients {
			// It ends with the error of its own context.
			_ = c.Close()
		}
		m.etcd.Close()
	}()
	select {
	case <-stopped:
	case <-m.failed:
		select {
		case <-stopped:
		case <-time.After(stopPatience):
			return fmt.Errorf("the embedded etcd did not stop within %s after it failed: %s", stopPatience, m.reason)
		}
	}
	m.unlock()
	return nil
}

// lockDir makes the directory and keeps other processes out of it; etcd itself would wait
// for them in silence.
func (m *member) lockDir() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(m.dir, "lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%w: another process uses the directory: %w", ErrUnavailable, err)
	}
	m.lock = f
	return nil
}

func (m *member) unlock() {
	if m.lock != nil {
		m.lock.Close()
		m.lock = nil
	}
}
