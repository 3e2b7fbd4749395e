// Package plug hands VFs to instances and takes them back: to a libvirt domain by VFIO
// passthrough (hostdev) or macvtap, to a network namespace, or prepared for a tool of
// the operator's own that is given the interface's XML.
//
// An [Engine] belongs to the agent of one host. It never chooses a VF and never programs
// one: the agent assigns a VF to a port and makes the embedded switch carry the port's
// attributes; the engine waits for that, and moves the device. What it did is a [VIF]
// record in the agent's state file. Each change runs through internal/journal, so that
// a crash ends in plugged or in not plugged. While a VIF stands, or is about to, the
// agent gives its VF to nobody else.
//
// Rules:
//
//   - vfio-pci by driver_override, cleared afterwards; a VF whose IOMMU group holds
//     devices of other drivers is refused.
//   - A VF that a guest has had is reset (function-level reset) before anybody else may
//     have it, by whichever way the guest went: unplugged, domain gone, port deleted.
//   - A release names the generation of the assignment that it ends; one that comes
//     late, for a VF that another port has by then, does nothing.
//   - A port that leaves the host takes its VIF along: the engine unplugs it.
package plug
