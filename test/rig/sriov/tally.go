package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// tally passes the machine's console on, and keeps what it says of tests.
type tally struct {
	to              io.Writer
	pkg             string
	failed, skipped []string
}

var verdictLine = regexp.MustCompile(`^--- (FAIL|SKIP): (\S+)`)

// Write takes one line.
func (t *tally) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if name, ok := strings.CutPrefix(text, "=== PACKAGE "); ok {
		t.pkg = name
	}
	if m := verdictLine.FindStringSubmatch(text); m != nil {
		if name := t.pkg + "." + m[2]; m[1] == "FAIL" {
			t.failed = append(t.failed, name)
		} else {
			t.skipped = append(t.skipped, name)
		}
	}
	return t.to.Write(line)
}

// strict says that nothing may be skipped: RIG_STRICT, which CI sets.
func strict() bool { return os.Getenv("RIG_STRICT") != "" }

// verdict is the end of a run in which this many packages failed. It says last what is
// hard to find in what a console has carried.
func (t *tally) verdict(packages int) error {
	for _, name := range t.skipped {
		fmt.Fprintln(t.to, "skipped:", name)
	}
	for _, name := range t.failed {
		fmt.Fprintln(t.to, "failed:", name)
	}
	switch {
	case packages == cannotSetUp:
		return errors.New("the machine has no SR-IOV NICs, or lacks a module: see the console above")
	case packages != 0:
		return fmt.Errorf("%d packages failed", packages)
	case len(t.failed) > 0: // whatever the exit code was
		return fmt.Errorf("%d tests failed", len(t.failed))
	case len(t.skipped) > 0 && strict():
		return fmt.Errorf("%d tests were skipped, and RIG_STRICT is set", len(t.skipped))
	}
	return nil
}
