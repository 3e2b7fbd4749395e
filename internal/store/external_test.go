package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// TestTwoControllers: what one writes the other reads, and only one gets a claim.
func TestTwoControllers(t *testing.T) {
	cfg := shared(t)
	tabA, tabB, tabC := fruits(), fruits(), fruits()
	a, b := open(t, cfg, tabA), open(t, cfg, tabB)
	put(t, a, tabA, fruit{ID: "x"})
	eventually(t, "b reading a's row", func() bool { _, ok := tabB.Get(b.Snapshot(), "x"); return ok })
	if a.Failed() != nil {
		t.Error("Failed of an external etcd")
	}

	other := cfg
	other.Cluster = "other"
	c := open(t, other, tabC)
	wantIDs(t, "another cluster", tabC.All(c.Snapshot()))

	var wg sync.WaitGroup
	for i := range 10 {
		won := make(chan string, 2)
		key := fmt.Sprint(i)
		for who, db := range map[string]*DB{"a": a, "b": b} {
			wg.Go(func() {
				err := db.Update(context.Background(), func(tx *Tx) error { tx.Claim("vlan", key, who); return nil })
				switch {
				case err == nil:
					won <- who
				case !errors.Is(err, ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 {
			t.Errorf("claim %s was won %d times", key, len(won))
		}
		// The loser's view has the winner's claim by now.
		winner := <-won
		for _, db := range []*DB{a, b} {
			eventually(t, "both seeing the claim", func() bool {
				o, ok := db.ClaimOwner(db.Snapshot(), "vlan", key)
				return ok && o == winner
			})
		}
	}
}

// TestForeignRevisions: the revision of a conflict may be another prefix's, which the
// watch never brings; the transaction must not wait for it.
func TestForeignRevisions(t *testing.T) {
	for name, cfg := range map[string]Config{"external": shared(t), "embedded": {Log: silent()}} {
		t.Run(name, func(t *testing.T) {
			tab := fruits()
			db := open(t, cfg, tab)
			put(t, db, tab, fruit{ID: "a"})
			runs := 0
			begin := time.Now()
			update(t, db, func(tx *Tx) {
				runs++
				f, _ := tab.Read(tx, "a")
				tab.Put(tx, &fruit{ID: "a", Size: f.Size + 1})
				if runs == 1 {
					put(t, db, tab, fruit{ID: "a", Size: 10})
					for range 3 {
						if _, err := db.client.Put(t.Context(), "/elsewhere", "x"); err != nil {
							t.Error(err)
						}
					}
				}
			})
			if f, _ := tab.Get(db.Snapshot(), "a"); f.Size != 11 || runs != 2 {
				t.Errorf("size %d after %d runs", f.Size, runs)
			}
			if d := time.Since(begin); d > 2*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

// TestResync cuts a controller off while others write, delete and compact the history.
func TestResync(t *testing.T) {
	m := server(t, t.TempDir(), "127.0.0.1:0")
	defer func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}()
	p := newPipe(t, m.address())
	tabA, tabB := fruits(), fruits()
	a := open(t, Config{Endpoints: []string{m.address()}}, tabA)
	b := open(t, Config{Endpoints: []string{p.l.Addr().String()}, RequestTimeout: 500 * time.Millisecond}, tabB)
	put(t, a, tabA, fruit{ID: "gone"}, fruit{ID: "changed", Size: 1}, fruit{ID: "same"})
	update(t, a, func(tx *Tx) { tx.Claim("k", "gone", "o"); tx.Claim("k", "same", "o") })
	eventually(t, "b following", func() bool { return b.Revision() >= a.Revision() })
	_, _, same := tabB.WatchGet(b.Snapshot(), "same")
	_, _, changed := tabB.WatchGet(b.Snapshot(), "changed")

	p.set(true)
	begin := time.Now()
	err := b.Update(t.Context(), func(tx *Tx) error { tabB.Put(tx, &fruit{ID: "b"}); return nil })
	if !errors.Is(err, ErrUnavailable) || time.Since(begin) > 2*time.Second {
		t.Errorf("cut off, after %s: %v", time.Since(begin), err)
	}
	if err = b.Check(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Check when cut off: %v", err)
	}
	wantIDs(t, "reads when cut off", tabB.All(b.Snapshot()), "changed", "gone", "same")

	update(t, a, func(tx *Tx) {
		tabA.Delete(tx, "gone")
		tabA.Put(tx, &fruit{ID: "changed", Size: 2})
		tabA.Put(tx, &fruit{ID: "new"})
		tx.Release("k", "gone", "o")
		tx.Claim("k", "new", "o")
	})
	if err = a.compact(a.Revision()); err != nil {
		t.Fatal(err)
	}
	p.set(false)
	eventually(t, "b caught up", func() bool { return b.Revision() >= a.Revision() })
	s := b.Snapshot()
	wantIDs(t, "after the cut", tabB.All(s), "changed", "new", "same")
	if f, _ := tabB.Get(s, "changed"); f.Size != 2 {
		t.Error("an old version after the cut")
	}
	if _, ok := b.ClaimOwner(s, "k", "gone"); ok {
		t.Error("a released claim after the cut")
	}
	if !closed(changed) {
		t.Error("no word of the change")
	}
	select {
	case <-same:
		t.Error("woken for a row that did not change")
	default:
	}
	eventually(t, "b ready", func() bool { return b.Ready() == nil })
	eventually(t, "b writing", func() bool {
		return b.Update(t.Context(), func(tx *Tx) error { tabB.Put(tx, &fruit{ID: "b"}); return nil }) == nil
	})
}

// TestServerStops stops the etcd and starts it again on the same data and port.
func TestServerStops(t *testing.T) {
	dir := t.TempDir()
	m := server(t, dir, "127.0.0.1:0")
	listen := m.address()
	tab := fruits()
	db := open(t, Config{Endpoints: []string{listen}, RequestTimeout: 500 * time.Millisecond}, tab)
	put(t, db, tab, fruit{ID: "before"})
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err := db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "during"}); return nil })
	if !errors.Is(err, ErrUnavailable) || time.Since(begin) > 2*time.Second {
		t.Errorf("stopped, after %s: %v", time.Since(begin), err)
	}
	if _, err = db.NewLease(t.Context(), time.Second); !errors.Is(err, ErrUnavailable) {
		t.Errorf("NewLease: %v", err)
	}
	wantIDs(t, "reads", tab.All(db.Snapshot()), "before")

	m = server(t, dir, listen)
	defer func() {
		if serr := m.stop(); serr != nil {
			t.Error(serr)
		}
	}()
	eventually(t, "writing again", func() bool {
		return db.Update(t.Context(), func(tx *Tx) error { tab.Put(tx, &fruit{ID: "after"}); return nil }) == nil
	})
	eventually(t, "asking again", func() bool { return db.Check(t.Context()) == nil })
	if _, ok := tab.Get(db.Snapshot(), "before"); !ok {
		t.Error("a row is gone")
	}
}

// TestSecured: TLS with the server's certificate checked, and a user with a password.
func TestSecured(t *testing.T) {
	certs := t.TempDir()
	info, err := transport.SelfCert(zap.NewNop(), certs, []string{"127.0.0.1:0"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Config{DataDir: t.TempDir(), Log: silent()}.complete()
	if err != nil {
		t.Fatal(err)
	}
	m := newMember(cfg)
	c, err := m.config(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	c.ClientTLSInfo = info
	if err = m.launch(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if serr := m.stop(); serr != nil {
			t.Error(serr)
		}
	}()
	root := m.client()
	defer root.Close()
	ctx := t.Context()
	for _, err = range []error{
		second(root.UserAdd(ctx, "root", "secret")),
		second(root.UserGrantRole(ctx, "root", "root")),
		second(root.UserAdd(ctx, "neutrino", "password")),
		second(root.RoleAdd(ctx, "neutrino")),
		second(root.RoleGrantPermission(ctx, "neutrino", "/neutrino/", "/neutrino0", clientv3.PermissionType(clientv3.PermReadWrite))),
		second(root.UserGrantRole(ctx, "neutrino", "neutrino")),
		second(root.AuthEnable(ctx)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	good := Config{
		Endpoints: []string{"https://" + m.address()}, TLS: TLS{CAFile: info.CertFile},
		Username: "neutrino", Password: "password",
	}
	tab := fruits()
	good.Log = silent()
	db := open(t, good, tab)
	put(t, db, tab, fruit{ID: "a"})
	if err = db.Check(ctx); err != nil {
		t.Error(err)
	}
	bad := good
	bad.Password = "wrong"
	bad.OpenTimeout, bad.RequestTimeout = time.Second, time.Second
	if _, err = Open(ctx, bad); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a wrong password: %v", err)
	}
	bad = good
	bad.TLS.CAFile = ""
	bad.OpenTimeout, bad.RequestTimeout = time.Second, time.Second
	if _, err = Open(ctx, bad); !errors.Is(err, ErrUnavailable) {
		t.Errorf("an unknown authority: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestNobodyThere(t *testing.T) {
	begin := time.Now()
	_, err := Open(t.Context(), Config{
		Endpoints: []string{"127.0.0.1:1"}, OpenTimeout: 300 * time.Millisecond, Log: silent(),
	}, fruits())
	if !errors.Is(err, ErrUnavailable) || time.Since(begin) > 3*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}
