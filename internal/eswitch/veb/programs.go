package veb

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// layout of the maps. It changes when a program of this version could not work with
// the maps of the one before.
const layout = 1

// Pins of a NIC's programs.
const (
	pinVF      = "prog_vf"
	pinShaped  = "prog_shaped"
	pinUplink  = "prog_uplink"
	linkPrefix = "link_"
	mapPrefix  = "map_"
)

func build() (b [16]byte) {
	h := sha256.New()
	_, _ = h.Write(_SwBytes)
	copy(b[:], h.Sum(nil))
	return b
}

// Frames given to a peer keep the type "other host" in kernels before 6.15.
func needsPacketType() bool {
	v, err := features.LinuxVersionCode()
	return err != nil || v < 6<<16|15<<8
}

// specFor returns the programs with maps of the sizes that a NIC with n VFs needs.
// follow: multicast follows the receive filters of the VFs' netdevs.
func specFor(n int, follow bool) (*ebpf.CollectionSpec, error) {
	spec, err := loadSw()
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	resize(spec, n)
	if err := spec.Variables["set_packet_type"].Set(needsPacketType()); err != nil {
		return nil, fmt.Errorf("set packet type: %w", err)
	}
	if err := spec.Variables["follow_filters"].Set(follow); err != nil {
		return nil, fmt.Errorf("set filters: %w", err)
	}
	return spec, nil
}

func resize(spec *ebpf.CollectionSpec, vfs int) {
	for _, name := range []string{"ports", "vfs", "stats", "fdb"} {
		spec.Maps[name].MaxEntries = uint32(max(vfs, 1))
	}
}

func replacements(m *swMaps) map[string]*ebpf.Map {
	out := map[string]*ebpf.Map{}
	for name, p := range mapsOf(m) {
		out[name] = *p
	}
	return out
}

// load loads what to has fields for: following the receive filters if this kernel
// can, else not. It reports which.
func load(to any, n int, opts *ebpf.CollectionOptions) (follow bool, err error) {
	for _, follow = range []bool{true, false} {
		spec, serr := specFor(n, follow)
		if serr != nil {
			return false, serr
		}
		if err = spec.LoadAndAssign(to, opts); err == nil {
			return follow, nil
		}
		if follow {
			slog.Debug("receive filters cannot be followed on this kernel", "err", err)
		}
	}
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		err = errors.Join(ErrLayout, err)
	}
	return false, fmt.Errorf("load programs: %w", err)
}

// loadNew loads programs and makes maps, and pins both.
func loadNew(h home, r *record) (*swObjects, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise memlock limit: %w", err)
	}
	if err := os.Mkdir(h.pins(), 0o700); err != nil {
		return nil, fmt.Errorf("make pins: %w", err)
	}
	var o swObjects
	var err error
	if r.RxFilter, err = load(&o, r.Spec.VFs, nil); err != nil {
		return nil, err
	}
	for name, m := range mapsOf(&o.swMaps) {
		if err := (*m).Pin(h.pin(mapPrefix + name)); err != nil {
			return nil, errors.Join(fmt.Errorf("pin map %s: %w", name, err), o.Close())
		}
	}
	for name, p := range programsOf(&o.swPrograms) {
		if err := (*p).Pin(h.pin(name)); err != nil {
			return nil, errors.Join(fmt.Errorf("pin %s: %w", name, err), o.Close())
		}
	}
	return &o, nil
}

func mapsOf(m *swMaps) map[string]**ebpf.Map {
	return map[string]**ebpf.Map{
		"fdb": &m.Fdb, "learned": &m.Learned, "macs": &m.Macs, "near_ports": &m.NearPorts, "nics": &m.Nics,
		"ports": &m.Ports, "sources": &m.Sources, "stats": &m.Stats, "vfs": &m.Vfs,
	}
}

func programsOf(p *swPrograms) map[string]**ebpf.Program {
	return map[string]**ebpf.Program{pinVF: &p.VebVf, pinShaped: &p.VebShaped, pinUplink: &p.VebUplink}
}

// loadPinned opens a running NIC's programs and maps.
func loadPinned(h home) (*swObjects, error) {
	var o swObjects
	for name, m := range mapsOf(&o.swMaps) {
		var err error
		if *m, err = ebpf.LoadPinnedMap(h.pin(mapPrefix+name), nil); err != nil {
			return nil, errors.Join(incomplete(h, "map "+name, err), o.Close())
		}
	}
	for name, p := range programsOf(&o.swPrograms) {
		var err error
		if *p, err = ebpf.LoadPinnedProgram(h.pin(name), nil); err != nil {
			return nil, errors.Join(incomplete(h, name, err), o.Close())
		}
	}
	return &o, nil
}

