// Package agent is the host side: it makes the VFs of one host carry the ports that
// the controller says belong there.
//
// It works on levels, not on messages. The desired state ([Desired]) is whatever the
// fabric's stream said last, kept in one bbolt file so that a host comes up without a
// controller. The observed state is what [eswitch.Switch] reads from the device. A pure
// planner ([Compute]) turns both, and the record of which port has which VF, into
// [Step] values; an executor writes the record to disk, carries the steps out, reads the
// device again and reports per port. Events wake the loop and never carry truth; a slow
// audit is the safety net. Nothing is polled while nothing happens.
//
// Rules that hold whatever fails:
//
//   - A VF belongs to one port at most. One that belonged to somebody goes to
//     [eswitch.Baseline], and is free only after it was read back there.
//   - A port is reported up only when every attribute was read back as asked; else the
//     report says in words what is wrong.
//   - What one VF or one port suffers, no other does.
//   - Until a desired state is known, from the controller or from the file, no VF is
//     touched. When the agent stops, nothing is torn down.
//
// The package owns the loop, the assignments and the state file. It never speaks to
// the store, never creates VFs and never moves a netdev.
package agent
