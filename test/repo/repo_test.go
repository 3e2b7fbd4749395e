package repo

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const maxLines = 600

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// files lists what git tracks or would track, relative to the root.
func files(t *testing.T) (root string, names []string) {
	t.Helper()
	out, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatalf("ask git for the root of the repository: %v", err)
	}
	root = strings.TrimSpace(string(out))
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	if out, err = cmd.Output(); err != nil {
		t.Fatalf("ask git for the files: %v", err)
	}
	for n := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n") {
		if _, err = os.Stat(filepath.Join(root, n)); err == nil {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		t.Fatal("git lists no files")
	}
	return root, names
}

func goFiles(t *testing.T) (root string, names []string) {
	root, all := files(t)
	for _, n := range all {
		if strings.HasSuffix(n, ".go") {
			names = append(names, n)
		}
	}
	return root, names
}

func TestEveryPackageHasADocGo(t *testing.T) {
	root, names := goFiles(t)
	dirs := map[string]bool{}
	for _, n := range names {
		if strings.HasSuffix(n, "_test.go") || strings.HasPrefix(n, "tools/") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(root, n))
		if err != nil {
			t.Fatal(err)
		}
		if !generated.Match(b) {
			dirs[filepath.Dir(n)] = true
		}
	}
	for d := range dirs {
		name := "doc.go"
		if strings.HasPrefix(d, "cmd/") {
			name = "main.go"
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, d, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Errorf("%s: no %s that says what the package owns and what it never does", d, name)
			continue
		}
		if len(strings.Fields(f.Doc.Text())) < 10 {
			t.Errorf("%s/%s: the package comment says too little", d, name)
		}
	}
}

func TestNoFileIsTooLong(t *testing.T) {
	root, names := goFiles(t)
	for _, n := range names {
		b, err := os.ReadFile(filepath.Join(root, n))
		if err != nil {
			t.Fatal(err)
		}
		if generated.Match(b) {
			continue
		}
		if c := bytes.Count(b, []byte("\n")); c > maxLines {
			t.Errorf("%s has %d lines; split it by subject (limit %d)", n, c, maxLines)
		}
	}
}

func TestNothingIsLeftOpen(t *testing.T) {
	open := regexp.MustCompile(`\b(TODO|FIXME|XXX)\b|not implemented|unimplemented`)
	root, names := goFiles(t)
	for _, n := range names {
		if strings.HasPrefix(n, "test/repo/") {
			continue
		}
		f, err := os.Open(filepath.Join(root, n))
		if err != nil {
			t.Fatal(err)
		}
		sc := bufio.NewScanner(f)
		sc.Buffer(nil, 1<<20)
		gen := false
		for line := 1; sc.Scan(); line++ {
			gen = gen || generated.MatchString(sc.Text())
			if !gen && open.MatchString(sc.Text()) {
				t.Errorf("%s:%d: %s", n, line, strings.TrimSpace(sc.Text()))
			}
		}
		f.Close()
	}
}

func TestNoVagueNames(t *testing.T) {
	vague := map[string]bool{"utils": true, "util": true, "common": true, "helpers": true, "helper": true, "types": true, "manager": true, "misc": true}
	_, names := goFiles(t)
	for _, n := range names {
		for _, part := range strings.Split(strings.TrimSuffix(n, ".go"), "/") {
			if vague[part] {
				t.Errorf("%s: %q says nothing about what is inside", n, part)
			}
		}
	}
}

// Library code returns errors; only main may end the process.
func TestNobodyElseEndsTheProcess(t *testing.T) {
	root, names := goFiles(t)
	for _, n := range names {
		if !strings.HasPrefix(n, "internal/") || strings.HasSuffix(n, "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(root, n), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && (x.Name == "os" && sel.Sel.Name == "Exit" || x.Name == "log" && strings.HasPrefix(sel.Sel.Name, "Fatal")) {
				t.Errorf("%s: %s.%s in library code", fset.Position(call.Pos()), x.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

// The commands that the README promises exist in the Makefile.
func TestReadmeCommandsExist(t *testing.T) {
	root, _ := files(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatalf("read the README: %v", err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile(`\bmake ([a-z][a-z-]*)`).FindAllSubmatch(readme, -1)
	if len(targets) < 2 {
		t.Fatal("the README names fewer than two make targets")
	}
	for _, m := range targets {
		if !regexp.MustCompile(`(?m)^` + string(m[1]) + `:`).Match(makefile) {
			t.Errorf("README says `make %s`, the Makefile has no such target", m[1])
		}
	}
}
