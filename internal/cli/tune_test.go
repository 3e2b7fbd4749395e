package cli

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"neutrino/internal/machine/machinetest"
)

// wholetree makes a whole fixture machine: wholetree DIR NAME.
func wholetree(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wholetree DIR NAME")
	}
	spec, ok := machinetest.All()[args[1]]
	if !ok {
		ts.Fatalf("no machine %s", args[1])
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	_, err := machinetest.Build(dir, spec())
	ts.Check(err)
}
