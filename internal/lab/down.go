package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"neutrino/internal/dhcp"
	"neutrino/internal/netspace"
	"neutrino/internal/router"
)

// Down takes the lab away. It works from the state file and, where that does not know
// or is not there, from names and marks alone; what is not there is no error.
func Down(ctx context.Context, n Names, p Progress) error {
	unlock, err := n.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return takeDown(ctx, n, p)
}

// takeDown needs the lock. It goes on after errors and returns them joined.
//
// Devices and eBPF objects need no care of their own: a NIC is in its host's
// namespace, its programs are held by pins on the lab's own bpf file system, and both
// go as a whole.
func takeDown(ctx context.Context, n Names, p Progress) error {
	var errs []error
	names, inodes, err := n.namespaces()
	errs = append(errs, err, n.stopProcesses(ctx, inodes, p))
	for _, name := range names {
		if err := cleanServices(name); err != nil {
			errs = append(errs, err)
		}
	}
	errs = append(errs, unmountAll(n.Dir()))
	for _, name := range names {
		errs = append(errs, netspace.Delete(name))
	}
	if len(names) > 0 {
		p.Step("%d namespaces removed", len(names))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("take lab %s down: %w", n.Lab, err) // the state stays for another try
	}
	if err := os.RemoveAll(n.Dir()); err != nil {
		return fmt.Errorf("take lab %s down: %w", n.Lab, err)
	}
	_ = os.Remove(n.lockFile())
	for _, dir := range []string{n.Base, filepath.Dir(n.Base)} {
		_ = os.Remove(dir) // only if nothing else is in it
	}
	return nil
}

func cleanServices(namespace string) error {
	h, err := netspace.Open(namespace)
	if errors.Is(err, netspace.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = h.Close() }()
	return errors.Join(dhcp.CleanUp(h, ""), router.CleanUp(h, ""))
}

// stopProcesses ends what the state knows and what is found by marks, agents and
// whatever runs in instances before the controller, all at once.
func (n Names) stopProcesses(ctx context.Context, inodes map[uint64]bool, p Progress) error {
	list := n.strays(inodes)
	if s, err := Read(n); err == nil {
		for _, known := range s.Processes {
			same := func(x Process) bool { return x.PID == known.PID && x.Start == known.Start }
			if known.Alive() && !slices.ContainsFunc(list, same) {
				list = append(list, known)
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, proc := range list {
		wg.Go(func() { errs[i] = proc.stop(ctx, stopGrace) })
	}
	wg.Wait()
	p.Step("%d processes ended", len(list))
	return errors.Join(errs...)
}
