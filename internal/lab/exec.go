package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"neutrino/internal/netspace"
)

// Exec replaces this process by argv inside a host or an instance. It returns only on
// failure.
func Exec(n Names, part string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("no command to execute")
	}
	ns := n.Namespace(part)
	if !n.isMarked(ns) {
		return fmt.Errorf("execute in %s: lab %s has no host or instance of that name", part, n.Lab)
	}
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("execute in %s: %w", part, err)
	}
	return netspace.Do(ns, func() error {
		if err := syscall.Exec(program, argv, os.Environ()); err != nil {
			return fmt.Errorf("execute %s in %s: %w", program, part, err)
		}
		return nil
	})
}
