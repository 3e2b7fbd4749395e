// Package main is the test's hand on the disk: a service that carries out what is asked
// of it over a virtio port, as root, and lists the files of the disk. It is put there by
// the test and nowhere else.
package main
