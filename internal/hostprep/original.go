package hostprep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"neutrino/internal/ledger"
	"neutrino/internal/mstconfig"
	"neutrino/internal/pci"
)

// Originals are what PFs were before they were prepared, so far as it is in no file.
type Originals struct {
	PFs []Original `json:"pfs"`
}

// Original is one PF.
type Original struct {
	Slot      string       `json:"slot"`
	Name      string       `json:"name"`
	MAC       string       `json:"mac,omitempty"`
	NumVFs    int          `json:"numvfs"`
	Autoprobe bool         `json:"autoprobe"`
	VFs       []OriginalVF `json:"vfs,omitempty"`
	// Wrote are the numbers of VFs that it was given since.
	Wrote []int `json:"wrote,omitempty"`
	// Firmware has the keys that were set, with what the next boot would have brought, and with what they
	// were set to.
	Firmware []FirmwareKey `json:"firmware,omitempty"`
}

// OriginalVF is one of its VFs.
type OriginalVF struct {
	Index  int    `json:"index"`
	Slot   string `json:"slot"`
	Driver string `json:"driver"`
}

// DecodeOriginals reads strictly what Encode writes; nil = there are none.
func DecodeOriginals(data []byte) (*Originals, error) {
	o := &Originals{}
	if len(data) == 0 {
		return o, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(o)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows its end")
		}
	}
	seen := map[string]bool{}
	for _, p := range o.PFs {
		if err == nil && (pci.CheckSlot(p.Slot) != nil || seen[p.Slot] || p.NumVFs < 0 || p.NumVFs > maxVFs || len(p.VFs) > p.NumVFs) {
			err = fmt.Errorf("%.40q: no PF, twice there, or with other VFs than it counts", p.Slot)
		}
		seen[p.Slot] = true
		for _, v := range p.VFs {
			if err == nil && (pci.CheckSlot(v.Slot) != nil || v.Index < 0) {
				err = fmt.Errorf("%s: VF %.40q is none", p.Slot, v.Slot)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: what PFs were: %w", ledger.ErrBad, err)
	}
	return o, nil
}

// encode is what the ledger keeps.
func (o *Originals) encode() (json.RawMessage, error) { return json.Marshal(o) }

func (o *Originals) of(slot string) *Original {
	for i := range o.PFs {
		if o.PFs[i].Slot == slot {
			return &o.PFs[i]
		}
	}
	return nil
}

// originals reads what is noted already.
func (h Host) originals() (*Originals, error) {
	r, err := h.Ledger().Load()
	if err != nil {
		return nil, err
	}
	if r == nil {
		return &Originals{}, nil
	}
	return DecodeOriginals(r.Note)
}

// remember adds what is about to be changed; what a PF was first stays.
func (p *Preparation) remember() error {
	all, err := p.host.originals()
	if err != nil {
		return err
	}
	o := all.of(p.Slot)
	if o == nil {
		c := newChange(p.host, p.pf, Want{})
		n := Original{Slot: p.Slot, Name: p.PF, MAC: p.host.mac(p.pf), NumVFs: p.pf.NumVFs, Autoprobe: p.pf.Autoprobe}
		for i, v := range p.pf.VFs {
			n.VFs = append(n.VFs, OriginalVF{v.Index, v.Slot, c.before[i]})
		}
		all.PFs = append(all.PFs, n)
		o = &all.PFs[len(all.PFs)-1]
	}
	if !slices.Contains(o.Wrote, p.want.VFs) {
		o.Wrote = append(o.Wrote, p.want.VFs)
	}
	for _, k := range p.Firmware {
		if i := slices.IndexFunc(o.Firmware, func(x FirmwareKey) bool { return x.Key == k.Key }); i >= 0 {
			o.Firmware[i].To = k.To
		} else {
			o.Firmware = append(o.Firmware, FirmwareKey{k.Key, plainNumber(k.Was), k.To})
		}
	}
	p.work.Note, err = all.encode()
	return err
}

// plainNumber is a value as mstconfig takes it.
func plainNumber(shown string) string {
	if n, ok := mstconfig.Value(shown).Number(); ok {
		return fmt.Sprint(n)
	}
	return shown
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// change is what brings the PF back.
func (o *Original) change(h Host) *change {
	pf := pci.PF{NumVFs: o.NumVFs, Autoprobe: o.Autoprobe}
	pf.Slot = o.Slot
	c := &change{host: h, begun: true}
	for _, v := range o.VFs {
		pf.VFs = append(pf.VFs, pci.VFRef{Index: v.Index, Slot: v.Slot})
		c.before = append(c.before, v.Driver)
	}
	c.pf = pf
	return c
}
