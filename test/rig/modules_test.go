package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// someModules is a directory as depmod leaves it: igbvf needs dca, which needs core.
func someModules(t *testing.T) *modules {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep": "kernel/net/igb-vf.ko.xz: kernel/dca.ko kernel/core.ko\n" +
			"kernel/dca.ko: kernel/core.ko\nkernel/core.ko:\nkernel/9p.ko: kernel/core.ko\nno colon\n",
		"modules.builtin": "kernel/fs/over-lay.ko\n",
		"core.ko":         "plain",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, err := readModules(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestModulesComeAfterAllTheyNeed(t *testing.T) {
	m := someModules(t)
	got, err := m.order("igb-vf", "over_lay", "9p")
	want := []string{"kernel/core.ko", "kernel/dca.ko", "kernel/net/igb-vf.ko.xz", "kernel/9p.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err = m.order("nothing"); err == nil || !strings.Contains(err.Error(), "no module nothing") {
		t.Error(err)
	}
	if got := m.missing("igb_vf", "over_lay", "other"); !slices.Equal(got, []string{"other"}) {
		t.Errorf("missing %q", got)
	}
}

func TestModulesAreReadPlainAndPacked(t *testing.T) {
	m := someModules(t)
	got, err := m.read("core.ko")
	if err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	xz, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("needs xz: apt-get install xz-utils")
	}
	if out, err := exec.Command(xz, filepath.Join(m.dir, "core.ko")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, err = m.read("core.ko.xz")
	if err != nil || string(got) != "plain" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err = m.read("other.ko.xz"); err == nil || !strings.Contains(err.Error(), "other.ko.xz") {
		t.Error(err)
	}
}

func TestVersionsAreOrderedAsPeopleDo(t *testing.T) {
	names := []string{"5.10.0-28-amd64", "6.1.0-9-amd64", "6.1.0-18-amd64", "6.12.9+deb12-amd64", "6.12.95+deb12-amd64"}
	for i, a := range names {
		for j, b := range names {
			if got := compareVersions(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s and %s: %d", a, b, got)
			}
		}
	}
	if compareVersions("6.01", "6.1") != 0 || compareVersions("", "6") >= 0 {
		t.Error("leading zeros count, or nothing is more than something")
	}
}
