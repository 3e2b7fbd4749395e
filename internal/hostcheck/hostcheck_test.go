package hostcheck

import (
	"context"
	"maps"
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"neutrino/internal/machine/machinetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noTimeout = context.Background()

func TestRulesHaveNamesAndReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if r.check == "" || r.why == "" || seen[r.check] || (r.host == nil) == (r.pf == nil) {
			t.Errorf("rule %+v", r)
		}
		seen[r.check] = true
	}
}

// This very machine, whatever it is.
func TestThisMachineIsJudged(t *testing.T) {
	f, err := Look(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := Judge(f)
	total := 0
	for _, n := range r.Count {
		total += n
	}
	if len(r.Findings) < 12 || total != len(r.Findings) || r.Findings[0].Check != "cpu-virt" {
		t.Errorf("%s:\n%s", r.Summary(), text(r))
	}
	t.Logf("\n%s", text(r))
}

// Whatever is in the files, or is missing, there is a report and no panic.
func TestBrokenTreesAreJudged(t *testing.T) {
	files := map[string][]string{} // by root
	for _, spec := range machinetest.All() {
		tree := fit(t, spec())
		files[tree.Root] = tree.Files()
		if err := tree.Err(); err != nil {
			t.Fatal(err)
		}
	}
	roots := slices.Sorted(maps.Keys(files))
	rapid.Check(t, func(r *rapid.T) {
		root := rapid.SampledFrom(roots).Draw(r, "machine")
		for range rapid.IntRange(1, 20).Draw(r, "files") {
			spoil(r, rapid.SampledFrom(files[root]).Draw(r, "file"))
		}
		f, err := Look(context.Background(), Options{Root: root})
		if err != nil {
			r.Fatal(err)
		}
		if rep := Judge(f); len(rep.Findings) < 12 || !slices.Contains(order, rep.Worst) {
			r.Fatalf("%+v", rep)
		}
	})
}

// spoil removes a file, or writes something else into it.
func spoil(r *rapid.T, path string) {
	var err error
	if rapid.Bool().Draw(r, "gone") {
		err = os.RemoveAll(path)
	} else {
		err = os.WriteFile(path, []byte(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "-1", "0", "99999999999999999999", "0-8191", "Y", "(null)"})).Draw(r, "text")), 0o600)
	}
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
}

func FuzzModuleOptions(f *testing.F) {
	f.Add("options mlx4_core num_vfs=0,0,8 probe_vf=\"1\" \\\n port_type_array=2,2\n# options x y=1\n")
	f.Add("options a")
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range parseOptions("f", text) {
			if o.Module == "" {
				t.Errorf("%+v", o)
			}
			sum(o.Value)
		}
	})
}

func TestModuleOptionsAreRead(t *testing.T) {
	got := parseOptions("/etc/modprobe.d/a.conf", "options mlx4-core num_vfs=8 \\\n probe_vf=\"2\"\nblacklist x\n#options mlx4_core num_vfs=9\noptions nothing\n")
	want := []ModuleOption{{"/etc/modprobe.d/a.conf", "mlx4_core", "num_vfs", "8"}, {"/etc/modprobe.d/a.conf", "mlx4_core", "probe_vf", "2"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for list, n := range map[string]int{"": 0, "8": 8, "1,2,3": 6, "0000:04:00.0-1;2;3,0000:05:00.0-4": 10, "x": 0} {
		if sum(list) != n {
			t.Errorf("%q: %d, want %d", list, sum(list), n)
		}
	}
}
