package store

import (
	"bufio"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A test that needs a process to kill or to let fail runs this binary again with childVar
// set to a directory and childMode to what it is to do.
const (
	childVar  = "NEUTRINO_STORE_CHILD"
	childMode = "NEUTRINO_STORE_CHILD_MODE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVar); dir != "" {
		os.Exit(child(dir, os.Getenv(childMode)))
	}
	goleak.VerifyTestMain(m)
}

type fruit struct {
	ID     string            `json:"id"`
	Colour string            `json:"colour,omitempty"`
	Tags   []string          `json:"tags,omitempty"`
	Size   int               `json:"size,omitempty"`
	Notes  map[string]string `json:"notes,omitempty"`
}

func fruits() *Table[fruit] {
	return NewTable("fruits", func(f *fruit) string { return f.ID },
		Index[fruit]{Name: "colour", Keys: func(f *fruit) []string {
			if f.Colour == "" {
				return nil
			}
			return []string{f.Colour}
		}},
		Index[fruit]{Name: "tag", Keys: func(f *fruit) []string { return f.Tags }})
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t testing.TB, cfg Config, tables ...AnyTable) *DB {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = silent()
	}
	if len(cfg.Endpoints) == 0 && cfg.DataDir == "" {
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
	}
	db, err := Open(t.Context(), cfg, tables...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cerr := db.Close(); cerr != nil {
			t.Error(cerr)
		}
	})
	return db
}

func update(t testing.TB, db *DB, fn func(tx *Tx)) {
	t.Helper()
	err := db.Update(context.Background(), func(tx *Tx) error { fn(tx); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, db *DB, tab *Table[fruit], rows ...fruit) {
	t.Helper()
	update(t, db, func(tx *Tx) {
		for i := range rows {
			tab.Put(tx, &rows[i])
		}
	})
}

func ids(rows iter.Seq[*fruit]) []string {
	out := []string{}
	for f := range rows {
		out = append(out, f.ID)
	}
	return out
}

func wantIDs(t testing.TB, what string, rows iter.Seq[*fruit], want ...string) {
	t.Helper()
	if got := ids(rows); !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// closed reports whether a channel closes soon.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-time.After(2 * time.Second):
		return false
	}
}

// eventually waits for what only the other side of a watch can bring.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(15 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not after 15 s", what)
		}
	}
}

// server is an etcd for tests of external clusters.
func server(t testing.TB, dir, listen string) *member {
	t.Helper()
	cfg, err := Config{DataDir: dir, ListenClient: listen, Log: silent()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	m, err := startMember(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *member) address() string { return m.etcd.Clients[0].Addr().String() }

// shared returns the configuration of an external etcd that lives as long as the test; with
// cluster names several stores can share it.
func shared(t testing.TB) Config {
	t.Helper()
	m := server(t, t.TempDir(), "127.0.0.1:0")
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	})
	return Config{Endpoints: []string{m.address()}, Log: silent()}
}

// child is the process that crash tests kill: it writes rows for as long as it lives and
// says which of them it was told are written.
func child(dir, mode string) int {
	cfg := Config{DataDir: dir, Log: silent(), RequestTimeout: 2 * time.Second}
	size := 600
	if mode == "full" {
		cfg.MinFreeBytes, size = -1, 200_000
	}
	tab := fruits()
	db, err := Open(context.Background(), cfg, tab)
	if err != nil {
		fmt.Println("error", err)
		return 1
	}
	start := tab.Len(db.Snapshot())
	out := bufio.NewWriter(os.Stdout)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				f := fruit{ID: fmt.Sprintf("f-%d-%d-%d", start, w, i), Notes: map[string]string{"n": string(make([]byte, size/6))}}
				uerr := db.Update(context.Background(), func(tx *Tx) error {
					tab.Put(tx, &f)
					tx.Claim("name", f.ID, f.ID)
					return nil
				})
				mu.Lock()
				if uerr != nil {
					fmt.Fprintln(out, "error", uerr)
				} else {
					fmt.Fprintln(out, "ok", f.ID)
				}
				out.Flush()
				mu.Unlock()
				if uerr != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if mode == "full" {
		fmt.Fprintln(out, "rows", tab.Len(db.Snapshot()), "ready", db.Ready())
		out.Flush()
	}
	return 0
}

// pipe is a TCP relay that can be cut.
type pipe struct {
	l      net.Listener
	target string
	mu     sync.Mutex
	cut    bool
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
}

func newPipe(t testing.TB, target string) *pipe {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{l: l, target: target, conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(true)
		p.wg.Wait()
	})
	return p
}

func (p *pipe) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		d, derr := net.Dial("tcp", p.target)
		if p.cut || derr != nil {
			c.Close()
			if derr == nil {
				d.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns[c], p.conns[d] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { relay(c, d) })
		p.wg.Go(func() { relay(d, c) })
	}
}

func relay(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// set cuts the pipe, or lets new connections through again.
func (p *pipe) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			c.Close()
		}
		p.conns = map[net.Conn]bool{}
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
