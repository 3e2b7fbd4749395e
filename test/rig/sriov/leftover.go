package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endWithParent asks for SIGTERM when the parent ends. `go run` ends by SIGTERM without
// a word to what it runs, which would go on by itself (prctl(2), PR_SET_PDEATHSIG).
func endWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to end with the parent: %w", err)
	}
	return nil
}

const sharePrefix = "neutrino-rig-"

// newShare makes a directory in dir to share with the machine, named after this process,
// and removes those of processes that are no more: they were killed.
func newShare(dir string) (string, error) {
	old, err := filepath.Glob(filepath.Join(dir, sharePrefix+"*-*"))
	if err != nil {
		return "", err
	}
	for _, path := range old {
		word, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), sharePrefix), "-")
		pid, perr := strconv.Atoi(word)
		if perr != nil || pid <= 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		if err = os.RemoveAll(path); err != nil {
			return "", fmt.Errorf("remove what a killed run left: %w", err)
		}
	}
	return os.MkdirTemp(dir, sharePrefix+strconv.Itoa(os.Getpid())+"-")
}
