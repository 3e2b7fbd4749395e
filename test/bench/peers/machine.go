package main

import (
	"fmt"
	"strings"
	"time"

	"neutrino/internal/bench"
	"neutrino/internal/machine"
)

// machineName says on what was measured.
func machineName() string {
	e := bench.Look("", "")
	kind := "machine"
	if e.Virtual {
		kind = "virtual machine"
	}
	return fmt.Sprintf("%s %s, %d processors, Linux %s, %s", e.CPU, kind, e.CPUs, e.Kernel, time.Now().Format("2 January 2006"))
}

// load is the load average over a minute, which is the tools' own and everybody else's.
func load() string {
	text, _ := machine.Tree("/").Text("proc/loadavg")
	one, _, _ := strings.Cut(text, " ")
	return one
}
