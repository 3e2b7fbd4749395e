package fabric

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	streams       prometheus.Gauge
	refused       prometheus.Counter
	sent          *prometheus.CounterVec
	ports         prometheus.Counter
	deriveSeconds *prometheus.HistogramVec
	reports       *prometheus.CounterVec
	reportSeconds prometheus.Histogram
	stuck         prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.0001, 2, 18)
	m := &metrics{
		streams: prometheus.NewGauge(prometheus.GaugeOpts{Name: "neutrino_fabric_streams", Help: "Hosts that are joined."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "neutrino_fabric_refused_total", Help: "Agents refused for what they said or who they are."}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_fabric_messages_total", Help: "Messages sent to agents.",
		}, []string{"message"}),
		ports: prometheus.NewCounter(prometheus.CounterOpts{Name: "neutrino_fabric_attachments_total", Help: "Attachments sent to agents, new or changed."}),
		deriveSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "neutrino_fabric_derive_seconds", Help: "Time to derive a host's desired state and compare it.", Buckets: buckets,
		}, []string{"part"}),
		reports: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_fabric_reports_total", Help: "Port reports by what became of them.",
		}, []string{"outcome"}),
		reportSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "neutrino_fabric_report_seconds", Help: "Time from the arrival of a report to its commit.", Buckets: buckets,
		}),
		stuck: prometheus.NewCounter(prometheus.CounterOpts{Name: "neutrino_fabric_stuck_total", Help: "Streams given up because the agent did not read."}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.streams, m.refused, m.sent, m.ports, m.deriveSeconds, m.reports, m.reportSeconds, m.stuck} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
