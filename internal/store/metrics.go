package store

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// lagPatience is how long a scrape waits for etcd to say how new it is.
const lagPatience = time.Second

// Lag returns how long the tables take at this moment to reach what etcd has: the time
// from etcd's answer until the watch has brought everything up to that answer's revision.
// It asks etcd with a read that a majority confirms. Errors are those of Check.
func (db *DB) Lag(ctx context.Context) (time.Duration, error) {
	if db.isClosed() {
		return 0, ErrClosed
	}
	resp, err := ask(ctx, db, func(ctx context.Context) (*clientv3.GetResponse, error) {
		return db.client.Get(ctx, db.prefix, clientv3.WithKeysOnly(), clientv3.WithLimit(1))
	})
	if err != nil {
		return 0, db.failure("asking etcd for its revision", err)
	}
	began := time.Now()
	if db.progress.at() >= resp.Header.Revision {
		return 0, nil
	}
	db.nudge(ctx) // the revision may be one of keys that are not ours
	if err = db.await(ctx, resp.Header.Revision); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}

// Collector returns the store's metrics for Prometheus. Each scrape asks etcd once, for
// the lag, and waits a second for it at most; an etcd that does not answer leaves the lag
// out and shows in neutrino_store_following.
func (db *DB) Collector() prometheus.Collector { return collector{db} }

type collector struct{ db *DB }

var (
	revisionDesc    = prometheus.NewDesc("neutrino_store_revision", "Revision of etcd that the in-memory tables have reached.", nil, nil)
	undecodableDesc = prometheus.NewDesc("neutrino_store_undecodable_rows_total", "Rows in etcd that could not be understood and were passed over.", nil, nil)
	followingDesc   = prometheus.NewDesc("neutrino_store_following", "1 while the in-memory tables follow etcd.", nil, nil)
	lagDesc         = prometheus.NewDesc("neutrino_store_watch_lag_seconds", "Time that the in-memory tables take to reach what etcd has now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{revisionDesc, undecodableDesc, followingDesc, lagDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	db := c.db
	following := 0.0
	if w := db.watching.Load(); w != nil && w.err == nil && !db.isClosed() {
		following = 1
		ctx, stop := context.WithTimeout(db.ctx, lagPatience)
		if lag, err := db.Lag(ctx); err == nil {
			ch <- prometheus.MustNewConstMetric(lagDesc, prometheus.GaugeValue, lag.Seconds())
		}
		stop()
	}
	ch <- prometheus.MustNewConstMetric(followingDesc, prometheus.GaugeValue, following)
	ch <- prometheus.MustNewConstMetric(revisionDesc, prometheus.GaugeValue, float64(db.Revision()))
	ch <- prometheus.MustNewConstMetric(undecodableDesc, prometheus.CounterValue, float64(db.Undecodable()))
}
