package metadata

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec // by outcome
	turned   prometheus.Counter
	proxies  prometheus.Gauge
	open     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_metadata_requests_total", Help: "Requests for metadata, by outcome.",
		}, []string{"outcome"}),
		turned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_metadata_connections_refused_total", Help: "Connections of instances that had too many already.",
		}),
		proxies: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "neutrino_metadata_proxies", Help: "Namespaces in which metadata is served.",
		}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "neutrino_metadata_connections", Help: "Open connections of instances.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.turned, m.proxies, m.open} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
