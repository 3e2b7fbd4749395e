// Package api is the Networking API v2.0 over HTTP: it turns requests into operations of
// internal/neutron and rows into JSON.
//
// Resources are declared as data: one table of attributes per resource (network.go,
// port.go, ...) that says, per attribute, its name, whether it may be sent in POST and
// PUT, its default, how a sent value is checked and converted, how it is read from a
// row, whether lists can be filtered and sorted by it, and who may write and see it.
// Everything else (bodies, filters, sorting, paging, policy, encoding) is generic and
// written once. The same accessor serves filtering, sorting and encoding.
//
// Reads work on one consistent snapshot of the store and never wait. What a request asks
// for is completely checked before the first operation is called, so nothing is ever
// half-written. The package decides who may do what (the attribute and ownership rules
// of Neutron's default policy); it never decides what an operation means, keeps no
// state and has no goroutines.
package api
