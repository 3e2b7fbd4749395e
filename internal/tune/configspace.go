package tune

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// Of include/uapi/linux/pci_regs.h.
const (
	statusOffset   = 0x06
	statusCapList  = 0x10
	capPointer     = 0x34
	capMSIX        = 0x11
	capExpress     = 0x10
	devCtl         = 8 // in the PCI Express capability
	readReqShift   = 12
	readReqMask    = 7 << readReqShift
	tableSizeMask  = 0x7ff
	configHead     = 0x40
	configStandard = 0x100
)

// errNoCapability: the function has no such capability, or its configuration space
// cannot be read.
var errNoCapability = errors.New("no such PCI capability")

// capability finds a capability in a configuration space; 0 = it has none. The list may
// be broken: it is followed no further than it can be long.
func capability(config []byte, id byte) int {
	if len(config) < configHead || config[statusOffset]&statusCapList == 0 {
		return 0
	}
	at := int(config[capPointer]) &^ 3
	for range 48 {
		if at < configHead || at+12 > len(config) || at >= configStandard {
			return 0
		}
		if config[at] == id {
			return at
		}
		at = int(config[at+1]) &^ 3
	}
	return 0
}

func (h *Host) config(slot string) ([]byte, error) {
	b, err := os.ReadFile(h.path("sys/bus/pci/devices", slot, "config"))
	if err != nil {
		return nil, fmt.Errorf("read the configuration space of %s: %w", slot, err)
	}
	return b, nil
}

// readReq is MaxReadReq in bytes.
func (h *Host) readReq(slot string) (int, error) {
	b, err := h.config(slot)
	if err != nil {
		return 0, err
	}
	at := capability(b, capExpress)
	if at == 0 {
		return 0, fmt.Errorf("PCI Express of %s: %w", slot, errNoCapability)
	}
	return 128 << (binary.LittleEndian.Uint16(b[at+devCtl:]) & readReqMask >> readReqShift), nil
}

// setReadReq sets MaxReadReq: 128, 256, ... 4096.
func (h *Host) setReadReq(slot string, bytes int) error {
	code := 0
	for 128<<code < bytes {
		code++
	}
	if 128<<code != bytes || bytes > 4096 {
		return fmt.Errorf("%d is no MaxReadReq", bytes)
	}
	b, err := h.config(slot)
	if err != nil {
		return err
	}
	at := capability(b, capExpress)
	if at == 0 {
		return fmt.Errorf("PCI Express of %s: %w", slot, errNoCapability)
	}
	ctl := binary.LittleEndian.Uint16(b[at+devCtl:])&^readReqMask | uint16(code<<readReqShift)
	f, err := os.OpenFile(h.path("sys/bus/pci/devices", slot, "config"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	var raw [2]byte
	binary.LittleEndian.PutUint16(raw[:], ctl)
	_, err = f.WriteAt(raw[:], int64(at+devCtl))
	return errors.Join(err, f.Close())
}

// vectors is the size of a function's MSI-X table.
func (h *Host) vectors(slot string) (int, error) {
	b, err := h.config(slot)
	if err != nil {
		return 0, err
	}
	at := capability(b, capMSIX)
	if at == 0 {
		return 0, fmt.Errorf("MSI-X of %s: %w", slot, errNoCapability)
	}
	return int(binary.LittleEndian.Uint16(b[at+2:])&tableSizeMask) + 1, nil
}
