package pcitest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"neutrino/internal/pci"
)

// wrote reacts to a write as the kernel does. What stands in the file is put right
// first: the kernel's files show its state, not what was written.
func (t *Tree) wrote(path, text string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	rest, isDevice := strings.CutPrefix(path, "sys/bus/pci/devices/")
	if !isDevice {
		if path == "sys/bus/pci/drivers_probe" {
			return t.probe(strings.TrimSpace(text))
		}
		return nil
	}
	slot, file, _ := strings.Cut(rest, "/")
	switch file {
	case "sriov_numvfs":
		return t.count(slot, text)
	case "sriov_drivers_autoprobe":
		return t.set(slot, file, strings.TrimSpace(text))
	case "driver_override":
		// "\n" clears it, and it then reads as "(null)" (driver_set_override).
		v := strings.TrimSpace(text)
		if v == "" {
			v = "(null)"
		}
		return t.set(slot, file, v)
	case "driver/unbind":
		return t.unbind(strings.TrimSpace(text))
	case "reset":
		return t.set(slot, file, "")
	}
	return nil
}

func (t *Tree) set(slot, file, value string) error {
	if value != "" {
		value += "\n"
	}
	return os.WriteFile(t.Device(slot, file), []byte(value), 0o600)
}

func (t *Tree) get(slot, file string) string {
	b, err := os.ReadFile(t.Device(slot, file))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// links are the virtfn links of a PF.
func (t *Tree) links(slot string) []string {
	found, err := filepath.Glob(t.Device(slot, "virtfn*"))
	if err != nil {
		return nil
	}
	return found
}

// count is sriov_numvfs_store of drivers/pci/iov.c.
func (t *Tree) count(slot, text string) error {
	c, vf, ok := t.card(slot)
	if !ok || vf >= 0 {
		return syscall.ENODEV
	}
	now := len(t.links(slot))
	if now > 0 {
		now += len(c.Missing)
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return syscall.EINVAL
	}
	show := now
	switch {
	case n > c.Total || n < 0:
		err = syscall.ERANGE
	case n == now:
	case driverOf(t, slot) == "" || driverOf(t, slot) == "mlx4_core": // no sriov_configure
		err = syscall.ENOENT
	case n == 0:
		show, err = 0, t.dropVFs(c)
	case now > 0:
		err = syscall.EBUSY
	case c.Refuses != 0:
		err = syscall.Errno(c.Refuses)
	default:
		return t.makeVFs(c, n)
	}
	return errors.Join(t.set(slot, "sriov_numvfs", strconv.Itoa(show)), err)
}

func driverOf(t *Tree, slot string) string {
	to, err := os.Readlink(t.Device(slot, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(to)
}

// dropVFs takes all VFs away, with what sits on them.
func (t *Tree) dropVFs(c Card) error {
	var errs []error
	for _, l := range t.links(c.Slot) {
		to, err := os.Readlink(l)
		errs = append(errs, err, os.Remove(l))
		slot := filepath.Base(to)
		errs = append(errs, t.unbind(slot))
		if group, gerr := os.Readlink(t.Device(slot, "iommu_group")); gerr == nil {
			errs = append(errs, os.Remove(filepath.Join(group, "devices", slot)))
			if c.Group != "shared" {
				errs = append(errs, os.RemoveAll(group))
			}
		}
		errs = append(errs, os.RemoveAll(t.Device(slot)))
	}
	return errors.Join(append(errs, os.RemoveAll(t.Device(c.Slot, "sriov")))...)
}

func (t *Tree) makeVFs(c Card, n int) error {
	for i := range n {
		if slices.Contains(c.Missing, i) {
			continue
		}
		slot := c.VFSlot(i)
		if err := t.function(c, slot, c.Device+1); err != nil {
			return err
		}
		var w writer
		w.link(t.Device(slot, "physfn"), t.Device(c.Slot))
		w.link(t.Device(c.Slot, "virtfn"+strconv.Itoa(i)), t.Device(slot))
		if c.OFED {
			for _, f := range []string{"mac", "vlan", "link_state", "spoofcheck", "trust", "max_tx_rate", "min_tx_rate", "config", "stats"} {
				w.file(t.Device(c.Slot, "sriov", strconv.Itoa(i), f), "")
			}
		}
		if w.err != nil {
			return w.err
		}
		if c.VFDriver != "" && t.autoprobe(c) && (!c.Loses || i < n-1) {
			if err := t.bind(slot, c.VFDriver); err != nil {
				return err
			}
		}
	}
	return t.set(c.Slot, "sriov_numvfs", strconv.Itoa(n))
}

func (t *Tree) autoprobe(c Card) bool {
	return c.NoAutoprobe || t.get(c.Slot, "sriov_drivers_autoprobe") != "0"
}

// probe is drivers_probe: a function that has a driver keeps it. One with an override
// gets that driver or none; a VF without gets one only where autoprobe is on
// (pci_device_can_probe).
func (t *Tree) probe(slot string) error {
	c, vf, ok := t.card(slot)
	if !ok {
		return syscall.ENODEV
	}
	if driverOf(t, slot) != "" {
		return nil
	}
	driver := t.get(slot, "driver_override")
	if driver == "(null)" || driver == "" {
		if driver = c.Driver; vf >= 0 {
			driver = c.VFDriver
			if !t.autoprobe(c) {
				return syscall.EINVAL
			}
		}
	}
	if driver == "" {
		return syscall.EINVAL
	}
	if pci.IsVFIO(driver) && c.Group == "none" {
		return syscall.EINVAL // vfio-pci wants a group
	}
	if _, err := os.Stat(t.path("sys/bus/pci/drivers", driver)); err != nil {
		return fmt.Errorf("probe %s: %w", slot, syscall.EINVAL)
	}
	return t.bind(slot, driver)
}
