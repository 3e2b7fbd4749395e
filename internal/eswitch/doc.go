// Package eswitch is the seam between the agent and any NIC that has an embedded
// switch: what such a switch shows ([State]) and what it can be asked ([Change]).
//
// Attributes are three-valued ([Attr]): set, unset, or unsupported by the driver.
// "The driver cannot" is never read as "off".
//
// The package owns these types and the comparison of wanted and observed
// attributes. It never touches a device: implementations are
// eswitch/veb (a software switch in eBPF) and eswitch/sriov (real NICs).
package eswitch
