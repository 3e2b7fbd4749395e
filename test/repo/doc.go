// Package repo holds the rules of this repository as tests: they look at the tree
// and nothing else.
package repo
