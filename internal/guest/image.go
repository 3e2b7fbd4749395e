package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoTool: nothing that opens disk images is installed.
var ErrNoTool = errors.New("nothing that opens disk images is installed")

// longest is how long an image may take to be written when it is closed.
const longest = 10 * time.Minute

// Mount opens a disk image with guestmount (libguestfs), which finds its root file system: to be read only, unless
// write. unmount closes it, and returns when all of it is in the image.
func Mount(ctx context.Context, image string, write bool) (root string, unmount func() error, err error) {
	fail := func(err error) (string, func() error, error) {
		return "", nil, fmt.Errorf("open the image %s: %w", image, err)
	}
	info, err := os.Stat(image)
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory: name it with --root")
	}
	if err != nil {
		return fail(err)
	}
	mount, err := exec.LookPath("guestmount")
	if err != nil {
		return fail(fmt.Errorf("%w: install guestmount (libguestfs-tools, guestfs-tools), or mount the image and name the directory with --root", ErrNoTool))
	}
	umount, err := exec.LookPath("guestunmount")
	if err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "neutrino-guest-")
	if err != nil {
		return fail(err)
	}
	mode, file := "--ro", dir+".pid"
	if write {
		mode = "--rw"
	}
	if out, merr := exec.CommandContext(ctx, mount, "-a", image, "-i", mode, "--pid-file", file, dir).CombinedOutput(); merr != nil {
		_ = os.Remove(file) // there is one only when it was mounted
		return fail(errors.Join(fmt.Errorf("%w: %s", merr, strings.TrimSpace(string(out))), os.Remove(dir)))
	}
	// The process is taken hold of while it runs: later its number may be another's.
	process, perr := holdOf(file)
	return dir, func() error {
		if out, uerr := exec.Command(umount, dir).CombinedOutput(); uerr != nil {
			return fmt.Errorf("close the image %s: %w: %s; it is mounted on %s: guestunmount it when nobody uses it", image, uerr, strings.TrimSpace(string(out)), dir)
		}
		if perr == nil {
			perr = untilEnd(process)
			_ = unix.Close(process)
		}
		if perr != nil {
			perr = fmt.Errorf("close the image %s: wait for guestmount, which goes on writing: %w", image, perr)
		}
		return errors.Join(perr, os.Remove(dir))
	}, nil
}

// holdOf opens the process that a file names, and takes the file away.
func holdOf(file string) (int, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", file, err)
	}
	if err = os.Remove(file); err != nil {
		return 0, err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, fmt.Errorf("take hold of guestmount (pid %d): %w", pid, err)
	}
	return fd, nil
}

// untilEnd waits for a process to end.
func untilEnd(fd int) error {
	end := time.Now().Add(longest)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(end).Milliseconds()))) //nolint:gosec // a descriptor
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		default:
			return fmt.Errorf("it has not ended within %s", longest)
		}
	}
}
