package neutron_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// BenchmarkCreatePort measures ports made per second at several concurrencies, each beside
// bare etcd transactions of the same shape and size on the same disk: compare
// neutrino/1 with raw/1 and so on.
//
//	go test -run '^$' -bench CreatePort -benchtime 3s ./internal/neutron
func BenchmarkCreatePort(b *testing.B) {
	for _, concurrency := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("raw/%d", concurrency), func(b *testing.B) { benchRaw(b, concurrency) })
		b.Run(fmt.Sprintf("neutrino/%d", concurrency), func(b *testing.B) { benchPorts(b, concurrency) })
	}
}

func benchPorts(b *testing.B, concurrency int) {
	r := open(b, store.Config{DataDir: filepath.Join(b.TempDir(), "etcd")}, neutron.Options{DefaultQuotas: unlimited})
	defer r.close()
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/8")
	spread(b, concurrency, func(int64) error {
		_, err := r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(port(n))})
		return err
	})
}

// spread runs do b.N times from a number of goroutines.
func spread(b *testing.B, concurrency int, do func(i int64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ports/s")
}

// benchRaw writes what a port is: a row of the usual size and three claims, comparing the
// network's layout, the group and that the four do not exist.
func benchRaw(b *testing.B, concurrency int) {
	client := rawEtcd(b)
	for _, key := range []string{"layout", "group"} {
		if _, err := client.Put(ctx, key, "x"); err != nil {
			b.Fatal(err)
		}
	}
	row := strings.Repeat("x", 900)
	spread(b, concurrency, func(i int64) error {
		id := fmt.Sprintf("00000000-0000-0000-0000-%012d", i)
		keys := []string{
			"/neutrino/default/ports/" + id,
			"/neutrino/default/claim/mac/" + id + "/" + id,
			"/neutrino/default/claim/ip/" + id + "/10.0.0.1",
			"/neutrino/default/claim/sg/" + id + "/" + id,
		}
		cmps := []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision("layout"), ">", 0),
			clientv3.Compare(clientv3.CreateRevision("group"), ">", 0),
		}
		var ops []clientv3.Op
		for j, key := range keys {
			cmps = append(cmps, clientv3.Compare(clientv3.ModRevision(key), "=", 0))
			value := id
			if j == 0 {
				value = row
			}
			ops = append(ops, clientv3.OpPut(key, value))
		}
		resp, err := client.Txn(ctx).If(cmps...).Then(ops...).Commit()
		if err == nil && !resp.Succeeded {
			err = fmt.Errorf("transaction %d was refused", i)
		}
		return err
	})
}

// rawEtcd starts an etcd as the store does, in this process, listening nowhere.
func rawEtcd(b *testing.B) *clientv3.Client {
	b.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(b.TempDir(), "raw")
	peer, err := url.Parse("http://127.0.0.1:2380")
	if err != nil {
		b.Fatal(err)
	}
	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.ListenClientHttpUrls = nil, nil, nil
	cfg.AdvertisePeerUrls, cfg.AdvertiseClientUrls = []url.URL{*peer}, []url.URL{*peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = 20, 100
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		b.Fatal(err)
	}
	<-etcd.Server.ReadyNotify()
	client := v3client.New(etcd.Server)
	b.Cleanup(func() {
		_ = client.Close()
		etcd.Close()
	})
	return client
}

// BenchmarkAttachments measures what a host's stream asks for on each of its changes.
func BenchmarkAttachments(b *testing.B) {
	r := open(b, store.Config{DataDir: filepath.Join(tempDir(b), "etcd"), Log: slog.New(slog.DiscardHandler)}, neutron.Options{DefaultQuotas: unlimited})
	defer r.close()
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/16")
	r.agentUp(nicAgent("h1"))
	for range 127 {
		r.port(direct(n, "h1"))
	}
	snap := r.db.Snapshot()
	for b.Loop() {
		if all, _ := r.s.Attachments(snap, "h1"); len(all) != 127 {
			b.Fatalf("%d attachments", len(all))
		}
	}
}
