// Package model holds the plain types that every other package speaks: networks,
// subnets, ports, segments, bindings, agents, and the attachments a host is asked
// to carry out.
//
// It is pure: no I/O, no clock, no goroutines, and it imports nothing of neutrino.
// Values read from the store are shared between readers; treat them as immutable
// and change a Clone.
//
// The JSON of these types is what the store keeps, so a field's tag is a promise:
// fields may be added, never renamed.
package model
