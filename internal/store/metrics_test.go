package store

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// scrape reads the metrics as Prometheus would, one value by name.
func scrape(t *testing.T, db *DB) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(db.Collector()); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	out := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		if (f.GetType() == dto.MetricType_COUNTER) != (f.GetName() == "neutrino_store_undecodable_rows_total") {
			t.Errorf("%s is a %v", f.GetName(), f.GetType())
		}
	}
	return out
}

func TestMetricsSayHowFarTheTablesAre(t *testing.T) {
	tab := fruits()
	db := open(t, Config{}, tab)
	put(t, db, tab, fruit{ID: "a"})
	m := scrape(t, db)
	want := []string{"neutrino_store_following", "neutrino_store_revision", "neutrino_store_undecodable_rows_total", "neutrino_store_watch_lag_seconds"}
	if got := slices.Sorted(maps.Keys(m)); !slices.Equal(got, want) {
		t.Fatalf("metrics: %v, want %v", got, want)
	}
	if m["neutrino_store_revision"] != float64(db.Revision()) || m["neutrino_store_following"] != 1 || m["neutrino_store_watch_lag_seconds"] > 1 {
		t.Errorf("at revision %d: %v", db.Revision(), m)
	}
	if _, err := db.client.Put(t.Context(), db.prefix+"fruits/garbage", "\xff"); err != nil {
		t.Fatal(err)
	}
	// Of the revision of that row, and of one outside of the prefix, the lag has to know.
	if _, err := db.client.Put(t.Context(), "/elsewhere", "x"); err != nil {
		t.Fatal(err)
	}
	if lag, err := db.Lag(t.Context()); err != nil || lag > time.Second {
		t.Errorf("Lag = %s, %v", lag, err)
	}
	if m = scrape(t, db); m["neutrino_store_undecodable_rows_total"] != 1 {
		t.Errorf("after a row of garbage: %v", m)
	}
	db.member.fail("for this test")
	eventually(t, "the watch ending", func() bool { return scrape(t, db)["neutrino_store_following"] == 0 })
	if m = scrape(t, db); m["neutrino_store_revision"] == 0 {
		t.Errorf("without an etcd: %v", m)
	}
	if _, ok := m["neutrino_store_watch_lag_seconds"]; ok {
		t.Error("a lag behind an etcd that has stopped")
	}
}
