package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// figure is one thing that tools measure, in the same unit.
type figure struct {
	key, title, unit string
	higher           bool // is better
	shared           bool // both ends on one processor
}

// The figures. Latencies are measured twice: with both ends on one processor, where a path's own cost shows,
// and on two, where it is the scheduler's waking that does.
var figures = []figure{
	{"udp-p50", "UDP round trip, p50", "µs", false, true},
	{"udp-p99", "UDP round trip, p99", "µs", false, true},
	{"udp-mean", "UDP round trip, mean", "µs", false, true},
	{"tcp-p50", "TCP round trip, p50", "µs", false, true},
	{"tcp-p99", "TCP round trip, p99", "µs", false, true},
	{"tcp-mean", "TCP round trip, mean", "µs", false, true},
	{"stream", "TCP throughput", "Gbit/s", true, false},
	{"udpstream", "UDP throughput, 1452 bytes", "Gbit/s", true, false},
	{"pps", "UDP, 64 bytes", "k/s", true, false},
}

// Names of the cases that a tool can be asked for.
var cases = []string{"udp", "tcp", "stream", "udpstream", "pps"}

// latency says whether a case is one of round trips.
func latency(name string) bool { return name == "udp" || name == "tcp" }

// place is where both ends run.
type place struct{ client, server int }

// tool is a program that measures.
type tool struct {
	name string
	path string
	// serve starts its servers for a place and waits until they are there.
	serve func(ctx context.Context, s *space, p place) (stop []func(), err error)
	// measure runs a case and returns figures by their keys; nil: it has no such case.
	measure func(ctx context.Context, s *space, p place, name string, d time.Duration) (map[string]float64, error)
}

// Ports of the servers.
const (
	neutrinoPort = 9698
	sockperfTCP  = 11111
	sockperfUDP  = 11112
	iperfPort    = 5201
	qperfPort    = 19765
)

// findTools are the tools that are there, neutrino first, and the names of those that are not.
func findTools(neutrino string) (tools []tool, missing []string) {
	tools = []tool{neutrinoTool(neutrino)}
	find := func(path string, err error, make func(path string) tool, name string) {
		if err != nil {
			missing = append(missing, name)
			return
		}
		tools = append(tools, make(path))
	}
	path, err := exec.LookPath("sockperf")
	find(path, err, sockperf, "sockperf")
	path, err = exec.LookPath("iperf3")
	find(path, err, iperf, "iperf3")
	path, err = exec.LookPath("qperf")
	find(path, err, qperf, "qperf")
	return tools, missing
}

// servers starts programs at the far end and waits for their ports.
func servers(ctx context.Context, s *space, p place, all ...listener) (stop []func(), err error) {
	for _, l := range all {
		end, err := s.server(p.server, l.argv...)
		if err == nil {
			stop = append(stop, end)
			err = s.bound(ctx, l.proto, l.port)
		}
		if err != nil {
			for _, f := range stop {
				f()
			}
			return nil, err
		}
	}
	return stop, nil
}

type listener struct {
	proto string
	port  int
	argv  []string
}

func seconds(d time.Duration) string { return fmt.Sprint(max(1, int(d.Round(time.Second).Seconds()))) }

func neutrinoTool(path string) tool {
	t := tool{name: "neutrino", path: path}
	t.serve = func(ctx context.Context, s *space, p place) ([]func(), error) {
		// Pinned by its own flag: that is what it is for.
		q := place{-1, -1}
		return servers(ctx, s, q, listener{"tcp", neutrinoPort, []string{path, "bench", "serve", "--cpu", fmt.Sprint(p.server)}})
	}
	t.measure = func(ctx context.Context, s *space, p place, name string, d time.Duration) (map[string]float64, error) {
		out, err := s.run(ctx, -1, path, "bench", "run", far, "--tests", name, "--runs", "1", "--time", d.String(), "--warmup", "400ms",
			"--cpu", fmt.Sprint(p.client), "-o", "json")
		if err != nil {
			return nil, err
		}
		return parseNeutrino(out, name)
	}
	return t
}

func sockperf(path string) tool {
	t := tool{name: "sockperf", path: path}
	t.serve = func(ctx context.Context, s *space, p place) ([]func(), error) {
		return servers(ctx, s, p,
			listener{"tcp", sockperfTCP, []string{path, "server", "--tcp", "-i", far, "-p", fmt.Sprint(sockperfTCP)}},
			listener{"udp", sockperfUDP, []string{path, "server", "-i", far, "-p", fmt.Sprint(sockperfUDP)}})
	}
	t.measure = func(ctx context.Context, s *space, p place, name string, d time.Duration) (map[string]float64, error) {
		argv := []string{path, "ping-pong", "--full-rtt", "-i", far, "-m", "64", "-t", seconds(d), "-p"}
		switch name {
		case "tcp":
			argv = append(argv, fmt.Sprint(sockperfTCP), "--tcp")
		case "udp":
			argv = append(argv, fmt.Sprint(sockperfUDP))
		default: // its throughput is what was sent, not what arrived
			return nil, nil
		}
		out, err := s.run(ctx, p.client, argv...)
		if err != nil {
			return nil, err
		}
		return parseSockperf(out, name)
	}
	return t
}

func iperf(path string) tool {
	t := tool{name: "iperf3", path: path}
	t.serve = func(ctx context.Context, s *space, p place) ([]func(), error) {
		return servers(ctx, s, p, listener{"tcp", iperfPort, []string{path, "-s", "-B", far}})
	}
	t.measure = func(ctx context.Context, s *space, p place, name string, d time.Duration) (map[string]float64, error) {
		argv := []string{path, "-c", far, "-J", "-t", seconds(d)}
		switch name {
		case "stream":
			argv = append(argv, "-l", "131072", "-O", "1")
		case "udpstream":
			argv = append(argv, "-u", "-b", "0", "-l", "1452")
		case "pps":
			argv = append(argv, "-u", "-b", "0", "-l", "64")
		default:
			return nil, nil
		}
		out, err := s.run(ctx, p.client, argv...)
		if err != nil {
			return nil, err
		}
		return parseIperf(out, name)
	}
	return t
}

func qperf(path string) tool {
	t := tool{name: "qperf", path: path}
	t.serve = func(ctx context.Context, s *space, p place) ([]func(), error) {
		return servers(ctx, s, p, listener{"tcp", qperfPort, []string{path}})
	}
	t.measure = func(ctx context.Context, s *space, p place, name string, d time.Duration) (map[string]float64, error) {
		test, size := map[string]string{"udp": "udp_lat", "tcp": "tcp_lat", "stream": "tcp_bw", "udpstream": "udp_bw", "pps": "udp_bw"}[name],
			map[string]string{"udp": "64", "tcp": "64", "stream": "131072", "udpstream": "1452", "pps": "64"}[name]
		out, err := s.run(ctx, p.client, path, far, "-t", seconds(d), "-m", size, test)
		if err != nil {
			return nil, err
		}
		return parseQperf(out, name)
	}
	return t
}
