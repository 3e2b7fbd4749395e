// Package systemd holds the units of neutrino's services, so that the binary alone can install one.
//
// The package owns their text. It never talks to systemd.
package systemd

import _ "embed"

// VFsName is the unit that makes the VFs of this host's NICs at boot.
const VFsName = "neutrino-vfs.service"

// VFs is its text, for a binary in /usr/local/bin.
//
//go:embed neutrino-vfs.service
var VFs string
