package vfnl

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
)

// Errors that callers look for with errors.Is, beside the kernel's own unix.Errno.
var (
	// ErrUnsupported: the driver has no such attribute. The kernel answers EOPNOTSUPP,
	// mlx4 EPROTONOSUPPORT.
	ErrUnsupported = eswitch.ErrUnsupported
	// ErrNoVF: the driver knows no such VF. Most drivers answer EINVAL instead.
	ErrNoVF = eswitch.ErrNoVF
	// ErrBusy: the driver is at something else, such as resetting the VF; try again.
	ErrBusy = eswitch.ErrBusy
	// ErrNoPF: there is no such interface (any more) in this network namespace.
	ErrNoPF = errors.New("no such interface")
	// ErrClosed: the Conn or Monitor was closed.
	ErrClosed = errors.New("closed")
)

// SetError is what the kernel said to a Set.
type SetError struct {
	Ifindex int
	// VF and Attr are what was refused, as far as it can be told: VF is -1 and Attr empty
	// when the request held several.
	VF   int
	Attr string
	// Asked is all that the request held, in order.
	Asked []string
	// Message is the kernel's own explanation, "" without one.
	Message string
	Err     error // sentinel and errno
}

func (e *SetError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "set %s of ", strings.Join(e.Asked, ", "))
	if e.VF >= 0 {
		fmt.Fprintf(&b, "VF %d of ", e.VF)
	}
	fmt.Fprintf(&b, "interface %d: %v", e.Ifindex, e.Err)
	if e.Message != "" {
		fmt.Fprintf(&b, " (%s)", e.Message)
	}
	return b.String()
}

// Unwrap lets errors.Is find the sentinel and the errno.
func (e *SetError) Unwrap() error { return e.Err }

func setError(ifindex int, changes []Change, err error) error {
	e := &SetError{Ifindex: ifindex, VF: -1}
	for i := range changes {
		names := changes[i].Names()
		if i == 0 || e.VF == changes[i].VF {
			e.VF = changes[i].VF
		} else {
			e.VF = -1
		}
		e.Asked = append(e.Asked, names...)
	}
	switch {
	case len(e.Asked) == 1:
		e.Attr = e.Asked[0]
	case len(e.Asked) == 2 && changes[0].MinTxRate.IsSet():
		e.Attr = "tx_rate" // they are one attribute to the kernel
	}
	e.Message, e.Err = explain(err)
	return e
}

// explain adds the sentinel to an errno and takes out the extended acknowledgement.
func explain(err error) (message string, with error) {
	var op *netlink.OpError
	if errors.As(err, &op) {
		message = op.Message
	}
	var no unix.Errno
	if !errors.As(err, &no) || errors.Is(err, ErrTruncated) {
		return message, err
	}
	sentinel := error(nil)
	switch no {
	case unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.ENOSYS:
		sentinel = ErrUnsupported
	case unix.ENOENT, unix.ENXIO:
		sentinel = ErrNoVF
	case unix.EBUSY, unix.EAGAIN:
		sentinel = ErrBusy
	case unix.ENODEV:
		sentinel = ErrNoPF
	}
	if sentinel == nil {
		return message, no
	}
	return message, fmt.Errorf("%w: %w", sentinel, no)
}

// worded is explain in one error.
func worded(err error) error {
	text, with := explain(err)
	if text == "" {
		return with
	}
	return fmt.Errorf("%w (%s)", with, text)
}
