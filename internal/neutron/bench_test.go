package neutron_test

import (
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"

	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// rounds is how many times the two sides of a comparison take turns.
const rounds = 8

// BenchmarkCreatePort measures ports made per second at several concurrencies beside bare
// etcd transactions of the same shape and size on the same disk. The two take turns, so
// that what else the machine does meets both; ratio is the median of the turns' ratios,
// ratio-low and ratio-high the lowest and the highest.
//
//	go test -run '^$' -bench CreatePort -benchtime 5s ./internal/neutron
func BenchmarkCreatePort(b *testing.B) {
	for _, concurrency := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("%d", concurrency), func(b *testing.B) { benchCreate(b, concurrency) })
	}
}

func benchCreate(b *testing.B, concurrency int) {
	ports, raw := portMaker(b), rawMaker(b)
	var ratios, made, written []float64
	b.ResetTimer()
	for round := range rounds {
		n := b.N*(round+1)/rounds - b.N*round/rounds
		if n == 0 {
			continue
		}
		runtime.GC() // each pays for its own rubbish
		w := spread(b, n, concurrency, raw)
		runtime.GC()
		p := spread(b, n, concurrency, ports)
		made, written, ratios = append(made, p), append(written, w), append(ratios, p/w)
	}
	b.StopTimer()
	slices.Sort(ratios)
	b.ReportMetric(median(made), "ports/s")
	b.ReportMetric(median(written), "raw/s")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(ratios[0], "ratio-low")
	b.ReportMetric(ratios[len(ratios)-1], "ratio-high")
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// spread runs do n times from a number of goroutines and returns how often per second.
func spread(b *testing.B, n, concurrency int, do func() error) float64 {
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range concurrency {
		wg.Go(func() {
			for next.Add(1) <= int64(n) {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(began).Seconds()
}

// portMaker returns what makes a port on a network of its own.
func portMaker(b *testing.B) func() error {
	r := open(b, store.Config{DataDir: filepath.Join(b.TempDir(), "etcd")}, neutron.Options{DefaultQuotas: unlimited})
	b.Cleanup(r.close)
	n := r.network("p1")
	r.subnet(n, "10.0.0.0/8")
	return func() error {
		_, err := r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(port(n))})
		return err
	}
}

// rawMaker returns what writes what a port is: a row of the usual size and three claims
// under keys like a port's, comparing the network's layout, the group and that the four
// do not exist.
func rawMaker(b *testing.B) func() error {
	client := rawEtcd(b)
	for _, key := range []string{"layout", "group"} {
		if _, err := client.Put(ctx, key, "x"); err != nil {
			b.Fatal(err)
		}
	}
	network, subnet, group := uuid.NewString(), uuid.NewString(), uuid.NewString()
	row := strings.Repeat("x", 900)
	var made atomic.Int64
	return func() error {
		i, id := made.Add(1), uuid.NewString() // the number makes MAC and address unique, not the next of the last
		keys := []string{
			"/neutrino/default/ports/" + id,
			fmt.Sprintf("/neutrino/default/claim/mac/%s/fa:16:3e:%s:%02x:%02x:%02x", network, id[:2], byte(i>>16), byte(i>>8), byte(i)),
			fmt.Sprintf("/neutrino/default/claim/ip/%s/10.%d.%d.%d", subnet, byte(i>>16), byte(i>>8), byte(i)),
			"/neutrino/default/claim/sg/" + group + "/" + id,
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
	}
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
