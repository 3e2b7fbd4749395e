package router

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	routers  *prometheus.GaugeVec // by state: up, down
	pass     prometheus.Histogram
	looked   prometheus.Counter
	skipped  prometheus.Counter
	failures prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		routers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "neutrino_router_routers", Help: "Routers on this host, by state.",
		}, []string{"state"}),
		pass: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "neutrino_router_pass_seconds", Help: "How long it takes to go over the routers of this host.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
		}),
		looked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_router_looked_at_total", Help: "Routers that were compared with the kernel's tables, each time.",
		}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_router_skipped_total", Help: "Routers that were passed over because nothing about them had changed, each time.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_router_failures_total", Help: "Routers that could not be carried out as asked, each time, netdevs that are waited for left out.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.routers, m.pass, m.looked, m.skipped, m.failures} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
