// Package wire measures the path between two hosts: round trips of ICMP, UDP and TCP messages, TCP and UDP
// throughput, packets per second, and what they cost the processors of both ends.
//
// It owns the loops that measure, the control protocol between the two ends, and the limits of a server that
// stands in a datacentre. A loop is a goroutine on a thread of its own that is pinned to a processor, makes plain
// blocking system calls and allocates nothing; whatever else the process does is kept off its processor. Times are
// from the monotonic clock and go into HDR histograms.
//
// Every loop has an owner that waits for it and can end it: sockets are shut down when a measurement is over,
// cancelled, silent for too long, or past its limit. No timeout is set on a socket, since each blocking call would
// arm a timer.
//
// It never decides which paths are worth comparing, never changes a host, and never judges a result: that is
// internal/bench.
package wire
