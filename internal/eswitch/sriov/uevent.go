package sriov

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLost: the kernel had more device events to tell than the socket holds.
var ErrLost = errors.New("device events were lost")

// Uevents are the kernel's device events.
type Uevents interface {
	// Next waits for one. ErrLost may be followed by others; any other error is the last.
	Next() (Uevent, error)
	// Close ends it, and a Next that waits.
	Close() error
}

// Uevent is a device event (lib/kobject_uevent.c).
type Uevent struct {
	Action    string // add, remove, change, move, bind, unbind
	Path      string // below /sys
	Subsystem string
	Interface string // of net: the netdev's name
}

var pciSlot = regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)

// Slot is the PCI slot of the function that the event is about, or whose netdev it is
// about; "" for anything else.
func (e *Uevent) Slot() string {
	at := e.Path
	switch e.Subsystem {
	case "pci":
	case "net":
		at = path.Dir(path.Dir(at)) // .../SLOT/net/NAME
	default:
		return ""
	}
	if slot := path.Base(at); pciSlot.MatchString(slot) {
		return slot
	}
	return ""
}

// parseUevent reads a message: "ACTION@PATH", then KEY=VALUE, each ended by a zero byte.
func parseUevent(b []byte) (Uevent, bool) {
	var e Uevent
	head, rest, _ := bytes.Cut(b, []byte{0})
	action, at, ok := strings.Cut(string(head), "@")
	if !ok || !strings.HasPrefix(at, "/") {
		return e, false // such as udev's own, which begin with "libudev"
	}
	e.Action, e.Path = action, at
	for field := range bytes.SplitSeq(rest, []byte{0}) {
		k, v, _ := strings.Cut(string(field), "=")
		switch k {
		case "SUBSYSTEM":
			e.Subsystem = v
		case "INTERFACE":
			e.Interface = v
		}
	}
	return e, true
}

type uevents struct {
	f   *os.File
	buf []byte
}

// OpenUevents subscribes to the kernel's device events of the calling thread's network
// namespace.
func OpenUevents() (Uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("open uevent socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "uevents")
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20) // smaller only means more often ErrLost
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribe to uevents: %w", err), f.Close())
	}
	return &uevents{f, make([]byte, 16<<10)}, nil
}

// Next implements [Uevents].
func (u *uevents) Next() (Uevent, error) {
	for {
		n, err := u.f.Read(u.buf)
		if errors.Is(err, unix.ENOBUFS) {
			return Uevent{}, ErrLost
		}
		if err != nil {
			return Uevent{}, fmt.Errorf("receive uevents: %w", err)
		}
		if e, ok := parseUevent(u.buf[:n]); ok {
			return e, nil
		}
	}
}

// Close implements [Uevents].
func (u *uevents) Close() error { return u.f.Close() }
