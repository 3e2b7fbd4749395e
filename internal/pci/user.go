package pci

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// User is somebody who uses a function.
type User struct {
	Slot string
	// Kind is "vfio" (a process has the function's group open), "upper" (a device sits on
	// its netdev) or "netns" (its netdev is in another namespace).
	Kind  string
	PID   int    // vfio: the process
	Comm  string // vfio: its name
	Guest string // vfio: the guest's name, where QEMU was told one
	Upper string // upper: the device
}

// String says it in words.
func (u User) String() string {
	switch {
	case u.Kind == "vfio" && u.Guest != "":
		return fmt.Sprintf("guest %s (%s, pid %d)", u.Guest, u.Comm, u.PID)
	case u.Kind == "vfio":
		return fmt.Sprintf("%s (pid %d)", u.Comm, u.PID)
	case u.Kind == "upper":
		return "device " + u.Upper
	default:
		return "another network namespace"
	}
}

// Users lists who uses the given functions. It reads the open files of every process,
// which takes milliseconds: it is for decisions, not for polling. Processes that end
// meanwhile are passed over. A group that a process has open makes it a user of every
// given function of that group. What sits on a netdev from within another namespace (a
// macvlan that was moved into a container) is not seen: the kernel links only devices
// of one namespace (net/core/dev.c, netdev_adjacent_is_neigh_list).
func (s *Sys) Users(slots ...string) ([]User, error) {
	groups := map[string][]string{} // /dev/vfio/N -> slots
	var out []User
	for _, slot := range slots {
		if err := s.need(slot); err != nil {
			return nil, err
		}
		switch driver := linkBase(s.device(slot, "driver")); {
		case driver == "":
		case IsVFIO(driver):
			s.vfioNodes(slot, groups)
		default:
			out = append(out, s.netUsers(slot)...)
		}
	}
	if len(groups) > 0 {
		holders, err := s.holders(groups)
		if err != nil {
			return nil, err
		}
		out = append(out, holders...)
	}
	slices.SortFunc(out, func(a, b User) int {
		return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Upper, b.Upper))
	})
	return out, nil
}

// vfioNodes adds the device nodes through which the function can be held.
func (s *Sys) vfioNodes(slot string, to map[string][]string) {
	add := func(node string) { to[node] = append(to[node], slot) }
	if g := linkBase(s.device(slot, "iommu_group")); g != "" {
		add("/dev/vfio/" + g)
		add("/dev/vfio/noiommu-" + g)
	}
	for _, n := range names(s.device(slot, "vfio-dev")) { // iommufd
		add("/dev/vfio/devices/" + n)
	}
}

// netUsers looks at a function that has a network driver.
func (s *Sys) netUsers(slot string) []User {
	devs := s.netdevs(slot)
	if len(devs) == 0 && s.netDriver(slot) {
		return []User{{Slot: slot, Kind: "netns"}}
	}
	var out []User
	for _, d := range devs {
		for _, u := range d.Uppers {
			out = append(out, User{Slot: slot, Kind: "upper", Upper: u})
		}
	}
	return out
}

// netDriver reports whether the function is a network controller, whose driver has made
// a netdev. sysfs shows the netdevs of the reader's namespace only: of one that is in
// another namespace the directory remains, empty; it goes with the last netdev
// (drivers/base/core.c, cleanup_glue_dir; seen on Linux 6.12).
func (s *Sys) netDriver(slot string) bool {
	c, ok := number(s.device(slot, "class"))
	if !ok || c>>16 != 0x02 {
		return false
	}
	_, err := os.Stat(s.device(slot, "net"))
	return err == nil
}

// holders finds the processes that have one of the nodes open.
func (s *Sys) holders(nodes map[string][]string) ([]User, error) {
	procs, err := os.ReadDir(s.path("proc"))
	if err != nil {
		return nil, fmt.Errorf("look who holds a VF: %w", err)
	}
	var out []User
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		held, err := s.opens(pid, nodes)
		if err != nil {
			return nil, fmt.Errorf("look who holds a VF: process %d: %w: the capability CAP_SYS_PTRACE is needed", pid, err)
		}
		for slot := range held {
			comm, _ := text(s.path("proc", p.Name(), "comm"))
			out = append(out, User{Slot: slot, Kind: "vfio", PID: pid, Comm: cmp.Or(comm, "a process"), Guest: s.guest(pid)})
		}
	}
	return out, nil
}

// opens lists the functions whose node a process has open. A process that must not be
// looked into is an error: it could hold one.
func (s *Sys) opens(pid int, nodes map[string][]string) (map[string]bool, error) {
	dir := s.path("proc", strconv.Itoa(pid), "fd")
	fds, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	out := map[string]bool{}
	for _, fd := range fds { // none: the process has ended
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		if err != nil || !strings.HasPrefix(to, "/dev/vfio/") {
			continue
		}
		for _, slot := range nodes[to] {
			out[slot] = true
		}
	}
	return out, nil
}

// guest is the name that QEMU was started with: "-name guest=vm1,debug-threads=on" or
// "-name vm1".
func (s *Sys) guest(pid int) string {
	b, err := os.ReadFile(s.path("proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	return guestName(strings.Split(string(b), "\x00"))
}

func guestName(args []string) string {
	for i, a := range args {
		if a != "-name" || i+1 >= len(args) {
			continue
		}
		first, _, _ := strings.Cut(args[i+1], ",")
		return strings.TrimPrefix(first, "guest=")
	}
	return ""
}
