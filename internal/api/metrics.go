package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics count requests. The labels are bounded: known methods, known collections.
type metrics struct {
	duration *prometheus.HistogramVec
}

// newMetrics registers with r; nil = nothing is counted.
func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		return nil
	}
	m := &metrics{duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "neutrino", Subsystem: "api", Name: "request_duration_seconds",
		Help:    "Time from a request's arrival to the end of its answer, and how many there were.",
		Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10},
	}, []string{"method", "collection", "code"})}
	r.MustRegister(m.duration)
	return m
}

func (m *metrics) observe(method, collection string, code int, took time.Duration) {
	if m == nil {
		return
	}
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		method = "other"
	}
	m.duration.WithLabelValues(method, collection, strconv.Itoa(code)).Observe(took.Seconds())
}

// scrapeHandler serves the gatherer's metrics; nil = none.
func scrapeHandler(g prometheus.Gatherer) http.Handler {
	if g == nil {
		return nil
	}
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{})
}
