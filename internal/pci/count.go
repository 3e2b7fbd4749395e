package pci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// ErrVFsBusy: the kernel does not change the number of VFs while there are some.
var ErrVFsBusy = errors.New("VFs are there already")

// SetNumVFs writes sriov_numvfs and returns when the kernel has made the VFs and their
// virtfnN links are there. The kernel refuses to go from one number to another but
// through 0 (drivers/pci/iov.c, sriov_numvfs_store); that is ErrVFsBusy.
func (s *Sys) SetNumVFs(ctx context.Context, slot string, n int) error {
	p, err := s.PF(slot)
	switch {
	case err != nil:
		return fmt.Errorf("set the number of VFs of %s: %w", slot, err)
	case n < 0 || n > p.TotalVFs:
		return fmt.Errorf("set the number of VFs of %s to %d: it can have 0 to %d (sriov_totalvfs)", slot, n, p.TotalVFs)
	case p.NumVFs == n:
		return nil
	case !p.Settable:
		return fmt.Errorf("set the number of VFs of %s: driver %s does not take it from sysfs: %w", slot, orNone(p.Driver), errors.ErrUnsupported)
	}
	// A driver brings its VFs up one by one, within the write.
	ctx, cancel := context.WithTimeout(ctx, writeDeadline+time.Duration(max(n, p.NumVFs))*time.Second)
	defer cancel()
	err = s.write(ctx, s.device(slot, "sriov_numvfs"), strconv.Itoa(n))
	switch {
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("set the number of VFs of %s to %d: %w: go through 0: %w", slot, n, ErrVFsBusy, err)
	case errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("set the number of VFs of %s to %d: not enough MMIO space or bus numbers: switch SR-IOV on in the BIOS, or boot with pci=realloc: %w", slot, n, err)
	case err != nil:
		return fmt.Errorf("set the number of VFs of %s to %d: %w", slot, n, err)
	}
	return poll(ctx, fmt.Sprintf("%d VFs of %s", n, slot), func() (bool, error) {
		now, perr := s.PF(slot)
		if perr == nil && now.NumVFs != n { // the write has returned: no more of them come
			perr = fmt.Errorf("set the number of VFs of %s to %d: its driver made it %d; the kernel log says why", slot, n, now.NumVFs)
		}
		return perr == nil && len(now.VFs) == n, perr
	})
}

// SetAutoprobe says whether VFs that are made from now on are given a driver at once
// (sriov_drivers_autoprobe, since Linux 4.12).
func (s *Sys) SetAutoprobe(ctx context.Context, slot string, on bool) error {
	file := s.device(slot, "sriov_drivers_autoprobe")
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("set sriov_drivers_autoprobe of %s: %w", slot, errors.ErrUnsupported)
	}
	v := "0"
	if on {
		v = "1"
	}
	if now, _ := text(file); now == v {
		return nil
	}
	if err := s.write(ctx, file, v); err != nil {
		return fmt.Errorf("set sriov_drivers_autoprobe of %s: %w", slot, err)
	}
	return nil
}
