package bootconf

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var add = []string{"intel_iommu=on", "iommu=pt"}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		line string
		drop []string
		want string
	}{
		{"", nil, "intel_iommu=on iommu=pt"},
		{"root=/dev/sda1 ro  quiet", nil, "root=/dev/sda1 ro quiet intel_iommu=on iommu=pt"},
		{"ro  intel_iommu=on\tiommu=pt", nil, "ro  intel_iommu=on\tiommu=pt"},
		{"ro iommu=pt", nil, "ro iommu=pt intel_iommu=on"},
		{"ro intel_iommu=off iommu=pt", []string{"intel_iommu=off"}, "ro iommu=pt intel_iommu=on"},
		{`dyndbg="file x +p" -- emergency`, nil, `dyndbg="file x +p" intel_iommu=on iommu=pt -- emergency`},
		{"intel_iommu=on,sm_on iommu=pt,strict", nil, "intel_iommu=on,sm_on iommu=pt,strict"},
		{"-- iommu=pt", nil, "intel_iommu=on iommu=pt -- iommu=pt"},
	} {
		if got := CommandLine(c.line, add, c.drop); got != c.want {
			t.Errorf("%q without %v:\n got %q\nwant %q", c.line, c.drop, got, c.want)
		}
	}
}

func TestKernelCommandLine(t *testing.T) {
	for _, c := range [][2]string{
		{"", "intel_iommu=on iommu=pt\n"},
		{"root=UUID=1 ro\n", "root=UUID=1 ro intel_iommu=on iommu=pt\n"},
		{"root=UUID=1 ro", "root=UUID=1 ro intel_iommu=on iommu=pt\n"},
		{"# mine\nroot=UUID=1\niommu=pt off\n# end\n", "# mine\nroot=UUID=1\niommu=pt intel_iommu=on\n# end\n"},
		{"iommu=pt\nintel_iommu=on\n", "iommu=pt\nintel_iommu=on\n"},
	} {
		if got := KernelCommandLine(c[0], add, []string{"off"}); got != c[1] {
			t.Errorf("%q:\n got %q\nwant %q", c[0], got, c[1])
		}
	}
}

func TestEntry(t *testing.T) {
	for _, c := range [][2]string{
		{"title x\nlinux /vmlinuz\noptions root=/dev/sda1 ro\ninitrd /i\n", "title x\nlinux /vmlinuz\noptions root=/dev/sda1 ro intel_iommu=on iommu=pt\ninitrd /i\n"},
		{"options  $kernelopts $tuned_params\n", "options  $kernelopts $tuned_params intel_iommu=on iommu=pt\n"},
		{"options iommu=pt\noptions off ro", "options iommu=pt\noptions ro intel_iommu=on"},
		{"title x", "title x\noptions intel_iommu=on iommu=pt\n"},
		{"options\n", "options intel_iommu=on iommu=pt\n"},
		{"options intel_iommu=on iommu=pt\noptionsx\n", "options intel_iommu=on iommu=pt\noptionsx\n"},
	} {
		if got := Entry(c[0], add, []string{"off"}); got != c[1] {
			t.Errorf("%q:\n got %q\nwant %q", c[0], got, c[1])
		}
	}
	if got := EntryOptions("title options\noptions a \"b c\"\noptions d\n"); !slices.Equal(got, []string{"a", `"b c"`, "d"}) {
		t.Errorf("options %q", got)
	}
}

func TestGRUB(t *testing.T) {
	for _, c := range [][2]string{
		{"GRUB_CMDLINE_LINUX=\"\"\n", "GRUB_CMDLINE_LINUX=\"intel_iommu=on iommu=pt\"\n"},
		{"GRUB_CMDLINE_LINUX=\n", "GRUB_CMDLINE_LINUX=\"intel_iommu=on iommu=pt\"\n"},
		{"GRUB_CMDLINE_LINUX=quiet # why\n", "GRUB_CMDLINE_LINUX=quiet # why\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt\"\n"},
		{"GRUB_CMDLINE_LINUX=quiet\n", "GRUB_CMDLINE_LINUX=\"quiet intel_iommu=on iommu=pt\"\n"},
		{"export GRUB_CMDLINE_LINUX='a b' # why\n", "export GRUB_CMDLINE_LINUX='a b intel_iommu=on iommu=pt' # why\n"},
		{"GRUB_CMDLINE_LINUX_DEFAULT=\"quiet iommu=pt\"\nGRUB_CMDLINE_LINUX=\"a\"\n", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet iommu=pt\"\nGRUB_CMDLINE_LINUX=\"a intel_iommu=on\"\n"},
		{"GRUB_CMDLINE_LINUX_DEFAULT=\"quiet off\"\n# GRUB_CMDLINE_LINUX=\"no\"", "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n# GRUB_CMDLINE_LINUX=\"no\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt\"\n"},
		{"GRUB_CMDLINE_LINUX=\"`cat /x`\"\n", "GRUB_CMDLINE_LINUX=\"`cat /x`\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt\"\n"},
		{"GRUB_CMDLINE_LINUX=\"a \\\n b\"\n", "GRUB_CMDLINE_LINUX=\"a \\\n b\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX intel_iommu=on iommu=pt\"\n"},
	} {
		if got := GRUB(c[0], add, []string{"off"}); got != c[1] {
			t.Errorf("%q:\n got %q\nwant %q", c[0], got, c[1])
		}
	}
	if got := GRUBWords("GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX a\"\nGRUB_CMDLINE_LINUX_DEFAULT='b c'\nGRUB_TIMEOUT=5\n"); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("words %q", got)
	}
}

