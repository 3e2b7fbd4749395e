package tune

import (
	"regexp"
	"strconv"
)

// role is what an interrupt is for.
type role struct {
	rx, tx bool // neither: management, link changes, commands
	queue  int
}

// Names of handlers as drivers give them (proc/interrupts):
//
//	mlx4-3@0000:08:00.0       mlx5_comp3@pci:0000:07:00.0     ens3f0-TxRx-3
//	i40e-ens5f0-TxRx-3        ice-ens6f0-TxRx-3               iavf-ens5f0v0-TxRx-3
//	ens3f0v0-rx-0             virtio3-input.1                 virtio3-output.1
//	eth0-Tx-Rx-3              eth0-rxtx-3                     vfio-msix[3](0000:03:10.0)
//
// and, without a queue: mlx5_async0@pci:..., mlx4-async@pci:..., ens3f0, virtio3-config,
// i40e-0000:05:00.0:misc, ena-mgmnt@pci:....
var (
	otherIRQ = regexp.MustCompile(`(?i)async|misc|config|mgmnt|ctrl|control|event|\bcmd|\bfw\b|:req`)
	bothIRQ  = regexp.MustCompile(`(?i)(?:tx-?rx|rx-?tx|comp|fp)[-_.]?(\d+)`)
	rxIRQ    = regexp.MustCompile(`(?i)(?:[-_]rx[-_.]|-input\.)(\d+)`)
	txIRQ    = regexp.MustCompile(`(?i)(?:[-_]tx[-_.]|-output\.)(\d+)`)
	lastIRQ  = regexp.MustCompile(`[-\[.](\d+)\]?(?:@.*|\(.*)?$`)
)

// roleOf reads a handler's name.
func roleOf(name string) role {
	if otherIRQ.MatchString(name) {
		return role{}
	}
	for _, k := range []struct {
		re     *regexp.Regexp
		rx, tx bool
	}{{bothIRQ, true, true}, {rxIRQ, true, false}, {txIRQ, false, true}, {lastIRQ, true, true}} {
		if m := k.re.FindStringSubmatch(name); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil && n < 1<<16 {
				return role{k.rx, k.tx, n}
			}
		}
	}
	return role{}
}
