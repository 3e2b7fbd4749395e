package rig

import (
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestArchiveIsUnpackedAsItWasWritten(t *testing.T) {
	if _, err := exec.LookPath(busybox); err != nil {
		t.Skip("needs busybox: apt-get install busybox-static")
	}
	a := &archive{}
	contents := map[string]string{"init": "#!/bin/sh\n", "bin/one": "1", "bin/deep/er/two": "22", "m/odd": "12345", "empty": ""}
	for name, text := range contents {
		a.file(name, []byte(text))
	}
	a.dir("proc")
	a.link("bin/sh", "one")
	dir := t.TempDir()
	packed := filepath.Join(dir, "packed")
	if err := a.write(packed); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(packed)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(busybox, "cpio", "-i")
	cmd.Dir, cmd.Stdin = t.TempDir(), z
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range contents {
		path := filepath.Join(cmd.Dir, name)
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(cmd.Dir, "proc")); err != nil || !info.IsDir() {
		t.Errorf("proc: %v", err)
	}
	if to, err := os.Readlink(filepath.Join(cmd.Dir, "bin/sh")); to != "one" || err != nil {
		t.Errorf("bin/sh: %q, %v", to, err)
	}
}

func TestArchiveNamesADirectoryOnceBeforeWhatIsInIt(t *testing.T) {
	a := &archive{}
	a.file("a/b/one", nil)
	a.file("a/b/two", nil)
	var at []int
	for _, name := range []string{"a\x00", "a/b\x00", "a/b/one\x00", "a/b/two\x00"} {
		at = append(at, bytes.Index(a.buf.Bytes(), append([]byte("00000000"), name...)))
		if n := bytes.Count(a.buf.Bytes(), append([]byte("00000000"), name...)); n != 1 {
			t.Errorf("%q is there %d times", name, n)
		}
	}
	for i := 1; i < len(at); i++ {
		if at[i] < at[i-1] {
			t.Errorf("positions %v", at)
		}
	}
}
