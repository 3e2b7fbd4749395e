package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/journal"
)

// keyMove of a Bridge's external_ids: what is to move to the bridge from its uplink, as JSON. It
// is written in the transaction that takes the uplink and removed when all has moved, so that a
// crash between the two is made good by the next Set.
const keyMove = "neutrino-move"

// move is what a netdev that becomes an uplink hands over to its bridge.
type move struct {
	Addresses []movedAddress `json:"addresses,omitempty"`
	Routes    []movedRoute   `json:"routes,omitempty"`
}

type movedAddress struct {
	Address   string `json:"address"` // with its prefix length
	Peer      string `json:"peer,omitempty"`
	Flags     int    `json:"flags,omitempty"`     // IFA_F_NOPREFIXROUTE
	Valid     int    `json:"valid,omitempty"`     // seconds, as in ifa_cacheinfo; 0 = for ever
	Preferred int    `json:"preferred,omitempty"` // likewise
}

type movedRoute struct {
	To       string `json:"to,omitempty"` // "" = default
	Via      string `json:"via,omitempty"`
	Source   string `json:"source,omitempty"`
	IPv6     bool   `json:"ipv6,omitempty"`
	Table    int    `json:"table,omitempty"`
	Metric   int    `json:"metric,omitempty"`
	Scope    int    `json:"scope,omitempty"`
	Protocol int    `json:"protocol,omitempty"`
	Flags    int    `json:"flags,omitempty"` // RTNH_F_ONLINK
	MTU      int    `json:"mtu,omitempty"`
}

func (m *move) empty() bool { return m == nil || len(m.Addresses)+len(m.Routes) == 0 }

// planMove reads what would move from a netdev: addresses of more than link scope, and all
// routes but those that the kernel makes of addresses. Nil when it is not there. What cannot be
// moved is ErrUplink.
func planMove(uplink string) (*move, error) {
	l, err := netlink.LinkByName(uplink)
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", uplink, err)
	}
	m := &move{}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses of %s: %w", uplink, err)
	}
	for _, a := range addrs {
		if a.Scope >= int(netlink.SCOPE_LINK) {
			continue
		}
		one := movedAddress{Address: a.IPNet.String(), Flags: a.Flags & unix.IFA_F_NOPREFIXROUTE}
		if a.Peer != nil && !a.Peer.IP.Equal(a.IP) {
			one.Peer = a.Peer.String()
		}
		if a.Flags&unix.IFA_F_PERMANENT == 0 {
			one.Valid, one.Preferred = a.ValidLft, a.PreferedLft
		}
		m.Addresses = append(m.Addresses, one)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes of %s: %w", uplink, err)
	}
	var via []movedRoute
	for i := range routes {
		r, ok, err := routeOf(&routes[i], l.Attrs().Index)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %s: %w", ErrUplink, uplink, err)
		case ok && r.Via == "":
			m.Routes = append(m.Routes, r) // first: gateways are reached by them
		case ok:
			via = append(via, r)
		}
	}
	m.Routes = append(m.Routes, via...)
	return m, nil
}

// routeOf reads a route that leads to the netdev of the index.
func routeOf(r *netlink.Route, index int) (out movedRoute, ok bool, err error) {
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index {
			return out, false, fmt.Errorf("the route %s has several next hops, which is not moved; change it first", r)
		}
	}
	if r.LinkIndex != index || r.Table == unix.RT_TABLE_LOCAL || r.Protocol == unix.RTPROT_KERNEL || r.Type != unix.RTN_UNICAST {
		return out, false, nil
	}
	if r.Encap != nil || r.MPLSDst != nil || r.Via != nil {
		return out, false, fmt.Errorf("the route %s is of a kind that is not moved; change it first", r)
	}
	out = movedRoute{
		IPv6: r.Family == unix.AF_INET6, Table: r.Table, Metric: r.Priority, Scope: int(r.Scope), Protocol: int(r.Protocol),
		Flags: r.Flags & int(netlink.FLAG_ONLINK), MTU: r.MTU,
	}
	if r.Dst != nil {
		if ones, _ := r.Dst.Mask.Size(); ones > 0 {
			out.To = r.Dst.String()
		}
	}
	if r.Gw != nil {
		out.Via = r.Gw.String()
	}
	if r.Src != nil {
		out.Source = r.Src.String()
	}
	return out, true, nil
}

