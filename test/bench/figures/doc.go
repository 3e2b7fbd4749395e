// Command figures turns the output of `make bench` into the tables of
// docs/performance.md, each figure beside its aim:
//
//	go run ./test/bench/figures -into docs/performance.md out/bench.txt
//
// A benchmark that ran several times gives the median and, behind it, the lowest and the
// highest. It never measures and never judges a run as bad: it says what was met. Without
// -into the tables go to standard output.
package main
