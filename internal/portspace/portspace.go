package portspace

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// ErrPending: a netdev is not there yet; no fault, tried again.
var ErrPending = errors.New("waiting")

// VF is where a port's netdev is to be found on the host.
type VF struct {
	PF     string // name of the physical function, or of the bridge
	Index  int    // of the VF; -1 = an interface of a bridge
	Netdev string // its name in the host's namespace; "" while it is elsewhere
	// Ifindex of a bridge's interface in the host's namespace, where it is known and there: another
	// one says that it was made anew. It is no part of marks.
	Ifindex int
}

// Kind is one kind of namespaces. Its words are in the kernel, and must not change.
type Kind struct {
	Head     string // first word of a namespace's mark, e.g. neutrino-dhcp
	Key      string // word before the owner's id in it, e.g. net
	PortHead string // first word of a netdev's mark
	Noun     string // what an owner is, in errors
	Spare    string // of the name that a netdev is given back under where its own is taken
}

// Space is one namespace, opened for one round of work.
type Space struct {
	Name  string
	NS    netns.NsHandle
	NL    *netlink.Handle
	Host  string // HostID of whom it belongs to; "" = it is not of this kind
	Owner string // id of the network or router that it is for
	kind  Kind
}

// Held is a port's netdev in a namespace.
type Held struct {
	Link netlink.Link
	Mark Mark
}

// HostID tells hosts (network namespaces) of one machine apart for as long as they live, so
// that they do not take each other's namespaces.
func HostID(h netns.NsHandle) string {
	var st unix.Stat_t
	if err := unix.Fstat(int(h), &st); err != nil {
		return "unknown"
	}
	return fmt.Sprintf("%d", st.Ino)
}

// Open opens a namespace, whosever it is. The error is netspace.ErrNotExist when there is none.
func (k Kind) Open(name string) (*Space, error) {
	ns, err := netspace.Open(name)
	if err != nil {
		return nil, err
	}
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		_ = ns.Close()
		return nil, fmt.Errorf("open netlink in %s: %w", name, err)
	}
	s := &Space{Name: name, NS: ns, NL: nl, kind: k}
	if lo, err := nl.LinkByName("lo"); err == nil {
		s.Host, s.Owner = k.parse(lo.Attrs().Alias)
	}
	return s, nil
}

// place is the name of the owner's namespace: name, or one with the host in it where name is
// another host's on the same machine (one that the owner was on before, in a lab).
func (k Kind) place(name, host, owner string) string {
	own := name + "-" + host
	for _, try := range []string{own, name} {
		s, err := k.Open(try)
		if err != nil {
			continue
		}
		s.Close()
		switch {
		case try == own:
			return own
		case s.Owner == owner && s.Host != host:
			return own
		}
	}
	return name
}

// Enter opens a namespace that has to be the owner's.
func (k Kind) Enter(name, host, owner string) (*Space, error) {
	s, err := k.Open(k.place(name, host, owner))
	if err != nil {
		return nil, err
	}
	name = s.Name
	if s.Host == host && s.Owner == owner {
		return s, nil
	}
	s.Close()
	if s.Owner == "" {
		return nil, fmt.Errorf("namespace %s exists and is not ours", name)
	}
	return nil, fmt.Errorf("namespace %s belongs to %s %s of host namespace %s", name, k.Noun, s.Owner, s.Host)
}

// Create makes a namespace with its mark, loopback up. prepare runs in it before it has its
// name.
func (k Kind) Create(name, host, owner string, prepare func() error) (*Space, error) {
	name = k.place(name, host, owner)
	err := netspace.Create(name, func() error {
		nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer nl.Close()
		lo, err := nl.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("find lo: %w", err)
		}
		if err = nl.LinkSetAlias(lo, k.mark(host, owner)); err != nil {
			return fmt.Errorf("mark lo: %w", err)
		}
		if err = nl.LinkSetUp(lo); err != nil {
			return fmt.Errorf("set lo up: %w", err)
		}
		return prepare()
	})
	if err != nil {
		return nil, err
	}
	return k.Open(name)
}

// Close releases the handles. The namespace stays.
func (s *Space) Close() {
	s.NL.Close()
	_ = s.NS.Close()
}

// Ports are the netdevs that were put here, by port id.
func (s *Space) Ports() (map[string]Held, error) {
	links, err := s.NL.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list links of %s: %w", s.Name, err)
	}
	out := map[string]Held{}
	for _, l := range links {
		if m, ok := parseMark(s.kind.PortHead, l.Attrs().Alias); ok {
			out[m.Port] = Held{l, m}
		}
	}
	return out, nil
}