func (a movedAddress) String() string { return a.Address }

func (r movedRoute) String() string {
	s := r.To
	if s == "" {
		s = "default"
	}
	if r.Via != "" {
		s += " via " + r.Via
	}
	return s
}

// byHand is the move as commands that people know.
func (m *move) byHand(uplink, bridge string) string {
	out := []string{"ip link set " + bridge + " up"}
	for _, a := range m.Addresses {
		out = append(out, fmt.Sprintf("ip addr del %s dev %s", a, uplink), fmt.Sprintf("ip addr add %s dev %s", a, bridge))
	}
	for _, r := range m.Routes {
		out = append(out, fmt.Sprintf("ip route replace %s dev %s", r, bridge))
	}
	return strings.Join(out, "; ")
}

// netlinkAddress is the address as netlink wants it. Nobody else on the link has it: no
// duplicate is looked for.
func (a movedAddress) netlinkAddress() (*netlink.Addr, error) {
	out, err := netlink.ParseAddr(a.Address)
	if err != nil {
		return nil, err
	}
	out.Label, out.Flags, out.ValidLft, out.PreferedLft = "", a.Flags, a.Valid, a.Preferred
	if out.IP.To4() == nil {
		out.Flags |= unix.IFA_F_NODAD
	}
	if a.Peer != "" {
		_, out.Peer, err = net.ParseCIDR(a.Peer)
		if err == nil {
			out.Peer.IP, _, err = net.ParseCIDR(a.Peer)
		}
	}
	return out, err
}

func (r movedRoute) netlinkRoute(index int) (*netlink.Route, error) {
	out := &netlink.Route{
		LinkIndex: index, Gw: net.ParseIP(r.Via), Src: net.ParseIP(r.Source), Table: r.Table, Priority: r.Metric,
		Scope: netlink.Scope(r.Scope), Protocol: netlink.RouteProtocol(r.Protocol), Flags: r.Flags, MTU: r.MTU,
	}
	to := r.To
	switch {
	case to == "" && r.IPv6:
		to = "::/0"
	case to == "":
		to = "0.0.0.0/0"
	}
	var err error
	_, out.Dst, err = net.ParseCIDR(to)
	return out, err
}

// steps lead from the uplink's having it all to the bridge's. Each may be done again.
func (m *move) steps(uplink, bridge netlink.Link) []journal.Step {
	from, to := uplink.Attrs().Name, bridge.Attrs().Name
	return []journal.Step{
		{
			Describe: "set " + to + " up", Do: func(context.Context) error { return netlink.LinkSetUp(bridge) },
			// The last to be undone: routes need the addresses.
			Undo: func(context.Context) error { return m.route(uplink) },
		},
		{
			Describe: fmt.Sprintf("move addresses %v from %s to %s", m.Addresses, from, to),
			Do:       func(context.Context) error { return m.pass(uplink, bridge) },
			Undo:     func(context.Context) error { return m.pass(bridge, uplink) },
		},
		{
			Describe: fmt.Sprintf("move routes %v from %s to %s", m.Routes, from, to),
			Do:       func(context.Context) error { return m.route(bridge) },
		},
	}
}

