package cli

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/machine/machinetest"
)

// machinetree makes a whole machine: machinetree DIR NAME, with a name of machinetest.
func machinetree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: machinetree DIR NAME")
	}
	spec, ok := machinetest.All()[args[1]]
	if !ok {
		ts.Fatalf("there is no machine %q", args[1])
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	tree, err := machinetest.Build(dir, spec())
	ts.Check(err)
	ts.Check(tree.Err())
}
