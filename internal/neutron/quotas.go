package neutron

import (
	"context"
	"maps"
	"slices"
	"sync"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Names of quotas, as the API has them.
const (
	quotaNetwork = "network"
	quotaSubnet  = "subnet"
	quotaPort    = "port"
	quotaPool    = "subnetpool"
	quotaGroup   = "security_group"
	quotaRule    = "security_group_rule"
	quotaRouter  = "router"
	quotaFIP     = "floatingip"
)

// defaultQuotas are Neutron's. Limits may be kept for what neutrino does not have (yet);
// nothing of it is ever in use.
var defaultQuotas = map[string]int{
	quotaNetwork: 100, quotaSubnet: 100, quotaPort: 500, quotaPool: -1, quotaGroup: 10, quotaRule: 100,
	quotaRouter: 10, quotaFIP: 50, "rbac_policy": 10, "trunk": -1,
}

// QuotaResources are the names that a quota may have, sorted.
func (s *Service) QuotaResources() []string { return slices.Sorted(maps.Keys(defaultQuotas)) }

// DefaultQuota is what a project has that was given nothing else.
func (s *Service) DefaultQuota() map[string]int {
	limits := maps.Clone(defaultQuotas)
	maps.Copy(limits, s.o.DefaultQuotas)
	return limits
}

// QuotaFor returns every limit of a project.
func (s *Service) QuotaFor(snap store.Snapshot, project string) map[string]int {
	limits := s.DefaultQuota()
	if q, ok := s.t.Quotas.Get(snap, project); ok {
		maps.Copy(limits, q.Limits)
	}
	return limits
}

func (s *Service) limit(snap store.Snapshot, project, resource string) int {
	if q, ok := s.t.Quotas.Get(snap, project); ok {
		if n, set := q.Limits[resource]; set {
			return n
		}
	}
	if n, set := s.o.DefaultQuotas[resource]; set {
		return n
	}
	return defaultQuotas[resource]
}

// SetQuota gives a project limits in place of the defaults; those not named stay.
func (s *Service) SetQuota(ctx context.Context, who model.Actor, project string, limits map[string]int) (map[string]int, error) {
	var unknown []string
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if _, ok := defaultQuotas[name]; !ok {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, fault.QuotaResourceUnknown(unknown)
	}
	err := s.update(ctx, "setting the quota of project "+project, func(tx *store.Tx) error {
		q := &model.Quota{ProjectID: project, Limits: map[string]int{}}
		if old, ok := s.t.Quotas.Read(tx, project); ok {
			maps.Copy(q.Limits, old.Limits)
		}
		maps.Copy(q.Limits, limits)
		s.t.Quotas.Put(tx, q)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.QuotaFor(s.db.Snapshot(), project), nil
}

// DeleteQuota puts a project back on the defaults.
func (s *Service) DeleteQuota(ctx context.Context, who model.Actor, project string) error {
	return s.update(ctx, "deleting the quota of project "+project, func(tx *store.Tx) error {
		if _, ok := s.t.Quotas.Read(tx, project); !ok {
			return fault.ProjectQuotaNotFound(project)
		}
		s.t.Quotas.Delete(tx, project)
		return nil
	})
}

// QuotaDetail is one line of GET /quotas/{project}/details.
type QuotaDetail struct {
	Limit    int // -1 = none
	Used     int
	Reserved int // by requests that are being carried out now
}

// QuotaDetails returns limits and use of a project.
func (s *Service) QuotaDetails(snap store.Snapshot, project string) map[string]QuotaDetail {
	details := make(map[string]QuotaDetail, len(defaultQuotas))
	for resource, limit := range s.QuotaFor(snap, project) {
		details[resource] = QuotaDetail{
			Limit: limit, Used: s.inUse(snap, project, resource, -1),
			Reserved: s.quota.count(snap, s, project, resource),
		}
	}
	return details
}

// inUse counts a project's resources, up to limit (-1 = all of them).
func (s *Service) inUse(snap store.Snapshot, project, resource string, limit int) int {
	switch resource {
	case quotaNetwork:
		return countBy(snap, s.t.Networks, project, limit)
	case quotaSubnet:
		return countBy(snap, s.t.Subnets, project, limit)
	case quotaPort:
		return countBy(snap, s.t.Ports, project, limit)
	case quotaPool:
		return countBy(snap, s.t.SubnetPools, project, limit)
	case quotaGroup:
		return countBy(snap, s.t.SecurityGroups, project, limit)
	case quotaRule:
		return countBy(snap, s.t.SecurityGroupRules, project, limit)
	case quotaRouter:
		return countBy(snap, s.t.Routers, project, limit)
	case quotaFIP:
		return countBy(snap, s.t.FloatingIPs, project, limit)
	}
	return 0
}

func countBy[T any](snap store.Snapshot, t *store.Table[T], project string, limit int) int {
	n := 0
	for range t.By(snap, ByProject, project) {
		if n++; n == limit {
			break
		}
	}
	return n
}

func (s *Service) exists(snap store.Snapshot, resource, id string) bool {
	var ok bool
	switch resource {
	case quotaNetwork:
		_, ok = s.t.Networks.Get(snap, id)
	case quotaSubnet:
		_, ok = s.t.Subnets.Get(snap, id)
	case quotaPort:
		_, ok = s.t.Ports.Get(snap, id)
	case quotaPool:
		_, ok = s.t.SubnetPools.Get(snap, id)
	case quotaGroup:
		_, ok = s.t.SecurityGroups.Get(snap, id)
	case quotaRule:
		_, ok = s.t.SecurityGroupRules.Get(snap, id)
	case quotaRouter:
		_, ok = s.t.Routers.Get(snap, id)
	case quotaFIP:
		_, ok = s.t.FloatingIPs.Get(snap, id)
	}
	return ok
}

// reservations are the ids of resources that requests of this process are making: they
// count as used from the check until their rows are in the tables, so that concurrent
// requests cannot pass a limit together. With several controllers a limit may be passed by
// what the others are making at the same moment.
type reservations struct {
	mu  sync.Mutex
	ids map[quotaKey]map[string]struct{}
}

type quotaKey struct{ project, resource string }

func newReservations() *reservations {
	return &reservations{ids: make(map[quotaKey]map[string]struct{})}
}

// count returns how many reserved resources are not in the view yet.
func (r *reservations) count(snap store.Snapshot, s *Service, project, resource string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending(snap, s, quotaKey{project, resource})
}

func (r *reservations) pending(snap store.Snapshot, s *Service, k quotaKey) int {
	n := 0
	for id := range r.ids[k] {
		if !s.exists(snap, k.resource, id) {
			n++
		}
	}
	return n
}

// reserve gives each draft an id and reserves a place for it in its project's quota. The
// release must be called when the rows are in the tables or will never be.
func reserve[T any, R resource[T]](s *Service, name string, d []Draft[T]) (ids []string, release func(), err error) {
	ids = make([]string, len(d))
	wanted := make(map[quotaKey][]string, 1)
	for i := range d {
		ids[i] = newID()
		k := quotaKey{R(d[i].Value).Standard().ProjectID, name}
		wanted[k] = append(wanted[k], ids[i])
	}
	if err := s.quota.add(s, wanted); err != nil {
		return nil, nil, err
	}
	return ids, func() { s.quota.drop(wanted) }, nil
}

func (r *reservations) add(s *Service, wanted map[quotaKey][]string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Taken under the lock: whatever was released before is in this view.
	snap := s.db.Snapshot()
	for k, ids := range wanted {
		limit := s.limit(snap, k.project, k.resource)
		if limit < 0 {
			continue
		}
		used := s.inUse(snap, k.project, k.resource, limit+1)
		if used+r.pending(snap, s, k)+len(ids) > limit {
			return fault.OverQuota([]string{k.resource})
		}
	}
	for k, ids := range wanted {
		if r.ids[k] == nil {
			r.ids[k] = make(map[string]struct{}, len(ids))
		}
		for _, id := range ids {
			r.ids[k][id] = struct{}{}
		}
	}
	return nil
}

func (r *reservations) drop(wanted map[quotaKey][]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, ids := range wanted {
		for _, id := range ids {
			delete(r.ids[k], id)
		}
		if len(r.ids[k]) == 0 {
			delete(r.ids, k)
		}
	}
}
