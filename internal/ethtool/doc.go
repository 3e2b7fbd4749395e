// Package ethtool reads and sets what a driver lets be set of a network device: channels,
// rings, interrupt coalescing, pause frames and offloads.
//
// It speaks the kernel's ethtool netlink family (Documentation/networking/ethtool-netlink.rst,
// Linux 5.7 and later), which, unlike the old ioctl, tells which values a driver has at
// all: what is not in [Settings] cannot be set.
//
// Every setting has one [Key] ("coalesce rx-usecs", "feature rx-gro") and one number, so
// that rules about them are data. A request sets one group and changes nothing else of it.
//
// The package owns the codec and one socket. It knows no driver, decides nothing, and
// never retries.
package ethtool
