// Package hostprep makes a host ready for VFs: how many of them a NIC has, with which
// driver, now and after the next boot.
//
// A change is planned first: [PlanVFs] looks, refuses what would take a VF from a guest
// or the host from its administrator, and gives the steps in words. [Plan.Run] carries
// them out and takes all of it back when one fails. What was asked for is kept in one
// small file per PF; [Host.Apply] makes it so again at boot, before the network and
// without a controller.
//
// [Prepare] plans the rest as well: the kernel's command line, modules and their options, the card's
// firmware, the boot unit, and what keeps others from VFs. internal/ledger keeps what was there before, and
// [PlanUndo] leads back to it, from any moment. Reboots are asked for, never done.
//
// A PF that has no file is none of neutrino's: it is never touched at boot.
//
// The package owns the files in vfs.d, those that say that it wrote them, and the count of VFs. It never touches what a VF
// carries: the agent does.
package hostprep
