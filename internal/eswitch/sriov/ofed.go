package sriov

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"neutrino/internal/eswitch"
	"neutrino/internal/model"
)

// NVIDIA's out-of-tree mlx5 driver (MLNX_OFED) has a directory per VF beside the PF's
// device, sriov/N: one file per attribute to write, and "config" to read them all. It
// is used for what rtnetlink of that driver does not have.

// lackOFED prefixes, in pf.lacks, what this way does not have either.
const lackOFED = "ofed "

func (f *pfFiles) ofedFile(index int, name string) string {
	return filepath.Join(f.ofed, strconv.Itoa(index), name)
}

// ofedConfig reads "config": lines of "Name : value".
func ofedConfig(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			out[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return out
}

// fromOFED fills in what is Unsupported so far.
func (f *pfFiles) fromOFED(index int, lacks map[string]bool, a *eswitch.Attrs) {
	open := func(name string, unsupported bool) bool { return unsupported && !lacks[lackOFED+name] }
	if !open("spoof_check", a.SpoofCheck.IsUnsupported()) && !open("trust", a.Trust.IsUnsupported()) &&
		!open("link_state", a.LinkState.IsUnsupported()) && !open("min_tx_rate", a.MinTxRate.IsUnsupported()) &&
		!open("max_tx_rate", a.MaxTxRate.IsUnsupported()) {
		return
	}
	text, err := os.ReadFile(f.ofedFile(index, "config"))
	if err != nil {
		return
	}
	c := ofedConfig(string(text))
	if open("spoof_check", a.SpoofCheck.IsUnsupported()) {
		a.SpoofCheck = ofedFlag(c["SpoofCheck"])
	}
	if open("trust", a.Trust.IsUnsupported()) {
		a.Trust = ofedFlag(c["Trust"])
	}
	if open("link_state", a.LinkState.IsUnsupported()) {
		a.LinkState = ofedLink(c["LinkState"])
	}
	if open("min_tx_rate", a.MinTxRate.IsUnsupported()) {
		a.MinTxRate = ofedNumber(c["MinTxRate"])
	}
	if open("max_tx_rate", a.MaxTxRate.IsUnsupported()) {
		a.MaxTxRate = ofedNumber(c["MaxTxRate"])
	}
}

func ofedFlag(s string) eswitch.Attr[bool] {
	switch s {
	case "ON":
		return eswitch.Set(true)
	case "OFF":
		return eswitch.Set(false)
	}
	return eswitch.Unsupported[bool]()
}

func ofedLink(s string) eswitch.Attr[model.LinkState] {
	switch s {
	case "Follow":
		return eswitch.Set(model.LinkAuto)
	case "Up":
		return eswitch.Set(model.LinkEnable)
	case "Down":
		return eswitch.Set(model.LinkDisable)
	}
	return eswitch.Unsupported[model.LinkState]()
}

func ofedNumber(s string) eswitch.Attr[int] {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return eswitch.Set(n)
	}
	return eswitch.Unsupported[int]()
}

// toOFED writes one attribute, named as by eswitch.Diff. ok is false where there is no
// file for it.
func (p *pf) toOFED(ctx context.Context, f pfFiles, index int, name, value string) (ok bool, err error) {
	file, ok := map[string]string{
		"spoof_check": "spoofcheck", "trust": "trust", "link_state": "link_state", "min_tx_rate": "min_tx_rate", "max_tx_rate": "max_tx_rate",
	}[name]
	if !ok || f.ofed == "" || p.lacks[lackOFED+name] {
		return false, nil
	}
	path := f.ofedFile(index, file)
	if !exists(path) {
		p.lacks[lackOFED+name] = true
		return false, nil
	}
	return true, write(ctx, path, value)
}

// ofedValue is how a file is told one attribute of a change.
func ofedValue(a *eswitch.Attrs, name string) string {
	word := func(v eswitch.Attr[bool]) string {
		if on, _ := v.Get(); on {
			return "ON"
		}
		return "OFF"
	}
	switch name {
	case "spoof_check":
		return word(a.SpoofCheck)
	case "trust":
		return word(a.Trust)
	case "link_state":
		l, _ := a.LinkState.Get()
		return [...]string{"Follow", "Up", "Down"}[max(0, min(int(l), 2))]
	case "min_tx_rate":
		n, _ := a.MinTxRate.Get()
		return strconv.Itoa(n)
	case "max_tx_rate":
		n, _ := a.MaxTxRate.Get()
		return strconv.Itoa(n)
	}
	return ""
}
