// Package mstconfig reads and sets what Mellanox and NVIDIA NICs keep in their firmware, through
// the program mstconfig of mstflint (or mlxconfig of the vendor's own tools): each key
// with its default, what is in force now, and what the next boot brings.
//
// All keys of a card are read at once: one at a time takes the program about a second
// each. [Parse] is pure.
//
// [Set] sets what it is told to, and nothing else: what is good for a card is not known here.
package mstconfig
