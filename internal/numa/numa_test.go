package numa

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"neutrino/internal/machine/machinetest"
)

// guest writes a QEMU process into a machine.
func guest(t *machinetest.Tree, pid int, name string, cpus []string, maps string) {
	at := fmt.Sprintf("proc/%d", pid)
	t.Write(at+"/comm", "qemu-system-x86\n")
	t.Write(at+"/cmdline", "/usr/bin/qemu-system-x86_64\x00-name\x00guest="+name+",debug-threads=on\x00")
	t.Write(at+"/numa_maps", maps)
	for i, c := range cpus {
		thread := fmt.Sprintf("%s/task/%d", at, pid+1+i)
		t.Write(thread+"/comm", fmt.Sprintf("CPU %d/KVM\n", i))
		t.Write(thread+"/status", "Name:\tCPU\nCpus_allowed_list:\t"+c+"\n")
	}
}

func TestWhatIsFarIsSaid(t *testing.T) {
	tree := machinetest.New(t, machinetest.Intel2SMLX5()) // the NIC is on node 1, whose CPUs are odd
	guest(tree, 700, "near", []string{"1", "3,5"}, "7f00 default anon=524288 N1=524288 kernelpagesize_kB=4\n")
	guest(tree, 800, "far", []string{"0", "1"}, "7f00 default anon=2 N0=600 N1=400 kernelpagesize_kB=2048\n7f01 default N0=x N-1=4 =\n")
	if err := tree.Err(); err != nil {
		t.Fatal(err)
	}
	m, err := Read(tree.Root)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Nodes) != 2 || m.Nodes[1].CPUs[:5] != "1,3,5" {
		t.Errorf("nodes %+v", m.Nodes)
	}
	var pf NIC
	for _, n := range m.NICs {
		if n.Name == "ens3f0np0" {
			pf = n
		}
	}
	if pf.Node != 1 || pf.Near != 21 || pf.Far != 0 || len(pf.IRQs) != 21 {
		t.Errorf("%+v", pf)
	}
	if len(m.Guests) != 2 || m.Guests[0].Name != "near" || m.Guests[1].CPUs != "0-1" || m.Guests[1].Memory[0] != 1200 || m.Guests[0].Memory[1] != 2048 {
		t.Fatalf("guests %+v", m.Guests)
	}
	for i := range m.Guests { // as if each held a VF
		m.Guests[i].NICs = []string{pf.Slot}
		m.Guests[i] = m.judge(m.Guests[i])
	}
	if n := len(m.Guests[0].Far); n != 0 {
		t.Errorf("%v", m.Guests[0].Far)
	}
	if have, want := fmt.Sprint(m.Guests[1].Far), "[0000:af:00.0 is on node 1, its virtual CPUs may run on nodes 0, 1 "+
		"0000:af:00.0 is on node 1, 1200 of its 2000 MB of memory are elsewhere]"; have != want {
		t.Errorf("%s, want %s", have, want)
	}
}

// An interrupt that has been moved to the far socket counts as far.
func TestFarInterruptsAreCounted(t *testing.T) {
	tree := machinetest.New(t, machinetest.Intel2SMLX5())
	tree.Write("proc/irq/121/effective_affinity_list", "0\n")
	m, err := Read(tree.Root)
	if err != nil || tree.Err() != nil {
		t.Fatal(err, tree.Err())
	}
	for _, n := range m.NICs {
		if n.Name == "ens3f0np0" && (n.Near != 20 || n.Far != 1) {
			t.Errorf("%d near, %d far", n.Near, n.Far)
		}
	}
}

func TestEveryFixtureAndThisMachine(t *testing.T) {
	roots := []string{""}
	for _, spec := range machinetest.All() {
		roots = append(roots, machinetest.New(t, spec()).Root)
	}
	for _, root := range roots {
		m, err := Read(root)
		if err != nil || len(m.Nodes) == 0 || m.Nodes[0].CPUs == "" {
			t.Errorf("%s: %+v, %v", root, m, err)
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Error("nothing was read")
	}
}

func FuzzGuest(f *testing.F) {
	f.Add("7f00 default anon=512 N0=256 N1=256 kernelpagesize_kB=4")
	f.Add("CPU 3/KVM")
	f.Fuzz(func(t *testing.T, text string) {
		for id, mb := range memory(text) {
			if id < 0 {
				t.Error(id, mb)
			}
		}
		if n, ok := vcpu(text); ok && n < 0 {
			t.Error(n)
		}
		nameOf([]string{"-name", text})
	})
}
