// Package cli is the command line of neutrino: one file per command; flags, output
// and exit codes, nothing else. What a command does is done by the package it calls.
package cli
