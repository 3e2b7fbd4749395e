// Package bench measures the whole: the controller and the agent as they are delivered,
// as processes of their own, over HTTP on loopback and on a software NIC.
//
// It owns the figures of docs/performance.md that no single package can give: how long
// the controller takes to its first answer, what a list of ten thousand ports costs a
// client, how much memory the daemons have, how long a port takes from bound to ACTIVE.
// It never judges: a benchmark reports, and fails only when something does not work.
// What one package does alone is measured beside its tests, packets by `neutrino lab run`.
package bench
