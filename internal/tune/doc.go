// Package tune makes a machine, host or guest, fit for what it is to do with its NICs,
// and puts everything back.
//
// What is set is data: [Rules] is a table of names, reasons, sources and values per
// [Profile]. [Plan] compares it with the [Facts] of a machine; it is pure. [Host] reads
// the facts from sysfs, procfs, ethtool netlink and irqbalance, all but the last two
// below a settable root, and carries a [Draft] out: what a value was is on disk before
// it is touched, so [Host.Undo] is exact, also after a crash. A value that is not where
// it was any more, because the machine was started again or a driver has made its queues
// and interrupts anew, has gone, and needs no undoing.
//
// [Keeper] keeps a machine as its record says. Nothing of what is set outlives a boot,
// and no file of the system is changed: the keeper sets it again, and again when a link
// change has undone it. What somebody else insists on is left to them.
//
// The package owns its record and decides what is wanted. It never stops irqbalance or
// any other service, never moves what the kernel manages, changes nothing from within a
// container, and never cuts the link over which the host is reached unless told so.
package tune
