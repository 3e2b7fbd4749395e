package sriov

import (
	"strings"
	"testing"
)

func TestUeventNamesItsFunction(t *testing.T) {
	for text, want := range map[string]string{
		"change@/devices/pci0000:00/0000:06:00.0\x00ACTION=change\x00SUBSYSTEM=pci\x00":                               "0000:06:00.0",
		"add@/devices/pci0000:00/0000:06:10.2/net/eth1\x00ACTION=add\x00SUBSYSTEM=net\x00INTERFACE=eth1\x00":          "0000:06:10.2",
		"add@/devices/virtual/net/br0\x00SUBSYSTEM=net\x00INTERFACE=br0\x00":                                          "",
		"add@/devices/pci0000:00/0000:06:10.2/net/eth1/queues/rx-0\x00SUBSYSTEM=queues\x00":                           "",
		"bind@/devices/pci0000:00/0000:00:1c.0/0000:06:10.2\x00SUBSYSTEM=pci\x00PCI_SLOT_NAME=0000:06:10.2\x00SEQNUM": "0000:06:10.2",
	} {
		e, ok := parseUevent([]byte(text))
		if !ok || e.Slot() != want {
			t.Errorf("%q: slot %q, want %q", text, e.Slot(), want)
		}
	}
	if _, ok := parseUevent([]byte("libudev\x00\xfe\xed\xca\xfe")); ok {
		t.Error("udev's own message was taken for the kernel's")
	}
}

func FuzzParseUevent(f *testing.F) {
	f.Add([]byte("add@/devices/pci0000:00/0000:06:10.2/net/eth1\x00ACTION=add\x00SUBSYSTEM=net\x00INTERFACE=eth1\x00"))
	f.Add([]byte("libudev\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseUevent(b)
		if ok && !strings.HasPrefix(e.Path, "/") {
			t.Errorf("path %q", e.Path)
		}
		if slot := e.Slot(); slot != "" && !pciSlot.MatchString(slot) {
			t.Errorf("slot %q", slot)
		}
	})
}

func FuzzOFEDConfig(f *testing.F) {
	f.Add("VF         : 0\nTrust      : ON\nLinkState  : Follow\nMaxTxRate  : 5\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := ofedConfig(text)
		if n, ok := ofedNumber(c["MaxTxRate"]).Get(); ok && n < 0 {
			t.Errorf("rate %d", n)
		}
		if l := ofedLink(c["LinkState"]); !l.IsSet() && !l.IsUnsupported() {
			t.Error("link state is neither there nor missing")
		}
	})
}
