package hostcheck

import (
	"context"
	"os/exec"
	"regexp"
	"time"

	"neutrino/internal/machine"
)

// known are the programs whose presence matters, by where distributions put them.
var known = map[string][]string{
	"libvirt":     {"usr/sbin/libvirtd", "usr/sbin/virtqemud"},
	"qemu":        {"usr/bin/qemu-system-x86_64", "usr/libexec/qemu-kvm", "usr/bin/qemu-kvm", "usr/bin/qemu-system-aarch64"},
	"openvswitch": {"usr/bin/ovs-vsctl", "usr/sbin/ovs-vswitchd"},
}

// answer bounds how long a program, or the agent, may take to say what it knows.
const answer = 5 * time.Second

// programs looks which are there; on the running machine they are asked for their
// version.
func programs(ctx context.Context, t machine.Tree) map[string]Program {
	out := map[string]Program{}
	for name, paths := range known {
		for _, p := range paths {
			if !t.Exists(p) {
				continue
			}
			prog := Program{Path: "/" + p}
			if t.Live() {
				prog.Version = version(ctx, prog.Path)
			}
			out[name] = prog
			break
		}
	}
	return out
}

var versionText = regexp.MustCompile(`\b\d+\.\d+(\.\d+)?`)

func version(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	return versionText.FindString(string(out))
}
