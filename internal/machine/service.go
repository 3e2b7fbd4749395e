package machine

import (
	"path/filepath"
	"slices"
	"strings"
)

// Service is a unit of systemd.
type Service struct {
	Name    string // "irqbalance.service"
	Enabled bool   // a target wants it
	Masked  bool
	Running bool
}

// unitDirs are where units are, the strongest first.
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// Service looks for a service; ok is false where there is none of that name. What runs
// is seen in the control groups and, where there are none, among the processes.
func (t Tree) Service(name string) (s Service, ok bool) {
	s.Name = name
	for _, dir := range unitDirs {
		to := t.linkTarget(dir, name)
		if to == "/dev/null" {
			s.Masked, ok = true, true
			break
		}
		if to != "" || t.Exists(dir, name) {
			ok = true
			break
		}
	}
	for _, dir := range unitDirs[:2] {
		for _, d := range t.Names(dir) {
			if strings.HasSuffix(d, ".wants") && slices.Contains(t.Names(dir, d), name) {
				s.Enabled = true
			}
		}
	}
	s.Running = t.running(name)
	return s, ok || s.Running
}

func (t Tree) linkTarget(parts ...string) string {
	if to := t.Link(parts...); to != "null" {
		return to
	}
	return "/dev/null"
}

func (t Tree) running(name string) bool {
	grouped := false
	for _, top := range []string{"sys/fs/cgroup", "sys/fs/cgroup/systemd", "sys/fs/cgroup/unified"} {
		slice := filepath.Join(top, "system.slice")
		if !t.Exists(slice) {
			continue
		}
		grouped = true
		events, _ := t.Text(slice, name, "cgroup.events")
		procs, _ := t.Text(slice, name, "cgroup.procs")
		if strings.Contains(events, "populated 1") || procs != "" {
			return true
		}
	}
	return !grouped && t.process(strings.TrimSuffix(name, ".service"))
}

// process reports whether a process has that name; the kernel keeps 15 bytes of it.
func (t Tree) process(name string) bool {
	name = name[:min(len(name), 15)]
	for _, pid := range t.Names("proc") {
		if strings.Trim(pid, "0123456789") != "" {
			continue
		}
		if comm, _ := t.Text("proc", pid, "comm"); comm == name {
			return true
		}
	}
	return false
}
