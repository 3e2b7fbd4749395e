package machine

import (
	"encoding/binary"
	"path/filepath"
	"strconv"
	"strings"

	"neutrino/internal/pci"
)

// Link is a PCI Express link: GT/s and lanes; 0 = not known.
type Link struct {
	Speed float64
	Width int
}

// PCIe is how a function hangs on PCI Express. What is 0 is not known.
type PCIe struct {
	Now, Max Link
	// Slot is the PCI address of the port above it, with what that can do.
	Slot    string
	SlotMax Link
	// Bytes; they need root: the kernel shows others the first 64 bytes of the
	// configuration space only.
	MaxPayload, MaxPayloadCan, MaxReadReq int
	SlotPayload, SlotPayloadCan           int
}

func (t Tree) pcie(slot string) PCIe {
	p := PCIe{Now: t.link(slot, "current"), Max: t.link(slot, "max")}
	c, _ := t.Bytes(device, slot, "config")
	p.MaxPayload, p.MaxPayloadCan, p.MaxReadReq = parseExpress(c)
	real, err := filepath.EvalSymlinks(t.Path(device, slot))
	if err != nil {
		return p
	}
	above := filepath.Base(filepath.Dir(real))
	if pci.CheckSlot(above) != nil {
		return p
	}
	p.Slot, p.SlotMax = above, t.link(above, "max")
	c, _ = t.Bytes(device, above, "config")
	p.SlotPayload, p.SlotPayloadCan, _ = parseExpress(c)
	return p
}

func (t Tree) link(slot, which string) Link {
	speed, _ := t.Text(device, slot, which+"_link_speed")
	width, _ := t.Number(device, slot, which+"_link_width")
	if width < 0 || width > 32 { // 255: there is none
		width = 0
	}
	return Link{parseSpeed(speed), width}
}

// parseSpeed reads "8.0 GT/s PCIe", "8 GT/s"; "Unknown" is 0.
func parseSpeed(text string) float64 {
	word, _, ok := strings.Cut(text, " GT/s")
	v, err := strconv.ParseFloat(word, 64)
	if !ok || err != nil || !(v > 0 && v < 1000) {
		return 0
	}
	return v
}

// Places in the configuration space (PCIe base specification, 7.5).
const (
	pciStatus     = 0x06
	pciHasList    = 0x10
	pciListStart  = 0x34
	capExpress    = 0x10
	expCapability = 4
	expControl    = 8
)

// parseExpress finds the PCI Express capability of a configuration space and reads the
// greatest payload, in use and possible, and the greatest read request.
func parseExpress(c []byte) (payload, possible, read int) {
	if len(c) <= pciListStart || c[pciStatus]&pciHasList == 0 {
		return 0, 0, 0
	}
	at := int(c[pciListStart]) &^ 3
	for range 48 { // more capabilities do not fit into 256 bytes
		if at < 0x40 || at+expControl+2 > len(c) {
			return 0, 0, 0
		}
		if c[at] != capExpress {
			at = int(c[at+1]) &^ 3
			continue
		}
		can, control := c[at+expCapability], binary.LittleEndian.Uint16(c[at+expControl:])
		return 128 << (control >> 5 & 7), 128 << (can & 7), 128 << (control >> 12 & 7)
	}
	return 0, 0, 0
}
