package system

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scraped reads /metrics and lints it as promtool would.
func scraped(t *testing.T, a *api, base string) string {
	t.Helper()
	at := api{base: base, client: a.client}
	r := at.do(t.Context(), http.MethodGet, "/metrics", nil)
	if r.err != nil || r.status != http.StatusOK {
		t.Fatalf("scrape %s: %v", base, r)
	}
	problems, err := promlint.New(bytes.NewReader(r.text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "neutrino_") { // not the Go runtime's
			t.Errorf("%s: %s: %s", base, p.Metric, p.Text)
		}
	}
	return string(r.text)
}

// TestMetricsAreNamedAsPrometheusWants scrapes both daemons.
func TestMetricsAreNamedAsPrometheusWants(t *testing.T) {
	needRoot(t)
	t.Parallel()
	m := newMachine(t, "m", 2)
	ml2 := writeFile(t, filepath.Join(m.dir, "etc", "ml2_conf.ini"), oldML2)
	listen := func(name, rest string) string {
		return writeFile(t, filepath.Join(m.dir, "etc", name), "[metrics]\nlisten = "+rest)
	}
	ofController, ofAgent := "http://127.0.0.1:9698", "http://127.0.0.1:9697"
	mlnx := writeFile(t, filepath.Join(m.dir, "etc", "mlnx_conf.ini"), oldAgent)
	c := &controller{api: m.api(t)}
	c.process = start(t, m.start, newLog(t, "controller"), "controller", "--config-file", ml2,
		"--config-file", listen("c.conf", "127.0.0.1:9698\n"))
	c.serves(t)
	agent := start(t, m.start, newLog(t, "agent"), "agent", "--config-file", mlnx,
		"--config-file", listen("a.conf", "127.0.0.1:9697\n[dhcp]\nenabled = true\n"))
	until(t, "two agents", 20*time.Second, func() bool { return len(c.api.list(t, "agents")) == 2 })

	of := map[string]string{ofController: scraped(t, c.api, ofController), ofAgent: scraped(t, c.api, ofAgent)}
	for _, want := range []struct{ base, metric string }{
		{ofController, "neutrino_store_revision"},
		{ofController, "neutrino_store_watch_lag_seconds"},
		{ofController, "neutrino_store_undecodable_rows_total 0"},
		{ofController, "neutrino_store_following 1"},
		{ofController, "neutrino_fabric_streams 1"},
		{ofAgent, "neutrino_agent_connected 1"},
	} {
		if !strings.Contains(of[want.base], "\n"+want.metric) {
			t.Errorf("%s has no %s", want.base, want.metric)
		}
	}
	agent.stop()
	c.stop()
}
