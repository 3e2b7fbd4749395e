// Package netspace makes, finds and enters named network namespaces: the ones that
// "ip netns" lists.
//
// It owns the care that threads and mounts need: a goroutine that enters a namespace
// is locked to its thread and leaves it again before the thread serves anyone else,
// and a namespace gets its name only after it was prepared, so that nobody sees a
// half-made one. It never decides what a namespace is for and never deletes one that
// it was not told to.
package netspace
