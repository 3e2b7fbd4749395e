package store

import (
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"
)

// TLS names PEM files for connections to an external etcd.
type TLS struct {
	CertFile, KeyFile string // client certificate; both or none
	CAFile            string // "" = the system's authorities
}

func (t TLS) set() bool { return t != TLS{} }

// Config says where the state is. The zero value of every field but DataDir has a
// meaning; DataDir is needed when Endpoints is empty.
type Config struct {
	// Endpoints of an external etcd cluster, "host:port" or a URL. Empty: an etcd
	// embedded in this process keeps its data under DataDir.
	Endpoints []string
	// Cluster separates several neutrino clusters in one etcd; "" = "default".
	Cluster string

	// TLS, Username and Password are for Endpoints.
	TLS                TLS
	Username, Password string

	// DataDir is the embedded etcd's directory; it is created with mode 0700 and locked.
	DataDir string
	// ListenClient makes the embedded etcd serve clients (etcdctl) on this loopback
	// host:port; "" = it listens nowhere.
	ListenClient string
	// ElectionTimeout of the embedded etcd, at least 50 ms; 0 = 100 ms. It is the main
	// part of a restart.
	ElectionTimeout time.Duration
	// QuotaBytes is the largest size of the embedded etcd's database file; 0 = 4 GiB.
	QuotaBytes int64
	// MinFreeBytes is the space that must be free where DataDir is for a write to be
	// tried at all, so that etcd itself never meets a full disk; 0 = 48 MiB, negative =
	// do not look.
	MinFreeBytes int64

	// RequestTimeout bounds one request to etcd and the wait for its result; 0 = 5 s.
	RequestTimeout time.Duration
	// OpenTimeout bounds Open: start, connection, load; 0 = 30 s.
	OpenTimeout time.Duration
	// MaxInFlight is the number of transactions sent to etcd at a time, the others wait;
	// 0 = 128.
	MaxInFlight int
	// MaxAttempts bounds the runs of a transaction that meets conflicts; 0 = 40.
	MaxAttempts int

	// Log gets etcd's words at warning level and above, and the store's own; nil =
	// slog.Default().
	Log *slog.Logger

	// Housekeeping of the embedded etcd; tests make it eager.
	houseTick     time.Duration // how often it looks; 0 = 5 s
	compactEvery  int64         // revisions; 0 = 5000
	keepRevisions int64         // left by a compaction; 0 = 2000
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// complete returns c with defaults filled in, or an error that names the field.
func (c Config) complete() (Config, error) {
	if c.Cluster == "" {
		c.Cluster = "default"
	}
	if !clusterName.MatchString(c.Cluster) {
		return c, fmt.Errorf("%w: cluster name %q: want letters, digits, '_', '.', '-'", ErrInvalid, c.Cluster)
	}
	if len(c.Endpoints) == 0 && c.DataDir == "" {
		return c, fmt.Errorf("%w: no data directory for the embedded etcd and no endpoints of another", ErrInvalid)
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return c, fmt.Errorf("%w: a client certificate and its key come together", ErrInvalid)
	}
	if err := loopbackOnly(c.ListenClient); err != nil {
		return c, err
	}
	orDefault(&c.ElectionTimeout, 100*time.Millisecond)
	c.ElectionTimeout = max(c.ElectionTimeout, 50*time.Millisecond)
	orDefault(&c.QuotaBytes, 4<<30)
	orDefault(&c.MinFreeBytes, 48<<20)
	orDefault(&c.RequestTimeout, 5*time.Second)
	orDefault(&c.OpenTimeout, 30*time.Second)
	orDefault(&c.MaxInFlight, 128)
	orDefault(&c.MaxAttempts, 40)
	orDefault(&c.houseTick, 5*time.Second)
	orDefault(&c.compactEvery, 5000)
	orDefault(&c.keepRevisions, 2000)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func loopbackOnly(listen string) error {
	if listen == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%w: client listener %q: %w", ErrInvalid, listen, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%w: client listener %q: the embedded etcd listens on loopback only", ErrInvalid, listen)
	}
	return nil
}
