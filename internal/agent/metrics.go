package agent

import (
	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/model"
)

// metrics of one agent; they are kept also when nobody collects them.
type metrics struct {
	passes        *prometheus.CounterVec
	passSeconds   prometheus.Histogram
	deviceSeconds *prometheus.HistogramVec
	stateSeconds  prometheus.Histogram
	steps         prometheus.Counter
	failures      prometheus.Counter
	drift         *prometheus.CounterVec
	ports         *prometheus.GaugeVec
	bridgePorts   *prometheus.GaugeVec
	connected     prometheus.Gauge
	connects      *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	buckets := prometheus.ExponentialBuckets(0.0001, 2, 16)
	m := &metrics{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_agent_passes_total", Help: "Runs of the reconcile loop by what woke it.",
		}, []string{"cause"}),
		passSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "neutrino_agent_pass_seconds", Help: "Duration of one run of the reconcile loop.", Buckets: buckets,
		}),
		deviceSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "neutrino_agent_switch_seconds", Help: "Duration of one call to the embedded switch.", Buckets: buckets,
		}, []string{"call"}),
		stateSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "neutrino_agent_state_write_seconds", Help: "Duration of one durable write of the state file.", Buckets: buckets,
		}),
		steps: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_agent_steps_total", Help: "Changes made to VFs.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "neutrino_agent_step_failures_total", Help: "Changes of VFs that failed or did not read back.",
		}),
		drift: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_agent_drift_total", Help: "Attributes that somebody else changed and that were put back.",
		}, []string{"attribute"}),
		ports: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "neutrino_agent_ports", Help: "Ports of this host by whether their VF reads as asked.",
		}, []string{"state"}),
		bridgePorts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "neutrino_agent_bridge_ports", Help: "Ports of this host's Open vSwitch bridges by whether they are as asked.",
		}, []string{"state"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "neutrino_agent_connected", Help: "1 while a controller has accepted the agent.",
		}),
		connects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neutrino_agent_connects_total", Help: "Attempts to join a controller by outcome.",
		}, []string{"outcome"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.passes, m.passSeconds, m.deviceSeconds, m.stateSeconds, m.steps, m.failures, m.drift, m.ports, m.bridgePorts, m.connected, m.connects,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) gauges(reports map[string]model.PortReport) { upAndDown(m.ports, reports) }

func (m *metrics) bridgeGauges(reports map[string]model.PortReport) {
	upAndDown(m.bridgePorts, reports)
}

func upAndDown(g *prometheus.GaugeVec, reports map[string]model.PortReport) {
	up := 0
	for _, r := range reports {
		if r.Up {
			up++
		}
	}
	g.WithLabelValues("up").Set(float64(up))
	g.WithLabelValues("down").Set(float64(len(reports) - up))
}