// pass moves the addresses in their order: the first of a subnet is its primary one.
func (m *move) pass(from, to netlink.Link) error {
	var errs []error
	for _, a := range m.Addresses {
		if err := a.pass(from, to); err != nil {
			errs = append(errs, fmt.Errorf("address %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

// pass moves one address.
func (a movedAddress) pass(from, to netlink.Link) error {
	gone, err := a.netlinkAddress()
	if err != nil {
		return err
	}
	if err = netlink.AddrDel(from, gone); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	next, err := a.netlinkAddress() // AddrDel and AddrReplace fill it in
	if err != nil {
		return err
	}
	return netlink.AddrReplace(to, next)
}

// route makes the routes lead to a netdev: as many as can be.
func (m *move) route(to netlink.Link) error {
	var errs []error
	for _, r := range m.Routes {
		route, err := r.netlinkRoute(to.Attrs().Index)
		if err == nil {
			err = netlink.RouteReplace(route)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("route %s: %w", r, err))
		}
	}
	return errors.Join(errs...)
}

// carryOut does the steps; when one fails, those before it and it are undone.
func carryOut(ctx context.Context, steps []journal.Step) error {
	for i, s := range steps {
		err := s.Do(ctx)
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", s.Describe, err)
		for ; i >= 0; i-- {
			if steps[i].Undo == nil {
				continue
			}
			if uerr := steps[i].Undo(context.WithoutCancel(ctx)); uerr != nil {
				err = errors.Join(err, fmt.Errorf("undo: %s: %w", steps[i].Describe, uerr))
			}
		}
		return err
	}
	return nil
}

// recordMoves adds to the changes what is to move to bridges, for those whose uplink is not
// blocked. moves is by bridge.
func (v *view) recordMoves(changes []change, moves map[string]*move) ([]change, error) {
	for name, m := range moves {
		text, err := json.Marshal(m)
		if err != nil {
			return nil, err
		}
		if have, ok := v.bridges[name]; ok {
			row := have
			row.ExternalIDs = maps.Clone(have.ExternalIDs)
			merge(&row.ExternalIDs, map[string]string{keyMove: string(text)})
			changes = append(changes, change{describe: "record what moves to " + name, setBridge: &row})
			continue
		}
		for i := range changes {
			if b := changes[i].makeBridge; b != nil && b.Name == name {
				merge(&b.ExternalIDs, map[string]string{keyMove: string(text)})
			}
		}
	}
	return changes, nil
}

// finishMoves carries out the moves that the database has recorded, for bridges whose uplink
// Open vSwitch has taken. A move that fails is undone, and the uplink given back.
func (s *Switch) finishMoves(ctx context.Context) error {
	var errs []error
	for _, b := range s.o.Bridges {
		if err := s.finishMove(ctx, b); err != nil {
			errs = append(errs, fmt.Errorf("move what %s has to %s: %w", b.Uplink, b.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Switch) finishMove(ctx context.Context, b Bridge) error {
	v, db, err := s.view()
	if err != nil {
		return err
	}
	row := v.bridges[b.Name]
	text := row.ExternalIDs[keyMove]
	if text == "" || b.Uplink == "" {
		return nil
	}
	taken, port := v.uplink(b)
	if !taken {
		return nil // Events tells when it is
	}
	bridge, err := netlink.LinkByName(b.Name)
	if err != nil {
		return nil //nolint:nilerr // it comes with the uplink, or shortly after
	}
	uplink, err := netlink.LinkByName(b.Uplink)
	if err != nil {
		return err
	}
	m := &move{}
	if err = json.Unmarshal([]byte(text), m); err != nil {
		return fmt.Errorf("external_ids:%s of bridge %s is not as it was written: %w; remove it by hand", keyMove, b.Name, err)
	}
	row.ExternalIDs = maps.Clone(row.ExternalIDs)
	delete(row.ExternalIDs, keyMove)
	end := []change{{describe: "forget what moved to " + b.Name, setBridge: &row}}
	failed := carryOut(ctx, m.steps(uplink, bridge))
	if failed != nil {
		s.unmovable[b.Uplink] = failed
		end = append(end, change{describe: fmt.Sprintf("give %s back", b.Uplink), bridge: b.Name, removePort: port})
	} else {
		s.o.Log.Info("addresses and routes of the uplink are the bridge's now", "uplink", b.Uplink, "bridge", b.Name, "did", m.byHand(b.Uplink, b.Name))
	}
	return errors.Join(failed, s.commit(ctx, db, v, end))
}

// uplink says whether Open vSwitch has taken the uplink of a bridge, and which port that is.
func (v *view) uplink(b Bridge) (taken bool, port *portRow) {
	for _, p := range v.sortedPorts(v.bridges[b.Name]) {
		if p.Name != b.Uplink {
			continue
		}
		for _, u := range p.Interfaces {
			if i := v.ifaces[u]; i.OFPort != nil && *i.OFPort > 0 {
				return true, &p
			}
		}
	}
	return false, nil
}
