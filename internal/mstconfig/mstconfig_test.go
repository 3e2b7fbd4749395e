package mstconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// query is modelled on what mstconfig 4.2x prints.
const query = `
Device #1:
----------

Device type:    ConnectX5
Name:           MCX556A-ECA_Ax
Description:    ConnectX-5 VPI adapter card; EDR IB (100Gb/s) and 100GbE; dual-port QSFP28; PCIe3.0 x16; tall bracket; ROHS R6
Device:         0000:af:00.0

Configurations:                              Default         Current         Next Boot
         MEMIC_BAR_SIZE                      0               0               0
         MEMIC_SIZE_LIMIT                    _256KB(1)       _256KB(1)       _256KB(1)
         ESWITCH_HAIRPIN_DESCRIPTORS         Array[0..7]     Array[0..7]     Array[0..7]
*        NUM_OF_VFS                          0               8               16
*        SRIOV_EN                            False(0)        True(1)         True(1)
*        LINK_TYPE_P1                        IB(1)           ETH(2)          ETH(2)
RO       MKEY_BY_NAME                        False(0)        False(0)        False(0)
The '*' shows parameters with next value different from default/current value.
`

func TestQueryIsRead(t *testing.T) {
	c, err := Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	if c.Type != "ConnectX5" || c.Part != "MCX556A-ECA_Ax" || len(c.Settings) != 7 || !c.Has("MKEY_BY_NAME") || c.Has("The") {
		t.Errorf("%+v", c)
	}
	for key, want := range map[string]Setting{
		"NUM_OF_VFS": {"0", "8", "16"}, "SRIOV_EN": {"False(0)", "True(1)", "True(1)"}, "LINK_TYPE_P1": {"IB(1)", "ETH(2)", "ETH(2)"},
	} {
		if s := c.Settings[key]; s != want || s.Pending() != (key == "NUM_OF_VFS") {
			t.Errorf("%s: %+v, want %+v", key, s, want)
		}
	}
	c, err = Parse("Device type:    ConnectX3Pro\n\nConfigurations:                              Next Boot\n         SRIOV_EN                            True(1)\n         NUM_OF_VFS                          16\n")
	if s := c.Settings["NUM_OF_VFS"]; err != nil || s != (Setting{Next: "16"}) || s.Pending() {
		t.Errorf("one column: %+v, %v", c, err)
	}
	for _, bad := range []string{"", "-E- Failed to open the device\n", "Configurations: Default Current Next Boot\n"} {
		if _, err = Parse(bad); !errors.Is(err, ErrBadOutput) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestValuesAreNumbers(t *testing.T) {
	for v, want := range map[Value]int{"True(1)": 1, "False(0)": 0, "ETH(2)": 2, "16": 16, "0x10": 16, "N/A": -1, "": -1, "Array[0..7]": -1} {
		n, ok := v.Number()
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q: %d %v", v, n, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(query)
	f.Add("Configurations: x\n A 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if (err == nil) != (len(c.Settings) > 0) {
			t.Errorf("%d settings, %v", len(c.Settings), err)
		}
		for _, s := range c.Settings {
			s.Next.Number()
		}
	})
}

// fake puts a program in the place of all others.
func fake(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	if name != "" {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestProgramIsAsked(t *testing.T) {
	fake(t, "", "")
	if _, err := Query(t.Context(), "0000:af:00.0"); !errors.Is(err, ErrNotInstalled) {
		t.Error(err)
	}
	fake(t, "mlxconfig", `[ "$*" = "-e -d 0000:af:00.0 query" ] || exit 9
while read -r l; do echo "$l"; done <<END`+query+"END\n")
	if c, err := Query(t.Context(), "0000:af:00.0"); err != nil || c.Settings["NUM_OF_VFS"].Next != "16" {
		t.Errorf("%+v, %v", c, err)
	}
	fake(t, "mstconfig", "echo; echo '-E- Failed to open the device'; exit 3\n")
	if _, err := Query(t.Context(), "0000:af:00.0"); err == nil || !strings.Contains(err.Error(), "Failed to open the device") || !strings.Contains(err.Error(), "0000:af:00.0") {
		t.Error(err)
	}
	fake(t, "mstconfig", "echo nothing\n")
	if _, err := Query(t.Context(), "0000:af:00.0"); !errors.Is(err, ErrBadOutput) {
		t.Error(err)
	}
}
