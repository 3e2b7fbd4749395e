package machine

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCPUListsAreTheKernels(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int
		want string // as the kernel writes it
	}{
		{"", 0, ""},
		{"0", 0, "0"},
		{"0-3,8", 0, "0-3,8"},
		{"8,0-3", 0, "0-3,8"}, // a mix of spans and single CPUs, in any order
		{"0-1\n", 0, "0-1"},
		{"3,2,1,2", 0, "1-3"},
		{"0-15:2/4", 0, "0-1,4-5,8-9,12-13"},
		{"1-10:3/5", 0, "1-3,6-8"},
		{"0-3:0/4", 0, ""},
		{"0-6:4/4", 0, "0-6"},
		{" 0 , 2\t4 ", 0, "0,2,4"},
		{",,1,", 0, "1"},
		{"all", 4, "0-3"},
		{"ALL:1/2", 8, "0,2,4,6"},
		{"2-N", 6, "2-5"},
		{"N", 6, "5"},
		{"8191", 0, "8191"},
	} {
		l, err := ParseCPUList(tt.text, tt.n)
		if err != nil || l.String() != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.text, l, err, tt.want)
		}
	}
	for _, bad := range []string{"a", "-1", "3-1", "1-", "-", "1:1/2", "0-3:2", "0-3:3/2", "0-3:1/0", "0-3:/2", "8192", "0x1", "1.5", "all", "N", "99999999999", "0-1-2", "+1", "１"} {
		if l, err := ParseCPUList(bad, 0); !errors.Is(err, ErrBadList) {
			t.Errorf("%q: %v, %v", bad, l, err)
		}
	}
	if _, err := ParseCPUList("0-4", 4); !errors.Is(err, ErrBadList) {
		t.Errorf("CPU 4 of 4: %v", err)
	}
}

func cpus(r *rapid.T, name string) CPUList {
	return NewCPUList(rapid.SliceOfN(rapid.IntRange(-3, 300), 0, 60).Draw(r, name)...)
}

func TestCPUListsComeBack(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l, o := cpus(r, "l"), cpus(r, "o")
		n := rapid.IntRange(1, 320).Draw(r, "n")
		if back, err := ParseCPUList(l.String(), 0); err != nil || !slices.Equal(back, l) {
			r.Fatalf("list %q: %v, %v", l, back, err)
		}
		if back, err := ParseCPUMask(l.Mask(n)); err != nil || !slices.Equal(back, l) {
			r.Fatalf("mask %q of %v: %v, %v", l.Mask(n), l, back, err)
		}
		in := map[int]bool{}
		for _, c := range l {
			in[c] = true
		}
		both, either := map[int]bool{}, maps.Clone(in)
		for _, c := range o {
			either[c] = true
			if in[c] {
				both[c] = true
			}
		}
		same := func(l CPUList, s map[int]bool) bool {
			return slices.Equal(l, slices.Sorted(maps.Keys(s)))
		}
		if !same(l.And(o), both) || !same(l.Or(o), either) || !same(l.Without(o).Or(l.And(o)), in) || len(l.Without(o).And(o)) != 0 {
			r.Fatalf("%v with %v: and %v, or %v, without %v", l, o, l.And(o), l.Or(o), l.Without(o))
		}
	})
}

func TestMasksAreTheKernels(t *testing.T) {
	for _, tt := range []struct {
		l    CPUList
		n    int
		want string
	}{
		{nil, 2, "0"},
		{CPUList{0}, 2, "1"},
		{CPUList{0, 1}, 2, "3"},
		{CPUList{1}, 16, "0002"},
		{CPUList{31}, 32, "80000000"},
		{CPUList{32}, 40, "01,00000000"},
		{nil, 64, "00000000,00000000"},
		{CPUList{0, 39}, 40, "80,00000001"},
		{CPUList{35}, 33, "8,00000000"},
	} {
		if have := tt.l.Mask(tt.n); have != tt.want {
			t.Errorf("%v of %d: %q, want %q", tt.l, tt.n, have, tt.want)
		}
	}
	for _, bad := range []string{"", "g", "1,", ",1", "100000000", "-1", "+1", "1_0"} {
		if l, err := ParseCPUMask(bad); !errors.Is(err, ErrBadList) {
			t.Errorf("%q: %v, %v", bad, l, err)
		}
	}
}

