// Package hostcheck says whether a host is fit for VFs, and what is to be done where it
// is not.
//
// [Look] gathers what is judged: the machine (internal/machine), what the PFs' VFs carry
// (rtnetlink), who uses them, firmware settings, programs and services. [Judge] is pure:
// a table of rules makes a [Report] of findings, each with the evidence for it, why it
// matters and the command that mends it. What cannot be seen, for want of root or of a
// program, is "unknown", never "ok".
//
// It changes nothing on the host, and asks no controller.
package hostcheck
