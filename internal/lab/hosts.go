package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch/veb"
	"neutrino/internal/netspace"
)

// makeNamespace creates one of the lab's namespaces, marked, with loopback up.
func (n Names) makeNamespace(part string) error {
	return netspace.CreateMarked(n.Namespace(part), n.mark())
}

// namespaces lists the lab's namespaces: those of its name that carry its mark. The
// map holds their inodes.
func (n Names) namespaces() ([]string, map[uint64]bool, error) {
	names, err := netspace.List(n.Prefix())
	if err != nil {
		return nil, nil, err
	}
	inodes := map[uint64]bool{}
	var out []string
	for _, name := range names {
		h, err := netspace.Open(name)
		if err != nil {
			continue // gone meanwhile, or an empty file: not ours to judge
		}
		var st unix.Stat_t
		ours := n.isMarked(name) && unix.Fstat(int(h), &st) == nil
		_ = h.Close()
		if ours {
			out = append(out, name)
			inodes[st.Ino] = true
		}
	}
	return out, inodes, nil
}

func (n Names) isMarked(name string) bool { return netspace.IsMarked(name, n.mark()) }

// makeHosts creates the hosts with their NICs, and the trunk that joins them.
func makeHosts(ctx context.Context, n Names, s *State, p Progress) error {
	if err := n.makeNamespace(trunkPart); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	ports := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		ports[i] = h.Name
		g.Go(func() error { return makeHost(gctx, n, h, s.VFs) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.Step("%d hosts, each with a NIC of %d VFs", len(s.Hosts), s.VFs)
	if err := os.MkdirAll(n.Pins(trunkPart), 0o700); err != nil {
		return fmt.Errorf("make trunk: %w", err)
	}
	err := veb.CreateTrunk(ctx, veb.TrunkSpec{
		Name: trunkPart, PinDir: n.Pins(trunkPart), Netns: netspace.Path(n.Namespace(trunkPart)), Ports: ports,
	})
	if err != nil {
		return fmt.Errorf("make trunk: %w", err)
	}
	p.Step("trunk between them")
	return nil
}

func makeHost(ctx context.Context, n Names, h Host, vfs int) error {
	if err := n.makeNamespace(h.Name); err != nil {
		return err
	}
	if err := os.MkdirAll(n.Pins(h.Name), 0o700); err != nil {
		return fmt.Errorf("make host %s: %w", h.Name, err)
	}
	err := veb.Create(ctx, veb.Spec{
		Name: NIC, PF: h.PF, VFs: vfs, PinDir: n.Pins(h.Name), Netns: netspace.Path(n.Namespace(h.Name)),
		Peer: veb.Peer{Name: h.Name, Netns: netspace.Path(n.Namespace(trunkPart))},
	})
	if err != nil {
		return fmt.Errorf("make the NIC of host %s: %w", h.Name, err)
	}
	return nil
}

// unmountAll detaches every mount below dir, the innermost first.
func unmountAll(dir string) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var errs []error
	points := mountPoints(string(b), dir)
	for _, m := range slices.Backward(points) {
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// mountPoints picks those below dir from mountinfo (proc_pid_mountinfo(5)), outermost
// first.
func mountPoints(mountinfo, dir string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if m := unescape.Replace(f[4]); m == dir || strings.HasPrefix(m, filepath.Clean(dir)+"/") {
			out = append(out, m)
		}
	}
	return out
}
