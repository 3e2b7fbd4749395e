package rig

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// modules are those of one kernel, with what each needs (modules.dep(5)).
type modules struct {
	dir     string
	files   map[string]string   // name -> path below dir
	needs   map[string][]string // path -> paths, nearest first
	builtin map[string]bool
}

// moduleName is how the kernel calls a module of that file.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func readModules(dir string) (*modules, error) {
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, fmt.Errorf("read the list of modules: %w", err)
	}
	defer f.Close()
	m := &modules{dir: dir, files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		path, rest, ok := strings.Cut(sc.Text(), ":")
		if !ok {
			continue
		}
		m.files[moduleName(path)] = path
		m.needs[path] = strings.Fields(rest)
	}
	if err = sc.Err(); err != nil {
		return nil, fmt.Errorf("read the list of modules: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err == nil {
		for line := range strings.Lines(string(b)) {
			m.builtin[moduleName(strings.TrimSpace(line))] = true
		}
	}
	return m, nil
}

func (m *modules) missing(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return m.builtin[n] || m.files[n] != "" })
}

// order lists the files of the named modules and all they need, in an order in which
// they can be loaded.
func (m *modules) order(names ...string) ([]string, error) {
	var out []string
	for _, n := range names {
		n = strings.ReplaceAll(n, "-", "_")
		path := m.files[n]
		if path == "" {
			if m.builtin[n] {
				continue
			}
			return nil, fmt.Errorf("kernel in %s has no module %s", m.dir, n)
		}
		// modules.dep lists everything that is needed, what has to be loaded first last.
		all := slices.Clone(m.needs[path])
		slices.Reverse(all)
		for _, p := range append(all, path) {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out, nil
}

// read returns a module's content, unpacked.
func (m *modules) read(path string) ([]byte, error) {
	file := filepath.Join(m.dir, path)
	switch filepath.Ext(file) {
	case ".xz":
		out, err := exec.Command("xz", "-dc", file).Output()
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", file, err)
		}
		return out, nil
	default:
		return os.ReadFile(file)
	}
}