func TestModuleOptions(t *testing.T) {
	text := "# mlx4\noptions mlx4_core num_vfs=4 debug_level=1\noptions mlx4-core num_vfs=5 probe_vf=\"1,2\"\noptions other num_vfs=9\n"
	if got := ModuleOptions(text, "mlx4_core"); !maps.Equal(got, map[string]string{"num_vfs": "5", "debug_level": "1", "probe_vf": "1,2"}) {
		t.Errorf("options %v", got)
	}
	want := "# mlx4\noptions mlx4_core num_vfs=4 debug_level=1\noptions mlx4_core num_vfs=8 probe_vf=\"1,2\"\noptions other num_vfs=9\noptions mlx4_core port_type_array=2,2\n"
	if got := SetModuleOptions(text, "mlx4_core", map[string]string{"num_vfs": "8", "port_type_array": "2,2"}); got != want {
		t.Errorf("set:\n%s", got)
	}
	want = "# mlx4\noptions mlx4_core debug_level=1\noptions other num_vfs=9\n"
	if got := DropModuleOptions(text, "mlx4_core", []string{"num_vfs", "probe_vf"}); got != want {
		t.Errorf("dropped:\n%s", got)
	}
}

// TestAgainChangesNothing: what was edited is as wanted, the second time nothing changes, and lines that
// have nothing to do with it stay.
func TestAgainChangesNothing(t *testing.T) {
	line := rapid.SampledFrom([]string{
		"", "# remark", "title x", "options ro quiet", "options iommu=pt", "GRUB_CMDLINE_LINUX=\"a off\"", "GRUB_CMDLINE_LINUX_DEFAULT=quiet", "GRUB_CMDLINE_LINUX='b'",
		"GRUB_CMDLINE_LINUX=\"$(x)\"", "root=/dev/sda1 off", "options mlx4_core num_vfs=1 off=1", "options mlx4_core num_vfs=2", "blacklist x",
	})
	edits := map[string]func(string) string{
		"grub":    func(s string) string { return GRUB(s, add, []string{"off"}) },
		"entry":   func(s string) string { return Entry(s, add, []string{"off"}) },
		"cmdline": func(s string) string { return KernelCommandLine(s, add, []string{"off"}) },
		"modprobe": func(s string) string {
			return DropModuleOptions(SetModuleOptions(s, "mlx4_core", map[string]string{"num_vfs": "8", "probe_vf": "0"}), "mlx4_core", []string{"off"})
		},
	}
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(line, 0, 8).Draw(t, "lines"), "\n") + rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end")
		for name, edit := range edits {
			once := edit(text)
			if twice := edit(once); twice != once {
				t.Errorf("%s: %q\n once %q\ntwice %q", name, text, once, twice)
			}
			if name == "cmdline" {
				continue
			}
			for l := range strings.Lines(text) {
				if l = strings.TrimSpace(l); l == "# remark" && !strings.Contains(once, l) {
					t.Errorf("%s: %q lost %q", name, text, l)
				}
			}
		}
		if o := ModuleOptions(edits["modprobe"](text), "mlx4_core"); o["num_vfs"] != "8" || o["probe_vf"] != "0" || o["off"] != "" {
			t.Errorf("modprobe: %q: %v", text, o)
		}
		if w := EntryOptions(edits["entry"](text)); !slices.Contains(w, "iommu=pt") || slices.Contains(w, "off") {
			t.Errorf("entry: %q: %q", text, w)
		}
		if w := GRUBWords(edits["grub"](text)); !slices.Contains(w, "intel_iommu=on") || slices.Contains(w, "off") {
			t.Errorf("grub: %q: %q", text, w)
		}
	})
}

func FuzzEdit(f *testing.F) {
	for _, s := range []string{"GRUB_CMDLINE_LINUX=\"a\"\n", "options a --\n", "options mlx4_core num_vfs=1\\\n", "export GRUB_CMDLINE_LINUX='", "GRUB_CMDLINE_LINUX="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, edit := range []func(string) string{
			func(s string) string { return GRUB(s, add, []string{"off"}) },
			func(s string) string { return Entry(s, add, []string{"off"}) },
			func(s string) string { return SetModuleOptions(s, "mlx4_core", map[string]string{"num_vfs": "8"}) },
			func(s string) string { return DropModuleOptions(s, "mlx4_core", []string{"num_vfs"}) },
		} {
			once := edit(text)
			if twice := edit(once); twice != once {
				t.Errorf("%q\n once %q\ntwice %q", text, once, twice)
			}
		}
	})
}
