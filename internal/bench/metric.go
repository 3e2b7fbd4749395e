package bench

import (
	"fmt"
	"slices"
)

// Metric is a figure that every run has.
type Metric struct {
	Key   string
	Title string
	Unit  string
	// Higher values are better.
	Higher bool
	// Judged by a check unless others are asked for. Far tails and the processors' load vary from run to run by more
	// than what a check is to find.
	Judged bool
	// Share: a part of a whole, often 0, of which no ratios are made.
	Share bool
	of    func(*Run) float64
}

func percentile(key string, quantile float64, judged bool) Metric {
	return Metric{Key: key, Title: key, Unit: "µs", Judged: judged, of: func(r *Run) float64 { return r.Latency.micros(quantile) }}
}

var latencyMetrics = []Metric{
	percentile("p50", 50, true), percentile("p90", 90, false), percentile("p99", 99, true), percentile("p99.9", 99.9, false),
	{Key: "max", Title: "max", Unit: "µs", of: func(r *Run) float64 { return float64(r.Latency.Max()) / 1000 }},
}

var (
	throughput = Metric{Key: "throughput", Title: "throughput", Unit: "Gbit/s", Higher: true, Judged: true, of: func(r *Run) float64 { return r.Bits() / 1e9 }}
	packets    = Metric{Key: "packets", Title: "packets", Unit: "k/s", Higher: true, Judged: true, of: func(r *Run) float64 { return r.Packets() / 1e3 }}
	loss       = Metric{Key: "loss", Title: "lost", Unit: "%", Share: true, of: func(r *Run) float64 { return r.Loss() * 100 }}
	localCPU   = Metric{Key: "cpu", Title: "CPUs busy here", Unit: "CPU", of: func(r *Run) float64 { return r.LocalUsage.cpus() }}
	remoteCPU  = Metric{Key: "peer-cpu", Title: "CPUs busy at the peer", Unit: "CPU", of: func(r *Run) float64 { return r.RemoteUsage.cpus() }}
)

// MetricKeys are those that can be asked for.
func MetricKeys() []string {
	var out []string
	for _, m := range slices.Concat(latencyMetrics, []Metric{throughput, packets, loss, localCPU, remoteCPU}) {
		out = append(out, m.Key)
	}
	return out
}

// Metrics of a series that has runs.
func (s Series) Metrics() []Metric {
	if len(s.Runs) == 0 {
		return nil
	}
	var out []Metric
	switch {
	case s.Runs[0].Latency != nil:
		out = slices.Clone(latencyMetrics)
		if s.Rate > 0 {
			out = append(out, loss)
		}
	case s.Test == "stream":
		out = append(out, throughput)
	case s.Test == "udpstream":
		out = append(out, throughput, loss)
	default:
		out = append(out, packets, loss)
	}
	out = append(out, localCPU)
	if !slices.ContainsFunc(s.Runs, func(r Run) bool { return r.RemoteUsage == nil }) {
		out = append(out, remoteCPU)
	}
	return out
}

// Values of a metric, by run.
func (s Series) Values(m Metric) []float64 {
	out := make([]float64, len(s.Runs))
	for i := range s.Runs {
		out[i] = m.of(&s.Runs[i])
	}
	return out
}

// Spread is what runs come to.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// SpreadOf some values.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	return Spread{slices.Min(values), median(values), slices.Max(values)}
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Figure is a value with as many digits as say something: "9.95", "47.2", "343".
func Figure(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
