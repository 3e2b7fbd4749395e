package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"neutrino/internal/bench"
)

// parseNeutrino reads the result of `neutrino bench run -o json`.
func parseNeutrino(out []byte, name string) (map[string]float64, error) {
	r, err := bench.Decode(out)
	if err != nil {
		return nil, err
	}
	if len(r.Series) != 1 || len(r.Series[0].Runs) != 1 {
		return nil, fmt.Errorf("neutrino: %d series where one was asked for", len(r.Series))
	}
	run := r.Series[0].Runs[0]
	if h := run.Latency; h != nil {
		return map[string]float64{
			name + "-p50":  float64(h.ValueAtQuantile(50)) / 1000,
			name + "-p99":  float64(h.ValueAtQuantile(99)) / 1000,
			name + "-mean": h.Mean() / 1000,
		}, nil
	}
	if name == "pps" {
		return map[string]float64{name: run.Packets() / 1e3}, nil
	}
	return map[string]float64{name: run.Bits() / 1e9}, nil
}

var (
	sockperfPercentile = regexp.MustCompile(`percentile (50|99)\.000 = +([0-9.]+)`)
	sockperfMean       = regexp.MustCompile(`avg-rtt=([0-9.]+)`)
)

// parseSockperf reads what sockperf's ping-pong prints.
func parseSockperf(out []byte, name string) (map[string]float64, error) {
	got := map[string]float64{}
	for _, m := range sockperfPercentile.FindAllSubmatch(out, -1) {
		v, err := strconv.ParseFloat(string(m[2]), 64)
		if err != nil {
			return nil, fmt.Errorf("sockperf: percentile %q: %w", m[2], err)
		}
		got[name+"-p"+string(m[1])] = v
	}
	if m := sockperfMean.FindSubmatch(out); m != nil {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			return nil, fmt.Errorf("sockperf: mean %q: %w", m[1], err)
		}
		got[name+"-mean"] = v
	}
	if len(got) != 3 {
		return nil, fmt.Errorf("sockperf: no percentiles in %q", tail(string(out)))
	}
	return got, nil
}

// parseIperf reads iperf3's JSON: what the receiver had.
func parseIperf(out []byte, name string) (map[string]float64, error) {
	var r struct {
		Error string
		End   struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
			Sum struct {
				Seconds float64
				Bytes   float64
				Packets float64
				Lost    float64 `json:"lost_packets"`
			}
		}
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, fmt.Errorf("iperf3: %w", err)
	}
	sum := r.End.Sum
	switch {
	case r.Error != "":
		return nil, fmt.Errorf("iperf3: %s", r.Error)
	case name == "stream" && r.End.Received.Bits > 0:
		return map[string]float64{name: r.End.Received.Bits / 1e9}, nil
	case name == "stream" || sum.Seconds <= 0 || sum.Packets <= 0:
		return nil, fmt.Errorf("iperf3: nothing was received")
	}
	arrived := (sum.Packets - sum.Lost) / sum.Seconds
	if name == "pps" {
		return map[string]float64{name: arrived / 1e3}, nil
	}
	return map[string]float64{name: arrived * sum.Bytes / sum.Packets * 8 / 1e9}, nil
}

var qperfLine = regexp.MustCompile(`(?m)^ *(latency|bw|recv_bw) += +([0-9.]+) ([A-Za-z/]+)`)

var qperfUnits = map[string]float64{
	"ns": 1e-3, "us": 1, "ms": 1e3, "sec": 1e6, // microseconds
	"bytes/sec": 1e-9, "KB/sec": 1e-6, "MB/sec": 1e-3, "GB/sec": 1, // 10^9 bytes
}

// parseQperf reads what qperf prints. Its latency is one way, the mean.
func parseQperf(out []byte, name string) (map[string]float64, error) {
	m := qperfLine.FindAllSubmatch(out, -1)
	if len(m) == 0 {
		return nil, fmt.Errorf("qperf: nothing measured in %q", tail(string(out)))
	}
	last := m[len(m)-1]
	v, err := strconv.ParseFloat(string(last[2]), 64)
	unit, known := qperfUnits[string(last[3])]
	if err != nil || !known {
		return nil, fmt.Errorf("qperf: %q is not understood", last[0])
	}
	v *= unit
	switch {
	case latency(name):
		return map[string]float64{name + "-mean": 2 * v}, nil
	case name == "pps":
		return map[string]float64{name: v * 1e9 / 64 / 1e3}, nil
	}
	return map[string]float64{name: v * 8}, nil
}
