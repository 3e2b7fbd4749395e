// Package system does to the real binaries what happens to real machines: it starts
// them with files of another decade, kills them under load, fills their disk and takes
// their etcd away, and holds what they promised against what is left.
//
// It holds tests only, and owns nothing that the product uses. What it starts is the
// binary as it is delivered; what it looks at is the API, the NIC and the wire.
package system
