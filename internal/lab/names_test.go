package lab

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"neutrino/internal/config"
)

func TestNames(t *testing.T) {
	for _, bad := range []string{"", "a-b", "Lab", "1lab", "a.b", "../x", "averyveryverylongname", "a b", "a/b"} {
		if _, err := NewNames(bad, ""); !errors.Is(err, ErrName) {
			t.Errorf("lab %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"relative", "/", "/a,b", "/a b", "/$x", "/" + strings.Repeat("a", 100)} {
		if _, err := NewNames("lab", bad); err == nil {
			t.Errorf("directory %q", bad)
		}
	}
	n, err := NewNames("lab", "")
	if err != nil {
		t.Fatal(err)
	}
	if n.Namespace("compute1") != "lab-compute1" || n.Dir() != "/run/neutrino/lab/lab" || n.Socket() != "/run/neutrino/lab/lab/fabric.sock" {
		t.Errorf("%+v", n)
	}
	if p, ok := n.Part("lab-red1"); !ok || p != "red1" {
		t.Error(p)
	}
	if _, ok := n.Part("lab2-red1"); ok {
		t.Error("another lab's namespace")
	}
	for _, bad := range []string{"", "trunk", "wire-x", "UP", "a_b", "-a", strings.Repeat("a", 31)} {
		if err := checkPart("instance", bad); !errors.Is(err, ErrName) {
			t.Errorf("instance %q: %v", bad, err)
		}
	}
}

func TestMountPoints(t *testing.T) {
	info := "22 1 0:5 / / rw - ext4 /dev/vda rw\n" +
		"40 22 0:6 / /run/neutrino/lab/a/bpf rw shared:1 - bpf bpf rw\n" +
		"41 40 0:7 / /run/neutrino/lab/a/bpf/in\\040side rw - bpf bpf rw\n" +
		"42 22 0:8 / /run/neutrino/lab/ab rw - bpf bpf rw\nnonsense\n"
	got := mountPoints(info, "/run/neutrino/lab/a")
	if !slices.Equal(got, []string{"/run/neutrino/lab/a/bpf", "/run/neutrino/lab/a/bpf/in side"}) {
		t.Errorf("%q", got)
	}
}

func TestStateFile(t *testing.T) {
	n, err := NewNames("st", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(n); !errors.Is(err, ErrDown) {
		t.Errorf("no file: %v", err)
	}
	if err := os.MkdirAll(n.Dir(), 0o755); err != nil {
		t.Fatal(err)
	}
	for text, says := range map[string]string{
		"":                              "unexpected end",
		"{":                             "unexpected end",
		`{"version":9,"name":"st"}`:     "version 9",
		`{"version":1,"name":"other"}`:  `of lab "other"`,
		`{"version":1,"processes":"x"}`: "cannot unmarshal",
	} {
		if err := os.WriteFile(n.File("state.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(n); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
	s := &State{Version: stateVersion, Name: "st", Instances: []*Instance{{Name: "red1"}}, Hosts: labHosts(1)}
	if err := s.write(n); err != nil {
		t.Fatal(err)
	}
	got, err := Read(n)
	if err != nil || got.Instance("red1") == nil || got.Instance("red2") != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if h, ok := got.Host("network1"); !ok || !h.DHCP {
		t.Errorf("%+v", h)
	}
}

func TestLockIsExclusive(t *testing.T) {
	n, err := NewNames("lk", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := n.tryLock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.tryLock(); !errors.Is(err, ErrBusy) {
		t.Errorf("second lock: %v", err)
	}
	_ = os.Remove(n.lockFile()) // as "down" does while it has the lock
	again, err := n.tryLock()
	if err != nil {
		t.Errorf("lock of a lab that went down: %v", err)
	} else {
		again()
	}
	unlock()
}

// TestFilesAreUnderstood: what the lab writes is what the processes read.
func TestFilesAreUnderstood(t *testing.T) {
	n, err := NewNames("fl", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := &State{API: "http://127.0.0.1:9696", Identity: true, Hosts: labHosts(1)}
	if err := writeFiles(n, s, 9696); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"controller.conf", "compute1.conf", "network1.conf"} {
		c, warnings, err := config.Load([]string{n.File(f)})
		if err != nil || len(warnings) > 0 || len(c.Unacted()) > 0 {
			t.Errorf("%s: %v, warnings %v, not acted on %v", f, err, warnings, c.Unacted())
		}
	}
	clouds, err := os.ReadFile(n.File("clouds.yaml"))
	if err != nil || !strings.Contains(string(clouds), "reader:") {
		t.Errorf("%s %v", clouds, err)
	}
}

func TestProcStat(t *testing.T) {
	start, state, err := procStat(os.Getpid())
	if err != nil || start == 0 || state == 0 {
		t.Errorf("%d %c %v", start, state, err)
	}
	me := Process{PID: os.Getpid(), Start: start}
	if !me.Alive() {
		t.Error("this process is not alive")
	}
	me.Start--
	if me.Alive() {
		t.Error("a pid that was taken by another counts as the old one")
	}
	if err := me.stop(t.Context(), 0); err != nil {
		t.Errorf("stopping what is gone: %v", err)
	}
}
