package tune

import (
	"fmt"
	"path"
	"strings"

	"neutrino/internal/ethtool"
)

// Kind is how a value is read and written.
type Kind string

// The kinds of values.
const (
	KindFile    Kind = "file"    // a file below sys or proc
	KindQueue   Kind = "queue"   // a file of a queue of a device: a mask of CPUs
	KindIRQ     Kind = "irq"     // where an interrupt is delivered
	KindEthtool Kind = "ethtool" // a setting of a device
	KindReadReq Kind = "readreq" // PCI Express MaxReadReq
	KindVectors Kind = "vectors" // a VF's MSI-X vectors
	KindForward Kind = "forward" // IP forwarding, with what the kernel switches along
	KindBanned  Kind = "banned"  // the interrupts that irqbalance leaves alone
)

// Target names one value of the machine so that another process finds the same one
// again, or finds that it has gone: devices are known by their index, interrupts by
// their handler too, since a driver may make both anew.
type Target struct {
	Kind   Kind        `json:"kind"`
	Path   string      `json:"path,omitempty"`   // file, queue: below the root, without "/"
	Device string      `json:"device,omitempty"` // queue, ethtool, irq
	Index  int         `json:"index,omitempty"`  // ifindex of it
	Key    ethtool.Key `json:"key,omitempty"`
	IRQ    int         `json:"irq,omitempty"`
	Name   string      `json:"name,omitempty"` // of the interrupt's handler
	Slot   string      `json:"slot,omitempty"` // readreq, vectors
	PID    int         `json:"pid,omitempty"`  // banned: which irqbalance
}

func fileTarget(p string) Target { return Target{Kind: KindFile, Path: p} }

// String is how people know the value.
func (t Target) String() string {
	switch t.Kind {
	case KindFile:
		if s, ok := strings.CutPrefix(t.Path, "proc/sys/"); ok {
			return strings.ReplaceAll(s, "/", ".")
		}
		if s, ok := strings.CutPrefix(t.Path, "sys/devices/system/cpu/"); ok {
			cpu, name, _ := strings.Cut(s, "/")
			return cpu + " " + path.Base(name)
		}
		return "/" + t.Path
	case KindQueue:
		_, rest, _ := strings.Cut(t.Path, "/queues/")
		return t.Device + " " + strings.ReplaceAll(rest, "/", " ")
	case KindIRQ:
		return fmt.Sprintf("IRQ %d %s", t.IRQ, t.Name)
	case KindEthtool:
		return t.Device + " " + string(t.Key)
	case KindReadReq:
		return t.Slot + " MaxReadReq"
	case KindVectors:
		return t.Slot + " MSI-X vectors"
	case KindForward:
		return "net.ipv4.ip_forward"
	case KindBanned:
		return "irqbalance's banned IRQs"
	}
	return string(t.Kind)
}
