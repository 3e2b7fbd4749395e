package guest

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

func pidfd(pid int) (int, error) { return unix.PidfdOpen(pid, 0) }

// longest is how long an image may take to be written.
const longest = 10 * time.Minute

// untilEnd waits for a process to end.
func untilEnd(fd int) error {
	end := time.Now().Add(longest)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(end).Milliseconds())) //nolint:gosec // a descriptor
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n > 0:
			return nil
		default:
			return errors.New("guestmount is still writing the image")
		}
	}
}
