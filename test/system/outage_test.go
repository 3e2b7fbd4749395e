package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writers create networks without a pause, from several clients, and remember what was
// acknowledged.
type writers struct {
	api  *api
	stop chan struct{}
	work sync.WaitGroup

	mu    sync.Mutex
	acked map[string]string // id -> name
	last  reply             // that was neither a success nor of the connection
}

func startWriters(t *testing.T, a *api, prefix string, clients int) *writers {
	t.Helper()
	w := &writers{api: a, stop: make(chan struct{}), acked: map[string]string{}}
	for i := range clients {
		w.work.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-w.stop:
					return
				default:
				}
				w.write(t.Context(), fmt.Sprintf("%s-%d-%d", prefix, i, n))
			}
		})
	}
	t.Cleanup(w.end)
	return w
}

func (w *writers) write(ctx context.Context, name string) reply {
	r := w.api.do(ctx, http.MethodPost, "/v2.0/networks", map[string]any{"network": object{"name": name, "provider:network_type": "local"}})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.err != nil:
	case r.status == http.StatusCreated:
		w.acked[str(r.object("network")["id"])] = name
	default:
		w.last = r
	}
	return r
}

func (w *writers) end() {
	select {
	case <-w.stop:
		return
	default:
	}
	close(w.stop)
	w.work.Wait()
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acked)
}

func (w *writers) refused() reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// kept holds what was acknowledged against what is there.
func (w *writers) kept(t *testing.T, a *api) {
	t.Helper()
	there := a.list(t, "networks")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.acked) == 0 {
		t.Error("nothing was acknowledged")
	}
	for id, name := range w.acked {
		if there[id] == nil || there[id]["name"] != name {
			t.Errorf("network %s (%s) was acknowledged and is not there", name, id)
		}
	}
}

// unavailable holds an answer against what Neutron says when its database is away.
func unavailable(t *testing.T, r reply) {
	t.Helper()
	var body struct{ NeutronError map[string]any }
	if err := json.Unmarshal(r.text, &body); r.status != http.StatusServiceUnavailable || err != nil {
		t.Errorf("the answer is %v (%v), want 503 with a NeutronError", r, err)
		return
	}
	for _, key := range []string{"type", "message", "detail"} {
		if v, ok := body.NeutronError[key].(string); !ok || v == "" && key != "detail" {
			t.Errorf("503 without %q: %s", key, r.text)
		}
	}
}

func (a *api) ready(ctx context.Context) bool {
	return a.do(ctx, http.MethodGet, "/readyz", nil).status == http.StatusOK
}

// readsWell: what was there before can be read while nothing can be written.
func readsWell(t *testing.T, a *api, id string) {
	t.Helper()
	began := time.Now()
	r := a.do(t.Context(), http.MethodGet, "/v2.0/networks/"+id, nil)
	if r.status != http.StatusOK {
		t.Errorf("reading while the store is away: %v", r)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("reading while the store is away took %s", d)
	}
}

// unlimited lets the tests write as much as they like.
const unlimited = "[quotas]\nquota_network = -1\nquota_port = -1\n"

// fill takes the space there is, but for so much.
func fill(t *testing.T, dir, name string, leave int64) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var fs unix.Statfs_t
	for block := make([]byte, 1<<20); len(block) > 0; {
		if err = unix.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		if left := int64(fs.Bavail)*fs.Bsize - leave; left < int64(len(block)) {
			block = block[:max(left, 0)]
		}
		if _, err = f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestDiskFull fills the disk of the controller's etcd while clients write: first to where
// writes are refused, then to the last byte.
func TestDiskFull(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := errors.Join(os.Mkdir(disk, 0o700), unix.Mount("tmpfs", disk, "tmpfs", 0, "size=200m")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the controller's
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := startController(t, dir, unlimited+"[store]\ndata_dir = "+filepath.Join(disk, "store")+"\n")
	before := str(c.api.must(t, http.MethodPost, "/v2.0/networks", "network", object{"name": "before", "provider:network_type": "local"})["id"])
	if !c.api.ready(t.Context()) {
		t.Error("/readyz does not say ready to begin with")
	}
	w := startWriters(t, c.api, "full", 4)
	until(t, "a write", 10*time.Second, func() bool { return w.count() > 10 })
	fill(t, disk, "first", 20<<20)
	until(t, "a write being refused", 10*time.Second, func() bool { return w.refused().status != 0 || c.over() })
	unavailable(t, w.refused())
	fill(t, disk, "second", 0)
	for full := time.Now().Add(time.Second); time.Now().Before(full); {
		if c.over() {
			t.Fatal("the controller has ended")
		}
		readsWell(t, c.api, before)
		if c.api.ready(t.Context()) {
			t.Fatal("/readyz says ready with a full disk")
		}
		if r := w.write(t.Context(), "while full"); r.status == http.StatusCreated {
			t.Fatal("a write was acknowledged with a full disk")
		}
	}
	w.end()
	if err := errors.Join(os.Remove(filepath.Join(disk, "first")), os.Remove(filepath.Join(disk, "second"))); err != nil {
		t.Fatal(err)
	}
	until(t, "writing again", 10*time.Second, func() bool { return w.write(t.Context(), "after").status == http.StatusCreated })
	until(t, "being ready again", 10*time.Second, func() bool { return c.api.ready(t.Context()) })
	w.kept(t, c.api)
	c.kill()
	c.again()
	w.kept(t, c.api)
	c.stop()
}

// TestEtcdGone takes an external etcd away in two ways: it hangs, and it is killed. The
// etcd is another controller's embedded one, which is a real etcd in a process of its own.
func TestEtcdGone(t *testing.T) {
	t.Parallel()
	client := freePort(t)
	etcd := startController(t, t.TempDir(), fmt.Sprintf("[store]\nlisten_client = 127.0.0.1:%d\ncluster = other\n", client))
	c := startController(t, t.TempDir(), unlimited+fmt.Sprintf("[store]\nendpoints = http://127.0.0.1:%d\n", client))
	before := str(c.api.must(t, http.MethodPost, "/v2.0/networks", "network", object{"name": "before", "provider:network_type": "local"})["id"])
	if !c.api.ready(t.Context()) {
		t.Error("/readyz does not say ready to begin with")
	}
	signal := func(s syscall.Signal) func() {
		return func() {
			if err := etcd.cmd.Process.Signal(s); err != nil {
				t.Error(err)
			}
		}
	}
	for _, way := range []struct {
		name       string
		away, back func()
	}{
		{"hangs", signal(syscall.SIGSTOP), signal(syscall.SIGCONT)},
		{"killed", func() { etcd.kill() }, func() { etcd.again() }},
	} {
		w := startWriters(t, c.api, way.name, 4)
		until(t, "a write", 10*time.Second, func() bool { return w.count() > 10 })
		way.away()
		until(t, way.name+": /readyz saying so", 8*time.Second, func() bool {
			readsWell(t, c.api, before)
			return !c.api.ready(t.Context())
		})
		until(t, way.name+": a write being refused", 12*time.Second, func() bool { return w.refused().status != 0 })
		unavailable(t, w.refused())
		w.end()
		readsWell(t, c.api, before)
		way.back()
		until(t, way.name+": writing again", 20*time.Second, func() bool { return w.write(t.Context(), "after").status == http.StatusCreated })
		until(t, way.name+": being ready again", 20*time.Second, func() bool { return c.api.ready(t.Context()) })
		w.kept(t, c.api)
	}
	c.stop()
	etcd.stop()
}
