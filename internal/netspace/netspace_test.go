package netspace_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"testing"

	"neutrino/internal/netspace"
)

func TestNamespaceLife(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	name := fmt.Sprintf("nst-%d", os.Getpid())
	before := interfaces(t)
	prepared := 0
	if err := netspace.Create(name, func() error {
		ifs, err := net.Interfaces()
		prepared = len(ifs)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netspace.Delete(name) })
	if prepared == 0 {
		t.Error("prepare saw no interface: lo expected")
	}
	if err := netspace.Create(name, nil); !errors.Is(err, netspace.ErrExist) {
		t.Errorf("second create: %v, want ErrExist", err)
	}
	names, err := netspace.List("nst-")
	if err != nil || !slices.Contains(names, name) {
		t.Errorf("List = %v, %v", names, err)
	}
	var inside []string
	if err := netspace.Do(name, func() error { inside = interfaces(t); return nil }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(inside, []string{"lo"}) {
		t.Errorf("interfaces inside = %v", inside)
	}
	if after := interfaces(t); !slices.Equal(after, before) {
		t.Errorf("the thread did not come home: %v, before %v", after, before)
	}
	if err := netspace.Delete(name); err != nil {
		t.Fatal(err)
	}
	if err := netspace.Delete(name); err != nil {
		t.Errorf("deleting again: %v", err)
	}
	if err := netspace.Do(name, func() error { return nil }); !errors.Is(err, netspace.ErrNotExist) {
		t.Errorf("Do after Delete: %v", err)
	}
}

func TestFailedPreparationLeavesNoName(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	name := fmt.Sprintf("nst-f-%d", os.Getpid())
	boom := errors.New("boom")
	if err := netspace.Create(name, func() error { return boom }); !errors.Is(err, boom) {
		t.Fatalf("err = %v", err)
	}
	if _, err := os.Stat(netspace.Path(name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the name is there: %v", err)
	}
}

func TestLeftOverFileIsTakenOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	name := fmt.Sprintf("nst-o-%d", os.Getpid())
	if err := os.MkdirAll(netspace.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(netspace.Path(name), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netspace.Delete(name) })
	if _, err := netspace.Open(name); !errors.Is(err, netspace.ErrNotExist) {
		t.Errorf("Open = %v", err)
	}
	if err := netspace.Create(name, nil); err != nil {
		t.Errorf("Create = %v", err)
	}
}

func TestNamesThatAreNoNames(t *testing.T) {
	for _, n := range []string{"", ".", "..", "a/b"} {
		if err := netspace.Create(n, nil); err == nil {
			t.Errorf("Create(%q) succeeded", n)
		}
	}
}

func interfaces(t *testing.T) []string {
	t.Helper()
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range ifs {
		out = append(out, i.Name)
	}
	slices.Sort(out)
	return out
}
