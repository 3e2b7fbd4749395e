package tune

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"neutrino/internal/ethtool"
	"neutrino/internal/machine"
)

// Errors for errors.Is.
var (
	// ErrGone: what the value belonged to is not there any more, or was made anew: the
	// value has gone with it.
	ErrGone = errors.New("it has gone")
	// ErrNotSettable: the kernel or a driver refuses the value.
	ErrNotSettable = errors.New("it cannot be set")
)

// Read reads a value as the findings have it.
//
// Errors: ErrGone, and what reading says.
func (h *Host) Read(t Target) (string, error) {
	v, err := h.read(t)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ethtool.ErrNoDevice) || errors.Is(err, syscall.ENODEV) {
		err = fmt.Errorf("%s: %w: %w", t, ErrGone, err)
	}
	return v, err
}

func (h *Host) read(t Target) (string, error) {
	switch t.Kind {
	case KindFile:
		v, err := h.line(t.Path)
		return chosen(v), err
	case KindQueue:
		if err := h.same(t); err != nil {
			return "", err
		}
		v, err := h.line(t.Path)
		return setOfMask(v), err
	case KindIRQ:
		return h.readIRQ(t)
	case KindEthtool:
		if err := h.same(t); err != nil {
			return "", err
		}
		s, err := h.setting(t)
		return strconv.FormatUint(uint64(s.Value), 10), err
	case KindReadReq:
		return asText(h.readReq(t.Slot))
	case KindVectors:
		return asText(h.vectors(t.Slot))
	case KindForward:
		on, err := h.line(forwardFile)
		redirects, rerr := h.line(redirectFile)
		return on + " " + redirects, errors.Join(err, rerr)
	case KindBanned:
		b := h.irqbalance()
		if b == nil || b.PID != t.PID || b.Socket == "" {
			return "", fmt.Errorf("irqbalance with pid %d: %w", t.PID, ErrGone)
		}
		return list(b.Banned), nil
	}
	return "", fmt.Errorf("a value of kind %q: %w", t.Kind, errors.ErrUnsupported)
}

func asText(n int, err error) (string, error) {
	if err != nil {
		return "", err
	}
	return strconv.Itoa(n), nil
}

func (h *Host) line(path string) (string, error) {
	b, err := os.ReadFile(h.path(path))
	return strings.Join(strings.Fields(string(b)), " "), err
}

// same reports whether the device is the one that the target names.
func (h *Host) same(t Target) error {
	if n, ok := h.tree().Number(netDir, t.Device, "ifindex"); !ok || n != t.Index {
		return fmt.Errorf("%s with index %d: %w", t.Device, t.Index, ErrGone)
	}
	return nil
}

// readIRQ reads where an interrupt goes, if its handler is still the one that is meant.
func (h *Host) readIRQ(t Target) (string, error) {
	// Each handler has a directory; proc/interrupts is long on large machines.
	if !h.tree().Exists("proc/irq", strconv.Itoa(t.IRQ), t.Name) || strings.Contains(t.Name, "/") {
		if name := h.handlers()[t.IRQ]; name != t.Name {
			return "", fmt.Errorf("IRQ %d of %s: %w", t.IRQ, t.Name, ErrGone)
		}
	}
	v, err := h.line(irqFile(t.IRQ))
	if err != nil {
		return "", err
	}
	cpus, err := machine.ParseCPUList(v, 0)
	return setOf(cpus), err
}

func (h *Host) setting(t Target) (ethtool.Setting, error) {
	if h.Ethtool == nil {
		return ethtool.Setting{}, fmt.Errorf("%s: %w", t, errors.ErrUnsupported)
	}
	all, err := h.Ethtool.Read(t.Device)
	if err != nil {
		return ethtool.Setting{}, err
	}
	s, ok := all[t.Key]
	if !ok {
		return s, fmt.Errorf("%s: %w", t, ErrGone)
	}
	return s, nil
}

// Write sets a value and reads it back.
//
// Errors: ErrGone, ErrNotSettable, and what writing says.
func (h *Host) Write(_ context.Context, t Target, v string) error {
	now, err := h.Read(t)
	if err != nil || now == v {
		return err
	}
	err = h.write(t, v)
	switch {
	case err == nil:
	case errors.Is(err, ethtool.ErrUnsupported), errors.Is(err, ethtool.ErrNotTaken), errors.Is(err, os.ErrPermission),
		errors.Is(err, syscall.EIO), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EOPNOTSUPP),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ERANGE), errors.Is(err, syscall.EROFS):
		if t.Kind == KindEthtool { // it says what it was doing
			return fmt.Errorf("%w: %w", ErrNotSettable, err)
		}
		return fmt.Errorf("set %s to %s: %w: %w", t, v, ErrNotSettable, err)
	default:
		return fmt.Errorf("set %s to %s: %w", t, v, err)
	}
	if now, err = h.Read(t); err == nil && now != v {
		err = fmt.Errorf("set %s to %s: it is %s: %w", t, v, now, ErrNotSettable)
	}
	return err
}

func (h *Host) write(t Target, v string) error {
	switch t.Kind {
	case KindFile:
		return h.put(t.Path, v)
	case KindQueue:
		return h.putMask(t.Path, v)
	case KindIRQ:
		return h.put(irqFile(t.IRQ), v)
	case KindForward:
		on, redirects, _ := strings.Cut(v, " ")
		if err := h.put(forwardFile, on); err != nil { // it sets the other one along
			return err
		}
		return h.put(redirectFile, redirects)
	case KindBanned:
		return h.ban(t.PID, v)
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is no number: %w", v, err)
	}
	switch t.Kind {
	case KindEthtool:
		if h.Ethtool == nil {
			return errors.ErrUnsupported
		}
		return h.Ethtool.Set(t.Device, map[ethtool.Key]uint32{t.Key: uint32(n)})
	case KindReadReq:
		return h.setReadReq(t.Slot, int(n))
	case KindVectors:
		return h.put("sys/bus/pci/devices/"+t.Slot+"/sriov_vf_msix_count", v)
	}
	return fmt.Errorf("a value of kind %q: %w", t.Kind, errors.ErrUnsupported)
}

// putMask writes a set of CPUs as a mask as wide as the one that is there.
func (h *Host) putMask(path, v string) error {
	var cpus machine.CPUList
	if v != none {
		var err error
		if cpus, err = machine.ParseCPUList(v, 0); err != nil {
			return err
		}
	}
	now, err := h.line(path)
	if err != nil {
		return err
	}
	return h.put(path, cpus.Mask(4*len(strings.ReplaceAll(now, ",", ""))))
}

func (h *Host) put(path, v string) error {
	f, err := os.OpenFile(h.path(path), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(v)
	return errors.Join(err, f.Close())
}
