package lab

import (
	"context"
	"fmt"
	"net/netip"

	"neutrino/internal/bench/paths"
)

// Keys of the measured paths.
const (
	PathDirect = "direct"
	PathOne    = "vf-one-host"
	PathTwo    = "vf-two-hosts"
	PathBridge = "bridge"
	PathVXLAN  = "bridge-vxlan"
)

// comparison builds what VFs are compared with, by its key in package paths, in namespaces of the lab's. A path that is none
// has its key and title all the same.
func comparison(ctx context.Context, n Names, kind, key string) (paths.Path, error) {
	for _, k := range paths.Kinds {
		if k.Key != kind {
			continue
		}
		p, err := (&paths.Site{Dir: n.Dir(), Prefix: n.Prefix() + wirePart, Mark: n.mark()}).Build(ctx, k)
		p.Key = key
		return p, err
	}
	return paths.Path{Key: key}, fmt.Errorf("build the path %s: %w", kind, paths.ErrMissing)
}

// vfPath is between two instances.
func vfPath(n Names, key, title string, a, b *Instance) (paths.Path, error) {
	pa, err1 := netip.ParsePrefix(a.Address)
	pb, err2 := netip.ParsePrefix(b.Address)
	if err1 != nil || err2 != nil {
		return paths.Path{}, fmt.Errorf("measure %s: %s or %s has no address", title, a.Name, b.Name)
	}
	return paths.Path{
		Key: key, Title: title,
		A: paths.End{Namespace: n.Namespace(a.Name), Addr: pa.Addr()}, B: paths.End{Namespace: n.Namespace(b.Name), Addr: pb.Addr()},
	}, nil
}
