package dhcp

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec // by message type
	verdicts *prometheus.CounterVec // by verdict
	failures prometheus.Counter     // replies that could not be sent
	networks *prometheus.GaugeVec   // by state: serving, pending, failed
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_dhcp_requests_total", Help: "DHCP messages received, by type.",
		}, []string{"type"}),
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_dhcp_verdicts_total", Help: "What became of DHCP messages: an answer, or why there was none.",
		}, []string{"verdict"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_dhcp_send_failures_total", Help: "DHCP replies that could not be sent.",
		}),
		networks: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "neutrino_dhcp_networks", Help: "Networks with DHCP on this host, by state.",
		}, []string{"state"}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.verdicts, m.failures, m.networks} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
