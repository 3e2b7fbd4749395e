package neutron

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// GatewayInfo is external_gateway_info of a request; it travels in Extra under that name.
// Without a NetworkID the router is to have no gateway.
type GatewayInfo struct {
	NetworkID  string
	EnableSNAT *bool           // nil = as Options.NoSNAT has it
	FixedIPs   []model.FixedIP // nil = any, or those that the gateway has
}

const attrGateway = "external_gateway_info"

// CreateRouters makes all of d or none, each with its gateway where one is asked for.
func (s *Service) CreateRouters(ctx context.Context, who model.Actor, d []Draft[model.Router]) ([]*model.Router, error) {
	ids, release, err := reserve(s, quotaRouter, d)
	if err != nil {
		return nil, err
	}
	defer release()
	out := make([]*model.Router, len(d))
	err = s.update(ctx, "creating routers", func(tx *store.Tx) error {
		a := s.begin(tx)
		for i := range d {
			r := d[i].Value.Clone()
			s.stamp(&r.Meta)
			r.ID, r.Status, r.Gateway, r.Routes = ids[i], model.StatusActive, nil, nil
			if zoneErr := s.checkZoneHints(a, r.AvailabilityZoneHints, zoneOfRouters); zoneErr != nil {
				return zoneErr
			}
			if info, ok := d[i].Extra[attrGateway].(*GatewayInfo); ok {
				if gwErr := s.setGateway(a, who, r, info); gwErr != nil {
					return gwErr
				}
			}
			s.t.Routers.Put(a.Tx, r)
			out[i] = r
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// UpdateRouter changes a router: its gateway first, then its routes, which must lead
// through what it is connected to.
func (s *Service) UpdateRouter(ctx context.Context, who model.Actor, id string, c Change[model.Router]) (*model.Router, error) {
	return s.changeRouter(ctx, id, "updating router "+id, c.IfMatch, func(a *attempt, old, r *model.Router) error {
		c.Apply(r)
		r.ID, r.Gateway = old.ID, old.Clone().Gateway
		routes := r.Routes
		r.Routes = old.Routes
		if c.Given["routes"] {
			r.Routes = nil // what the request takes away holds no gateway
		}
		if info, ok := c.Extra[attrGateway].(*GatewayInfo); ok {
			if err := s.setGateway(a, who, r, info); err != nil {
				return err
			}
		}
		if c.Given["routes"] {
			return s.setRoutes(a, r, routes)
		}
		return nil
	})
}

// AddRoutes adds extra routes to a router; those that it has already are no mistake.
func (s *Service) AddRoutes(ctx context.Context, who model.Actor, id string, routes []model.Route) (*model.Router, error) {
	return s.changeRouter(ctx, id, "adding routes to router "+id, nil, func(a *attempt, _, r *model.Router) error {
		all := slices.Clone(r.Routes)
		for _, one := range routes {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
		return s.setRoutes(a, r, all)
	})
}

// RemoveRoutes takes extra routes from a router; those that it does not have are no mistake.
func (s *Service) RemoveRoutes(ctx context.Context, who model.Actor, id string, routes []model.Route) (*model.Router, error) {
	return s.changeRouter(ctx, id, "removing routes from router "+id, nil, func(a *attempt, _, r *model.Router) error {
		return s.setRoutes(a, r, slices.DeleteFunc(slices.Clone(r.Routes), func(one model.Route) bool { return slices.Contains(routes, one) }))
	})
}

// changeRouter runs one transaction on a router: edit gets the row and a copy to change.
func (s *Service) changeRouter(ctx context.Context, id, doing string, ifMatch *int64, edit func(a *attempt, old, r *model.Router) error) (*model.Router, error) {
	var out *model.Router
	err := s.update(ctx, doing, func(tx *store.Tx) error {
		old, ok := s.t.Routers.Read(tx, id)
		if !ok {
			return fault.RouterNotFound(id)
		}
		if err := checkMatch(ifMatch, old.Revision); err != nil {
			return err
		}
		r := old.Clone()
		if err := edit(s.begin(tx), old, r); err != nil {
			return err
		}
		if out = old; same(old, r) {
			return nil
		}
		if r.Revision == old.Revision {
			s.bump(&r.Meta)
		}
		s.t.Routers.Put(tx, r)
		out = r
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// DeleteRouter deletes a router without interfaces, with its gateway.
func (s *Service) DeleteRouter(ctx context.Context, who model.Actor, id string, ifMatch *int64) error {
	return s.update(ctx, "deleting router "+id, func(tx *store.Tx) error {
		a := s.begin(tx)
		old, ok := s.t.Routers.Read(tx, id)
		if !ok {
			return fault.RouterNotFound(id)
		}
		if err := checkMatch(ifMatch, old.Revision); err != nil {
			return err
		}
		var inUse []string
		for _, p := range s.routerPorts(a.snap, id) {
			if p.DeviceOwner == model.OwnerRouterInterface {
				inUse = append(inUse, p.ID)
			}
		}
		if len(inUse) > 0 {
			return fault.RouterInUse(id, inUse)
		}
		r := old.Clone()
		r.Routes = nil
		if err := s.clearGateway(a, r); err != nil {
			return err
		}
		if _, bound := s.t.RouterBindings.Read(tx, id); bound {
			s.t.RouterBindings.Delete(tx, id)
		}
		s.t.Routers.Delete(tx, id)
		return nil
	})
}

// routerPorts are a router's interfaces and its gateway, in the order of ids. Whoever
// attaches or detaches one writes the router's row too, so a transaction that has read that
// row may rest on them.
func (s *Service) routerPorts(snap store.Snapshot, router string) []*model.Port {
	var out []*model.Port
	for p := range s.t.Ports.By(snap, ByDevice, router) {
		if isRouterPort(p) {
			out = append(out, p)
		}
	}
	return out
}

func isRouterPort(p *model.Port) bool {
	return p.DeviceOwner == model.OwnerRouterInterface || p.DeviceOwner == model.OwnerRouterGateway
}

// attached are a router's ports as a transaction has them: those of the view, less what it
// removed, plus what it made.
func (s *Service) attached(a *attempt, router string) []*model.Port {
	var out []*model.Port
	for _, p := range s.routerPorts(a.snap, router) {
		if now, ok := s.t.Ports.Read(a.Tx, p.ID); ok {
			out = append(out, now)
		}
	}
	for _, p := range a.ports {
		if p.DeviceID == router && isRouterPort(p) {
			out = append(out, p)
		}
	}
	return out
}

// setRoutes gives the router extra routes: each next hop must be on a subnet that the router
// is on, and not be the router itself. They are kept sorted.
func (s *Service) setRoutes(a *attempt, r *model.Router, routes []model.Route) error {
	if len(routes) > s.o.MaxRoutes {
		return fault.RoutesExhausted(r.ID, s.o.MaxRoutes)
	}
	ports := s.attached(a, r.ID)
	for _, one := range routes {
		connected := false
		for _, p := range ports {
			for _, f := range p.FixedIPs {
				if f.IP == one.NextHop {
					return fault.InvalidRoutes(showRoutes(routes), "the nexthop is used by router")
				}
				sub, ok := s.t.Subnets.Get(a.snap, f.SubnetID)
				connected = connected || ok && sub.CIDR.Contains(one.NextHop)
			}
		}
		if !connected {
			return fault.InvalidRoutes(showRoutes(routes), "the nexthop is not connected with router")
		}
		if one.Destination.Addr().Is4() != one.NextHop.Is4() {
			return fault.InvalidRoutes(showRoutes(routes), "destination and nexthop are of different IP versions")
		}
	}
	r.Routes = slices.Clone(routes)
	slices.SortFunc(r.Routes, compareRoutes)
	if len(r.Routes) == 0 {
		r.Routes = nil
	}
	return nil
}

func compareRoutes(a, b model.Route) int {
	if c := a.Destination.Addr().Compare(b.Destination.Addr()); c != 0 {
		return c
	}
	if c := a.Destination.Bits() - b.Destination.Bits(); c != 0 {
		return c
	}
	return a.NextHop.Compare(b.NextHop)
}

// showRoutes writes routes as Neutron's messages do (Python's str of a list).
func showRoutes(routes []model.Route) string {
	parts := make([]string, len(routes))
	for i, r := range routes {
		parts[i] = fmt.Sprintf("{'destination': '%s', 'nexthop': '%s'}", r.Destination, r.NextHop)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// routeNeeds reports whether a route of the router leads over the prefix.
func routeNeeds(r *model.Router, over netip.Prefix) bool {
	return slices.ContainsFunc(r.Routes, func(one model.Route) bool { return over.Contains(one.NextHop) })
}

// checkOverlap refuses subnets that overlap one the router is on already, but for a port.
// Of its gateway's network every subnet counts.
func (s *Service) checkOverlap(a *attempt, router, except string, added []*model.Subnet) error {
	have := make(map[string]*model.Subnet)
	for _, p := range s.attached(a, router) {
		if p.ID == except {
			continue
		}
		if p.DeviceOwner == model.OwnerRouterGateway {
			for _, sub := range s.subnetsOf(a, p.NetworkID) {
				have[sub.ID] = sub
			}
			continue
		}
		for _, f := range p.FixedIPs {
			if sub, ok := s.t.Subnets.Get(a.snap, f.SubnetID); ok {
				have[sub.ID] = sub
			}
		}
	}
	for _, sub := range added {
		if have[sub.ID] != nil {
			return fault.BadRequest("router", "Router already has a port on subnet %s", sub.ID)
		}
		for _, old := range have {
			if old.CIDR.Overlaps(sub.CIDR) {
				return fault.BadRequest("router", "Cidr %s of subnet %s overlaps with cidr %s of subnet %s", sub.CIDR, sub.ID, old.CIDR, old.ID)
			}
		}
	}
	return nil
}
