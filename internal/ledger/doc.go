// Package ledger keeps what files of a host were before neutrino changed them, so that all of
// it can be put back byte for byte, with mode, owner, extended attributes and time.
//
// A [Ledger] is a directory below the root of the host, or of a mounted image. [Ledger.Plan] compares
// [Change] values with what is there; [Ledger.Apply] writes down what was there, syncs that, and only
// then changes anything; [Ledger.Undo] goes back. A later Apply adds to the ledger, and the first original
// stays. Undo may run after a crash at any moment: it ends in what was before the first Apply. What somebody
// else has changed since is left, and said, unless it is forced.
//
// Files that a program of the distribution makes (grub.cfg, an initial RAM disk) are named with that
// program, a [Maker]. They are saved before it runs and put back as they were, for they do not come out
// the same twice. When somebody else has had them made anew since, a new kernel's package say, the saved
// ones are out of date: then the program is run again, after the files that it reads have been put back.
//
// The ledger's directory comes with everything in it, by one rename, and goes by one, so that no crash
// leaves a part of it. One process at a time works on a root, by a lock (flock) on the root itself, which
// leaves no file. Nothing outside the root is followed (os.Root): a link that leads out is an error.
//
// The package owns the record and the order of things. It never decides what a host is to have.
package ledger
