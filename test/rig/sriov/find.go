package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

var (
	testFunc  = regexp.MustCompile(`^func (Test[A-Z]\w*)\(`)
	benchFunc = regexp.MustCompile(`^func (Benchmark[A-Z]\w*)\(`)
)

// find lists the rig tests (or benchmarks) of a package.
func find(dir string, bench bool, match string) ([]string, error) {
	want, err := regexp.Compile(match)
	if err != nil {
		return nil, fmt.Errorf("-run %q: %w", match, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*rig_test.go"))
	if err != nil {
		return nil, err
	}
	function := testFunc
	if bench {
		function = benchFunc
		more, gerr := filepath.Glob(filepath.Join(dir, "*bench_test.go"))
		if gerr != nil {
			return nil, gerr
		}
		files = append(files, more...)
	}
	var out []string
	for _, f := range files {
		b, rerr := os.ReadFile(f)
		if rerr != nil {
			return nil, rerr
		}
		sc := bufio.NewScanner(bytes.NewReader(b))
		for sc.Scan() {
			if m := function.FindStringSubmatch(sc.Text()); m != nil && m[1] != "TestMain" && want.MatchString(m[1]) {
				out = append(out, m[1])
			}
		}
	}
	return out, nil
}