func FuzzParseCPUList(f *testing.F) {
	for _, s := range []string{"0-3,8", "0-15:2/4", "all", "N", "all:1/2", "0-8191:1/8191", "3-1", ",", "0-3:0/1"} {
		f.Add(s, 16)
	}
	f.Fuzz(func(t *testing.T, text string, n int) {
		l, err := ParseCPUList(text, n)
		if err != nil {
			return
		}
		if back, err := ParseCPUList(l.String(), n); err != nil || !slices.Equal(back, l) {
			t.Errorf("%q of %d: %q came back as %q, %v", text, n, l, back, err)
		}
		if m, err := ParseCPUMask(l.Mask(n % 9000)); err != nil || !slices.Equal(m, l) {
			t.Errorf("%q: mask %q: %v, %v", text, l.Mask(n%9000), m, err)
		}
	})
}

func FuzzParseCPUMask(f *testing.F) {
	for _, s := range []string{"ff", "ff,ffffffff", "0", "00000001,00000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := ParseCPUMask(text)
		if err != nil {
			return
		}
		if back, err := ParseCPUMask(l.Mask(0)); err != nil || !slices.Equal(back, l) {
			t.Errorf("%q: %v came back as %v, %v", text, l, back, err)
		}
	})
}

func TestInterruptsOfEveryKind(t *testing.T) {
	text := "           CPU0       CPU2       \n" +
		"   0:         45          1   IO-APIC   2-edge      timer\n" +
		" 120:          0       4711  IR-PCI-MSIX-0000:3b:00.0    1-edge      mlx5_comp0@pci:0000:3b:00.0\n" +
		" 121:          7          0  PCI-MSI 524288-edge      mlx4-1@0000:04:00.0\n" +
		" 122:          0          0  PCI-MSIX-0000:00:02.0   1-edge      virtio0-input.0, virtio0-output.0\n" +
		" 123:          0          0  PCI-MSIX-0000:01:00.0   3-edge\n" +
		"  13:        100         20     GICv3  30 Level     arch_timer\n" +
		" NMI:          0          0   Non-maskable interrupts\n ERR:          0\n"
	all, columns := ParseInterrupts(text)
	if columns.String() != "0,2" {
		t.Errorf("columns %v", columns)
	}
	want := []Interrupt{
		{0, []uint64{45, 1}, "IO-APIC", "timer"},
		{120, []uint64{0, 4711}, "IR-PCI-MSIX-0000:3b:00.0", "mlx5_comp0@pci:0000:3b:00.0"},
		{121, []uint64{7, 0}, "PCI-MSI", "mlx4-1@0000:04:00.0"},
		{122, []uint64{0, 0}, "PCI-MSIX-0000:00:02.0", "virtio0-input.0, virtio0-output.0"},
		{123, []uint64{0, 0}, "PCI-MSIX-0000:01:00.0", ""},
		{13, []uint64{100, 20}, "GICv3 30", "arch_timer"},
	}
	if len(all) != len(want) {
		t.Fatalf("%d lines, want %d: %+v", len(all), len(want), all)
	}
	for i, w := range want {
		a := all[i]
		if i < len(want)-1 && strings.HasSuffix(a.Chip, "-edge") {
			t.Errorf("chip %q", a.Chip)
		}
		if a.IRQ != w.IRQ || !slices.Equal(a.Counts, w.Counts) || a.Chip != w.Chip || a.Name != w.Name {
			t.Errorf("%+v, want %+v", a, w)
		}
	}
}

