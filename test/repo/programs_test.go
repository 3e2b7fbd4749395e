package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// always are the programs that every machine has which can build and test: a shell,
// coreutils, Go and git. Others, iproute2's and ping among them, are not on a fresh
// Debian: a test that wants one looks it up first and skips with a word that says how
// to get it, and the product does without.
var always = []string{"sh", "cat", "sleep", "true", "false", "go", "git"}

// execCall returns the program that a call of os/exec names, where it is a constant.
func execCall(node ast.Node) (function, program string, ok bool) {
	call, isCall := node.(*ast.CallExpr)
	if !isCall {
		return "", "", false
	}
	sel, isSel := call.Fun.(*ast.SelectorExpr)
	if !isSel {
		return "", "", false
	}
	if x, isIdent := sel.X.(*ast.Ident); !isIdent || x.Name != "exec" {
		return "", "", false
	}
	at := slices.Index([]string{"Command", "CommandContext"}, sel.Sel.Name)
	if sel.Sel.Name == "LookPath" {
		at = 0
	}
	if at < 0 || at >= len(call.Args) {
		return "", "", false
	}
	lit, isLit := call.Args[at].(*ast.BasicLit)
	if !isLit {
		return "", "", false
	}
	program, err := strconv.Unquote(lit.Value)
	return sel.Sel.Name, filepath.Base(program), err == nil
}

// A fresh machine has Go, gcc, make and git: whatever else is run is looked up first.
func TestProgramsOfOthersAreLookedUp(t *testing.T) {
	root, names := goFiles(t)
	type run struct {
		at  token.Position
		dir string
	}
	looked, runs := map[string]bool{}, map[string][]run{}
	for _, n := range names {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, filepath.Join(root, n), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(n)
		ast.Inspect(f, func(node ast.Node) bool {
			function, program, ok := execCall(node)
			switch {
			case !ok:
			case function == "LookPath":
				looked[dir+" "+program] = true
			default:
				runs[program] = append(runs[program], run{fset.Position(node.Pos()), dir})
			}
			return true
		})
	}
	if len(runs["git"]) == 0 {
		t.Error("this very file's calls of git were not found")
	}
	for program, where := range runs {
		if program == "exe" || slices.Contains(always, program) { // /proc/self/exe
			continue
		}
		for _, r := range where {
			if !looked[r.dir+" "+program] {
				t.Errorf("%s: %s is run and never looked up in this package; a fresh machine may not have it", r.at, program)
			}
		}
	}
}
