package cli

import (
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/pci"
	"neutrino/internal/pci/pcitest"
)

// reacting is a fixture's sysfs, or the kernel's where there is no fixture.
func reacting(root string) *pci.Sys {
	if tree, err := pcitest.Open(root); err == nil {
		return tree.Sys
	}
	return &pci.Sys{Root: root}
}

// pcitree makes a host of fixture cards: pcitree DIR.
func pcitree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: pcitree DIR")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir+"/etc/neutrino/vfs.d", 0o755))
	tree, err := pcitest.Build(dir, pcitest.IGB(), pcitest.IXGBE(), pcitest.MLX4(0, 0, 2))
	ts.Check(err)
	ts.Check(tree.Route("ens4f1", "default"))
}

// hold has a guest hold a function: hold DIR PID GUEST SLOT.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: hold DIR PID GUEST SLOT")
	}
	tree, err := pcitest.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	pid, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(tree.Hold(pid, args[2], args[3]))
}
