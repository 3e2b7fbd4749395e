// Package guest has guests on VFs get their address on the first boot.
//
// [Look] reads what a guest's tree has: distribution, kernels, who configures its network. [Make] is pure:
// from that it makes the files that are missing: drivers of VFs loaded before anything wants the network, and
// in the initial RAM disk; DHCP on whatever the VF is called; no waiting for NICs that are not there. [Fix]
// writes them through a ledger (internal/ledger), so that [Undo] brings every byte back. [CloudConfig] says the
// same as user data. [Check] runs in a guest and says why it has no address.
//
// Nothing outside the tree is read or written: a link in an image that leads out of it is not followed.
//
// The package owns what a guest is to have. It never touches the host's own NICs, and starts no guest.
package guest
