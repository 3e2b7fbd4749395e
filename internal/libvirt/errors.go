package libvirt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	rpc "github.com/digitalocean/go-libvirt"
)

// Errors for errors.Is. They come wrapped, with libvirt's own words.
var (
	// ErrUnavailable: libvirt's daemon does not answer on its socket.
	ErrUnavailable = errors.New("libvirt is not available")
	// ErrNoDomain: there is no such domain, neither running nor defined.
	ErrNoDomain = errors.New("no such domain")
	// ErrConflict: the domain has the port's interface already, with another VF, MAC or
	// VLAN; or another interface with the same VF.
	ErrConflict = errors.New("domain has another interface in its place")
	// ErrStillAttached: the guest has not let go of the device.
	ErrStillAttached = errors.New("still attached")
)

// codeOf is the number of libvirt's error (virErrorNumber), or 0 for other errors.
func codeOf(err error) rpc.ErrorNumber {
	var e rpc.Error
	if !errors.As(err, &e) {
		return rpc.ErrOk
	}
	return rpc.ErrorNumber(e.Code)
}

// reply makes an error of a call that libvirt has not carried out.
func reply(ctx context.Context, err error) error {
	var e rpc.Error
	switch {
	case err == nil:
		return nil
	case codeOf(err) == rpc.ErrNoDomain:
		return fmt.Errorf("%w: %w", ErrNoDomain, err)
	case errors.As(err, &e):
		return fmt.Errorf("libvirt: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("libvirt has not answered in time; it may still do what it was asked: %w", context.Cause(ctx))
	default:
		return fmt.Errorf("%w: the connection broke: %w", ErrUnavailable, err)
	}
}

// busy reports whether the same call may succeed a little later: another change of the
// domain holds its lock.
func busy(err error) bool {
	return codeOf(err) == rpc.ErrOperationTimeout || codeOf(err) == rpc.ErrResourceBusy
}

// unplugging reports whether QEMU has been asked for the unplug before and still waits
// for the guest. libvirt has no number for it: the words are QEMU's (qdev_unplug,
// pcie_cap_slot_unplug_request_cb).
func unplugging(err error) bool {
	s := err.Error()
	return strings.Contains(s, "already in the process of unplug") || strings.Contains(s, "guest is busy")
}

// advice adds what to do to errors whose text does not tell it.
func advice(err error) error {
	switch s := err.Error(); {
	case strings.Contains(s, "No more available PCI slots"):
		return fmt.Errorf("%w (add <controller type='pci' model='pcie-root-port'/> elements to the domain; they are taken up when it is started anew)", err)
	case strings.Contains(s, "must be manually detached from the host"):
		return fmt.Errorf("%w (bind the VF to vfio-pci, or use managed='yes')", err)
	}
	return err
}
