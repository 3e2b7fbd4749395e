package hostprep

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/google/renameio/v2"

	"neutrino/internal/pci"
)

// Record is what a PF is to have after each boot.
type Record struct {
	PF        string // name of its netdev when it was written; for people
	Slot      string // PCI address
	MAC       string // burnt-in address of its netdev; "" = it had none
	Count     int
	Driver    string // "vfio-pci", or "" = what the kernel has for them
	Autoprobe bool
	// ManagementToo: it was said that the host may be cut off meanwhile.
	ManagementToo bool
}

// ErrBadRecord: a file that is no record.
var ErrBadRecord = errors.New("not a record of VFs")

const recordHead = "# Written by: neutrino host vfs set. Made so at boot by neutrino-vfs.service.\n[vfs]\n"

// Text is the record as its file has it.
func (r Record) Text() string {
	driver := r.Driver
	if driver == "" {
		driver = "default"
	}
	var b strings.Builder
	b.WriteString(recordHead)
	for _, f := range [][2]string{
		{"pf", r.PF},
		{"pci_slot", r.Slot},
		{"pf_mac", r.MAC},
		{"count", strconv.Itoa(r.Count)},
		{"driver", driver},
		{"autoprobe", strconv.FormatBool(r.Autoprobe)},
		{"even_management", strconv.FormatBool(r.ManagementToo)},
	} {
		fmt.Fprintf(&b, "%s = %s\n", f[0], f[1])
	}
	return b.String()
}

// maxVFs is the most that the PCIe capability can count (NumVFs, 16 bits).
const maxVFs = 65535

// ParseRecord reads what Text writes, and what people make of it: order, blanks, remarks
// and left-out options are theirs. What it does not know it refuses.
func ParseRecord(text string) (Record, error) {
	r := Record{Autoprobe: true, Count: -1}
	seen := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' || line == "[vfs]" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || seen[key] {
			return Record{}, fmt.Errorf("%w: line %d: %.60q: want each option once, as name = value", ErrBadRecord, n, line)
		}
		seen[key] = true
		if err := r.take(key, value); err != nil {
			return Record{}, fmt.Errorf("%w: line %d: %s: %w", ErrBadRecord, n, key, err)
		}
	}
	if r.Slot == "" || r.Count < 0 {
		return Record{}, fmt.Errorf("%w: pci_slot and count must be there", ErrBadRecord)
	}
	return r, nil
}

func (r *Record) take(key, value string) (err error) {
	switch key {
	case "pf":
		if r.PF = value; strings.ContainsFunc(value, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			err = fmt.Errorf("%.40q is no name", value)
		}
	case "pci_slot":
		r.Slot = value
		err = pci.CheckSlot(value)
	case "pf_mac":
		if r.MAC = strings.ToLower(value); value != "" {
			_, err = net.ParseMAC(value)
		}
	case "count":
		if r.Count, err = strconv.Atoi(value); err == nil && (r.Count < 0 || r.Count > maxVFs) {
			err = fmt.Errorf("%d is not in 0 to %d", r.Count, maxVFs)
		}
	case "driver":
		if r.Driver, err = ParseDriver(value); err != nil {
			return err
		}
	case "autoprobe":
		r.Autoprobe, err = strconv.ParseBool(value)
	case "even_management":
		r.ManagementToo, err = strconv.ParseBool(value)
	default:
		err = errors.New("there is no such option")
	}
	return err
}

// ParseDriver turns what people write into what Want and Record have.
func ParseDriver(s string) (string, error) {
	switch s {
	case "", "default":
		return "", nil
	case pci.VFIODriver:
		return s, nil
	}
	return "", fmt.Errorf("driver %.40q: allowed are vfio-pci and default", s)
}

func (h Host) file(slot string) string { return filepath.Join(h.dir(), slot+".conf") }

// record reads the record of a slot; ok is false where there is none.
func (h Host) record(slot string) (r Record, ok bool, err error) {
	data, err := os.ReadFile(h.file(slot))
	if errors.Is(err, os.ErrNotExist) {
		return Record{}, false, nil
	}
	if err == nil {
		r, err = ParseRecord(string(data))
	}
	if err != nil {
		return Record{}, true, fmt.Errorf("read %s: %w", h.file(slot), err)
	}
	return r, true, nil
}

// slots lists the PCI addresses that have a record.
func (h Host) slots() ([]string, error) {
	entries, err := os.ReadDir(h.dir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list the records of VFs: %w", err)
	}
	var out []string
	for _, e := range entries {
		if slot, ok := strings.CutSuffix(e.Name(), ".conf"); ok && pci.CheckSlot(slot) == nil {
			out = append(out, slot)
		}
	}
	slices.Sort(out)
	return out, nil
}

// put writes a record, or takes it away with "": after a crash there is the old one or
// the new one.
func (h Host) put(slot, text string) error {
	file := h.file(slot)
	if text == "" {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("forget the VFs of %s: %w", slot, err)
		}
		return nil
	}
	if err := os.MkdirAll(h.dir(), 0o755); err != nil {
		return fmt.Errorf("keep the VFs of %s: %w", slot, err)
	}
	if err := renameio.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("keep the VFs of %s in %s: %w", slot, file, err)
	}
	return nil
}
