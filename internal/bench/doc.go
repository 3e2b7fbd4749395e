// Package bench holds what measurements of network paths showed, and judges it: the result file, the comparison
// of results with their confidence, the check against a baseline, and the page with plots.
//
// A [Result] has series, a [Series] is one measurement on one path, and has runs. A [Run] keeps its whole
// distribution of latencies as an HDR histogram, so that any percentile can be asked for later, and what both
// machines did meanwhile. Every figure is given as the median over runs, with the lowest and the highest.
//
// Comparisons make no assumption about the shape of the noise: the interval of a ratio is the exact one of the
// rank tests (Mann-Whitney; Wilcoxon's signed ranks where runs took turns), and where it holds 1, no difference has
// been shown. With too few runs for an interval at all, that is said.
//
// The package measures nothing and changes no host: internal/bench/wire measures, internal/bench/paths builds what
// is compared.
package bench
