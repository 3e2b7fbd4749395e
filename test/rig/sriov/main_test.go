package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const source = `package p

func TestMain(m *testing.M) {}
func TestOne(t *testing.T) {}
func Testify(t *testing.T) {}
func (s suite) TestMethod(t *testing.T) {}
	func TestInText(t *testing.T) {}
func TestTwo(t *testing.T) {}
func BenchmarkThree(b *testing.B) {}
`

func TestOnlyTestsOfRigFilesAreFound(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"rig_test.go", "more_rig_test.go", "pure_test.go"} {
		text := source
		if name == "pure_test.go" {
			text = strings.ReplaceAll(source, "One", "Pure")
		}
		if name == "more_rig_test.go" {
			text = strings.ReplaceAll(source, "One", "More")
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		bench bool
		match string
		want  []string
	}{
		{false, "", []string{"TestMore", "TestTwo", "TestOne", "TestTwo"}},
		{false, "One|More", []string{"TestMore", "TestOne"}},
		{false, "Pure", nil},
		{true, "Three", []string{"BenchmarkThree", "BenchmarkThree"}},
	} {
		got, err := find(dir, c.bench, c.match)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: found %q, %v", c, got, err)
		}
	}
	if _, err := find(dir, false, "("); err == nil {
		t.Error("a wrong expression is taken")
	}
	if got, err := find(filepath.Join(dir, "none"), false, ""); got != nil || err != nil {
		t.Errorf("a package that is not there: %q, %v", got, err)
	}
}

func TestVerdictNamesWhatFailedAndWhatWasSkipped(t *testing.T) {
	var out strings.Builder
	y := &tally{to: &out}
	for _, line := range []string{"=== PACKAGE neutrino/a\n", "--- PASS: TestA (0.1s)\n", "    --- SKIP: TestB/sub (0.1s)\n", "=== PACKAGE neutrino/b\n"} {
		if _, err := y.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("RIG_STRICT", "")
	if err := y.verdict(0); err != nil {
		t.Error(err)
	}
	t.Setenv("RIG_STRICT", "1")
	if err := y.verdict(0); err == nil {
		t.Error("a test was skipped")
	}
	t.Setenv("RIG_STRICT", "")
	if err := y.verdict(2); err == nil || err.Error() != "2 packages failed" {
		t.Error(err)
	}
	if err := y.verdict(cannotSetUp); err == nil {
		t.Error("there were no NICs")
	}
	if _, err := y.Write([]byte("--- FAIL: TestC (0.1s)\n")); err != nil {
		t.Fatal(err)
	}
	if err := y.verdict(0); err == nil {
		t.Error("a test failed")
	}
	for _, want := range []string{"--- PASS: TestA (0.1s)\n", "skipped: neutrino/a.TestB/sub\n", "failed: neutrino/b.TestC\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
}

func TestVerdictNamesTestsThatDidNotEnd(t *testing.T) {
	var out strings.Builder
	y := &tally{to: &out}
	for line := range strings.Lines(`=== PACKAGE neutrino/a
=== RUN   TestDone
=== RUN   TestDone/part
    --- PASS: TestDone/part (0.1s)
--- PASS: TestDone (0.1s)
=== RUN   TestUnreadable
ok	neutrino/a	1.000s
=== PACKAGE neutrino/b
=== RUN   TestHangs
panic: test timed out after 10m0s
FAIL	neutrino/b	600.000s
=== PACKAGE neutrino/c
=== RUN   TestWhenTheMachineGoesDown
`) {
		if _, err := y.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := y.verdict(0); err == nil || err.Error() != "2 tests failed" {
		t.Error(err)
	}
	_, end, _ := strings.Cut(out.String(), "=== RUN   TestWhenTheMachineGoesDown\n")
	want := "failed: neutrino/b.TestHangs (it did not end)\nfailed: neutrino/c.TestWhenTheMachineGoesDown (it did not end)\n"
	if end != want {
		t.Errorf("%q, want %q", end, want)
	}
}

func TestMachineThatStoodStillIsRunAgainWithWhatIsLeft(t *testing.T) {
	y := &tally{to: io.Discard}
	for line := range strings.Lines("=== PACKAGE neutrino/a\nok\tneutrino/a\t1.0s\n=== PACKAGE neutrino/b\n=== RUN   TestHangs\n") {
		if _, err := y.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	y.again()
	script := "set up\npackage neutrino/a x\npackage neutrino/b y\nexit\n"
	if got := y.left(script); got != "set up\npackage neutrino/b y\nexit\n" {
		t.Errorf("left: %q", got)
	}
	if err := y.verdict(0); err != nil {
		t.Errorf("what will be run again has failed: %v", err)
	}
}
