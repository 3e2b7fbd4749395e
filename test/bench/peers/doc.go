// Command peers measures one path with `neutrino bench` and with the tools that people know, beside each other:
//
//	go run ./test/bench/peers -neutrino bin/neutrino
//
// The path is a veth pair between two network namespaces of its own. All tools are pinned alike and take
// turns, round by round; a ratio is that of the two figures of one round, and what is shown is its median over the
// rounds. It says what each tool measured and whether the aims were met: throughput and p50 within 5 % of the best
// of the others, p99 not above it.
//
// It needs root, and those of sockperf, iperf3 and qperf that are to be beside; which one is not there is
// said. It never judges a run as failed by its figures, since the machine may be at work with other things; it fails when a
// tool does not work. It takes its namespaces away when it ends.
package main