func incomplete(h home, what string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("NIC %s has no %s: %w", h.name, what, ErrIncomplete)
	}
	return fmt.Errorf("open %s of NIC %s: %w", what, h.name, err)
}

// loadReplacement loads this binary's programs onto the maps of a running NIC.
func loadReplacement(n int, old *swMaps) (*swPrograms, error) {
	var p swPrograms
	if _, err := load(&p, n, &ebpf.CollectionOptions{MapReplacements: replacements(old)}); err != nil {
		return nil, err
	}
	return &p, nil
}

// repin puts a program in the place of a pinned one.
func repin(h home, name string, p *ebpf.Program) error {
	tmp := h.pin("new_" + name)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", tmp, err)
	}
	if err := p.Pin(tmp); err != nil {
		return fmt.Errorf("pin %s: %w", name, err)
	}
	// The library remembers its pin; a rename below it is what makes this atomic.
	if err := unix.Rename(tmp, h.pin(name)); err != nil {
		return fmt.Errorf("replace pin %s: %w", name, err)
	}
	return nil
}

// attachMode finds out how programs are attached on this kernel.
func attachMode(want Attach) (Attach, error) {
	if want == AttachClsact {
		return AttachClsact, nil
	}
	v, err := features.LinuxVersionCode()
	if err != nil {
		return "", fmt.Errorf("kernel version: %w", err)
	}
	if v >= 6<<16|6<<8 {
		return AttachTCX, nil
	}
	if want == AttachTCX {
		return "", fmt.Errorf("attach by tcx: %w", ebpf.ErrNotSupported)
	}
	return AttachClsact, nil
}

// attach puts a program on the ingress of a device, or exchanges the one that this
// NIC has there, atomically. It runs in the device's namespace. The attachment
// outlives the process: a pinned link, or the filter itself.
func attach(h home, mode Attach, name string, index int, p *ebpf.Program) error {
	if mode == AttachClsact {
		return attachClsact(name, index, p)
	}
	pin := h.pin(linkPrefix + name)
	l, err := link.LoadPinnedLink(pin, nil)
	if err == nil {
		defer func() { _ = l.Close() }()
		if info, infoErr := l.Info(); infoErr == nil && info.TCX() != nil && int(info.TCX().Ifindex) == index {
			if err = l.Update(p); err != nil {
				return fmt.Errorf("exchange program on %s: %w", name, err)
			}
			return nil
		}
		if err = os.Remove(pin); err != nil {
			return fmt.Errorf("remove attachment of a former %s: %w", name, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open attachment of %s: %w", name, err)
	}
	l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
	if err != nil {
		return fmt.Errorf("attach to %s: %w", name, err)
	}
	defer func() { _ = l.Close() }()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin attachment of %s: %w", name, err)
	}
	return nil
}

// clsactPriority of our filter: before what others may add.
const clsactPriority = 1

func attachClsact(name string, index int, p *ebpf.Program) error {
	q := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := netlink.QdiscAdd(q); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add clsact to %s: %w", name, err)
	}
	f := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: netlink.HANDLE_MIN_INGRESS,
			Handle: 1, Protocol: unix.ETH_P_ALL, Priority: clsactPriority,
		},
		Fd: p.FD(), Name: "neutrino", DirectAction: true,
	}
	if err := netlink.FilterReplace(f); err != nil {
		return fmt.Errorf("attach filter to %s: %w", name, err)
	}
	return nil
}

// detach takes the program off a device that stays.
func detach(h home, mode Attach, name string, index int) error {
	if mode != AttachClsact {
		return detachTCX(h, name)
	}
	err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: index,
		Parent:    netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: clsactPriority,
	}})
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("detach filter from %s: %w", name, err)
	}
	return nil
}

// detachTCX detaches at once: a link whose pin goes lives on until the kernel finds
// time for it.
func detachTCX(h home, name string) error {
	pin := h.pin(linkPrefix + name)
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open attachment of %s: %w", name, err)
	}
	defer func() { _ = l.Close() }()
	if err = l.Detach(); err != nil && !errors.Is(err, unix.ENOLINK) {
		return fmt.Errorf("detach from %s: %w", name, err)
	}
	if err = os.Remove(pin); err != nil {
		return fmt.Errorf("remove attachment of %s: %w", name, err)
	}
	return nil
}