func FuzzParseInterrupts(f *testing.F) {
	f.Add("  CPU0\n 1:  5  IO-APIC 1-edge i8042\n NMI: 1\n")
	f.Add("CPU0 CPUx\n: \n-1: 2\n9:")
	f.Fuzz(func(t *testing.T, text string) {
		all, columns := ParseInterrupts(text)
		for _, i := range all {
			if i.IRQ < 0 || len(i.Counts) > len(columns) {
				t.Errorf("%+v of %d columns", i, len(columns))
			}
		}
	})
}

func TestOSReleases(t *testing.T) {
	for text, want := range map[string]OS{
		"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n": {"debian", "12", "Debian GNU/Linux 12 (bookworm)", Debian},
		"ID=ubuntu\nID_LIKE=debian\nVERSION_ID='24.04'\nPRETTY_NAME=Ubuntu\n":            {"ubuntu", "24.04", "Ubuntu", Debian},
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\nNAME=Rocky\n":     {"rocky", "9.4", "Rocky 9.4", RedHat},
		"ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\nNAME=\"openSUSE \\\"Leap\\\"\"\n":  {"opensuse-leap", "", "openSUSE \"Leap\"", SUSE},
		"# ID=no\nID=arch\n": {"arch", "", "", ""},
		"":                   {},
	} {
		if o := ParseOSRelease(text); o != want {
			t.Errorf("%q: %+v, want %+v", text, o, want)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add("ID=debian\nNAME=\"a\\\"b\"\n")
	f.Add("ID='\n=\n\"")
	f.Fuzz(func(_ *testing.T, text string) { ParseOSRelease(text) })
}

func TestCommandLines(t *testing.T) {
	k := Kernel{Args: ParseCommandLine(`BOOT_IMAGE=/vmlinuz ro intel_iommu=on,sm_on foo="a b" "bar=c d" iommu=pt iommu.strict=0 isolcpus=2-3 quiet iommu=off -- init=1`)}
	for key, want := range map[string]string{"foo": "a b", "bar": "c d", "iommu": "off", "intel-iommu": "on,sm_on", "quiet": ""} {
		if v, ok := k.Arg(key); !ok || v != want {
			t.Errorf("%s=%q %v, want %q", key, v, ok, want)
		}
	}
	if _, ok := k.Arg("init"); ok {
		t.Error("a word for init was taken for the kernel's")
	}
	if !k.Has("intel_iommu", "on") || !k.Has("iommu", "pt") || k.Has("intel_iommu", "off") || k.Has("iommu", "p") {
		t.Error("words of lists")
	}
	if s := k.Args[3].String(); s != `foo="a b"` {
		t.Errorf("word %q", s)
	}
}

func FuzzParseCommandLine(f *testing.F) {
	f.Add(`a=b "c d=e" f -- g`)
	f.Add(`"`)
	f.Fuzz(func(_ *testing.T, line string) {
		for _, a := range ParseCommandLine(line) {
			_ = a.String()
		}
	})
}

func FuzzParseExpress(f *testing.F) {
	c := make([]byte, 128)
	c[6], c[0x34], c[0x40] = 0x10, 0x40, 0x10
	f.Add(c)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, c []byte) {
		payload, possible, read := parseExpress(c)
		for _, v := range []int{payload, possible, read} {
			if v != 0 && (v < 128 || v > 16384) {
				t.Errorf("%d bytes", v)
			}
		}
		parseBARs(string(c), true)
		parseCPUInfo(c)
		parseSpeed(string(c))
	})
}

func TestSpeeds(t *testing.T) {
	for text, want := range map[string]float64{"8.0 GT/s PCIe": 8, "2.5 GT/s": 2.5, "Unknown": 0, "": 0, "-1 GT/s": 0, "NaN GT/s": 0, "1e9 GT/s": 0} {
		if v := parseSpeed(text); v != want {
			t.Errorf("%q: %v, want %v", text, v, want)
		}
	}
}
