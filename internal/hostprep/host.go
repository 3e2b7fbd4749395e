package hostprep

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"neutrino/internal/hostapi"
	"neutrino/internal/pci"
)

// DefaultDir is where the records are.
const DefaultDir = "/etc/neutrino/vfs.d"

// Errors for errors.Is, besides those of internal/pci.
var (
	// ErrInUse: somebody uses a VF that would go or change its driver.
	ErrInUse = errors.New("VFs are in use")
	// ErrManagement: the host is reached over this NIC.
	ErrManagement = errors.New("the host is reached over it")
	// ErrTooMany: the card cannot have so many VFs.
	ErrTooMany = errors.New("too many VFs")
	// ErrModuleOption: the count is an option of the driver's module.
	ErrModuleOption = errors.New("the number of VFs is an option of the driver's module")
	// ErrChanged: the NIC is not any more as the plan found it.
	ErrChanged = errors.New("the NIC has changed since the plan was made")
	// ErrNoIOMMU: VFs cannot be handed to user space.
	ErrNoIOMMU = errors.New("there is no IOMMU")
	// ErrOtherCard: another card is where the record's was.
	ErrOtherCard = errors.New("another card is there")
)

// Agent says what the agent of this host knows of VFs; hostapi.Client is one.
type Agent interface {
	VFs(ctx context.Context, counters bool) ([]hostapi.VF, error)
}

// Host is the machine whose VFs are counted. It is safe for concurrent use; changes of
// one machine exclude each other, over processes.
type Host struct {
	Sys   *pci.Sys
	Dir   string        // of the records; "" = DefaultDir below the root of Sys
	Agent Agent         // nil = nobody is asked
	Wait  time.Duration // for drivers and netdevs to come; 0 = 30 s, and 1 s more per VF

	// Firmware of cards; nil = it is not looked at.
	Firmware Firmware
	// Run starts a program that makes files of the system, and waits for it; nil = as root of the running
	// machine does.
	Run func(ctx context.Context, argv []string) error
	// Hook is for tests that end the process between any two changes; it is called with the point's name.
	Hook func(point string)
}

const defaultWait = 30 * time.Second

func (h Host) wait(vfs int) time.Duration {
	if h.Wait > 0 {
		return h.Wait
	}
	return defaultWait + time.Duration(vfs)*time.Second
}

// path of a file below the root of the host's sysfs.
func (h Host) path(parts ...string) string {
	root := h.Sys.Root
	if root == "" {
		root = "/"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

func (h Host) dir() string {
	if h.Dir != "" {
		return h.Dir
	}
	return h.path(DefaultDir)
}

// live reports whether it is the running kernel's machine.
func (h Host) live() bool { return h.path() == "/" }

// mac is the address by which a PF is known again: the one that is burnt in, since a
// bond gives all of its members one. "" = it has no netdev here.
func (h Host) mac(p pci.PF) string {
	if len(p.Netdevs) == 0 {
		return ""
	}
	d := p.Netdevs[0]
	if h.live() {
		if l, err := netlink.LinkByName(d.Name); err == nil && len(l.Attrs().PermHWAddr) > 0 {
			return l.Attrs().PermHWAddr.String()
		}
	}
	return strings.ToLower(d.MAC)
}

// nameOf is how people know a PF.
func nameOf(p pci.PF) string {
	if len(p.Netdevs) == 0 {
		return p.Slot
	}
	return p.Netdevs[0].Name
}

// until calls done with growing pauses as long as ctx allows; sysfs has no way to wait.
func until(ctx context.Context, done func() bool) bool {
	pause := time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		pause = min(pause*2, 200*time.Millisecond)
		timer.Reset(pause)
	}
	return true
}
