// Package cli is the command line of neutrino: one file per command; flags, output
// and exit codes, nothing else. What a command does is done by the package it calls.
//
// The daemons (controller, agent) and the lab are handed in as [Daemons], so that this
// package, and its tests, need none of what they are made of.
//
// Commands on networks, subnets, ports and agents speak the Networking API like any
// other client; they read and write nothing else.
//
// # Exit codes
//
//	0  done
//	1  failed
//	2  wrong usage: a flag, an argument, or a configuration file
//	3  not found
//	4  refused: a conflict, a quota, no permission, a value the API does not accept
//	5  unavailable: no connection, or the server cannot serve now
//
// Errors go to standard error, results to standard output. Nothing is coloured unless
// it goes to a terminal.
package cli
