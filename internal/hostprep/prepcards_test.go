package hostprep

import (
	"errors"
	"strings"
	"testing"

	"neutrino/internal/ledger/ledgertest"
	"neutrino/internal/machine/machinetest"
	"neutrino/internal/pci"
)

// twoMLX4 is a server with two ConnectX-3.
func twoMLX4(t *testing.T) (Host, *machinetest.Tree) {
	t.Helper()
	s := machinetest.Intel2SMLX4()
	second := s.Cards[0]
	second.Slot, second.Netdevs, second.MAC, second.Above = "0000:84:00.0", []string{"enp132s0", "enp132s0d1"}, "f4:52:14:00:00:81", "0000:80:02.0"
	s.Cards = append(s.Cards, second)
	h, tree, _ := site(t, s)
	return h, tree
}

const mlx4Line = "options mlx4_core enable_64b_cqe_eqe=1 log_num_mgm_entry_size=-1 "

// TestCardsOfTheVendorsDriver have numbers of their own, and the second leaves the first's.
func TestCardsOfTheVendorsDriver(t *testing.T) {
	h, tree := twoMLX4(t)
	tree.Write("sys/module/mlx4_core/version", "4.9-0.1.7\n")
	must(t, tree.Err())
	before := picture(t, tree.Root)
	for _, w := range []Prep{
		{PF: "enp4s0", VFs: 8, Mode: HostDev},
		{PF: "enp132s0", VFs: 6, Ports: []int{1, 2, 3}, Probe: []int{1, 0, 2}, Mode: Both},
	} {
		p, err := Prepare(t.Context(), h, w)
		must(t, err)
		must(t, p.Run(t.Context(), nil))
	}
	want := mlx4Line + "num_vfs=0000:04:00.0-8;0;0,0000:84:00.0-1;2;3 port_type_array=2,2 probe_vf=0000:04:00.0-0;0;0,0000:84:00.0-1;0;2\n"
	if got := tree.Read(mlx4Conf); !strings.HasSuffix(got, want) {
		t.Errorf("options\n%swant\n%s", got, want)
	}
	goBack(t, h, UndoWant{})
	if d := ledgertest.Diff(before, picture(t, tree.Root)); d != "" {
		t.Errorf("after undo:\n%s", d)
	}
}

// TestCardsOfTheKernelsDriver have one value for all; it is said.
func TestCardsOfTheKernelsDriver(t *testing.T) {
	h, _ := twoMLX4(t)
	p, err := Prepare(t.Context(), h, Prep{PF: "enp4s0", VFs: 8, Mode: Both})
	must(t, err)
	if s := inWords(p); !strings.Contains(s, mlx4Line+"num_vfs=8,0,0 ") || !strings.Contains(s, "for all of its cards: 0000:04:00.0, 0000:84:00.0") {
		t.Error(s)
	}
}

// TestInfiniBandPortsStay: nobody makes Ethernet of them unasked.
func TestInfiniBandPortsStay(t *testing.T) {
	s := machinetest.Intel2SMLX4()
	s.Cards[0].Type = 32
	h, _, _ := site(t, s)
	_, err := Prepare(t.Context(), h, Prep{PF: "enp4s0", VFs: 8, Mode: Both})
	if !errors.Is(err, ErrBadOption) || !strings.Contains(err.Error(), "port_type_array=2,2") {
		t.Errorf("error %v", err)
	}
	p, err := Prepare(t.Context(), h, Prep{PF: "0000:04:00.0", VFs: 8, Ports: []int{8}, Mode: HostDev})
	must(t, err)
	if s := inWords(p); !strings.Contains(s, mlx4Line+"num_vfs=8 probe_vf=0\n") {
		t.Error(s)
	}
	p, err = Prepare(t.Context(), h, Prep{PF: "enp4s0", VFs: 8, Mode: Both, Options: map[string]string{"port_type_array": "2,2"}})
	must(t, err)
	if s := inWords(p); !strings.Contains(s, "num_vfs=8,0,0 port_type_array=2,2") {
		t.Error(s)
	}
}

// TestProbeIsWithinNum: the driver would not start.
func TestProbeIsWithinNum(t *testing.T) {
	h, _, _ := site(t, machinetest.Intel2SMLX4())
	for _, probe := range [][]int{{9}, {0, 0, 1}, {9, 0, 0}, {1, 1}} {
		if _, err := Prepare(t.Context(), h, Prep{PF: "enp4s0", VFs: 8, Mode: Both, Probe: probe}); !errors.Is(err, ErrBadOption) {
			t.Errorf("%v: %v", probe, err)
		}
	}
}

// TestCardWithoutSRIOV: its firmware has it off, so that it is no PF yet.
func TestCardWithoutSRIOV(t *testing.T) {
	s := machinetest.Intel2SMLX5()
	s.Cards[0].VFs = 0
	h, tree, _ := site(t, s)
	at := "sys/bus/pci/devices/0000:af:00.0/"
	for _, name := range []string{"sriov_totalvfs", "sriov_numvfs", "sriov_drivers_autoprobe", "sriov_offset", "sriov_stride"} {
		tree.Remove(at + name)
	}
	must(t, tree.Err())
	before := picture(t, tree.Root)
	fw := firmware("False(0)", "0")
	h.Firmware = fw
	w := Prep{PF: "ens3f0np0", VFs: 16, Mode: HostDev}
	if _, err := Prepare(t.Context(), h, w); !errors.Is(err, pci.ErrNotPF) || !strings.Contains(err.Error(), "--firmware") {
		t.Errorf("not asked to set it: %v", err)
	}
	w.Firmware = true
	p, err := Prepare(t.Context(), h, w)
	must(t, err)
	must(t, p.Run(t.Context(), nil))
	if fw.values["SRIOV_EN"].Next != "1" || fw.values["NUM_OF_VFS"].Next != "16" || len(p.Reboot) == 0 || p.VFs != nil {
		t.Errorf("firmware %v\n%s", fw.values, inWords(p))
	}
	if !strings.Contains(tree.Read("etc/neutrino/vfs.d/0000:af:00.0.conf"), "count = 16\n") {
		t.Error("no VFs at the next boot")
	}
	goBack(t, h, UndoWant{})
	if d := ledgertest.Diff(before, picture(t, tree.Root)); d != "" || fw.values["SRIOV_EN"].Next != "0" || fw.values["NUM_OF_VFS"].Next != "0" {
		t.Errorf("after undo: %v\n%s", fw.values, d)
	}
}
