// Package main is the rack's hand in a machine: it runs the commands that the test asks
// for, as root. It listens on the management network of a namespace that only the test and
// its machines are in.
package main
