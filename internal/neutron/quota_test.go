package neutron_test

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

func TestQuota(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: map[string]int{"network": 3}})
	_, err := r.s.SetQuota(ctx, admin, "p1", map[string]int{"network": 2, "bogus": 1})
	wantFault(t, err, "QuotaResourceUnknown", 404, "Unknown quota resources ['bogus'].")
	wantFault(t, r.s.DeleteQuota(ctx, admin, "p1"), "TenantQuotaNotFound", 404, "Quota for tenant p1 could not be found.")
	limits := must[map[string]int](t)(r.s.SetQuota(ctx, admin, "p1", map[string]int{"network": 2}))
	if limits["network"] != 2 || limits["port"] != 500 {
		t.Errorf("limits %v", limits)
	}
	d := draft(network("p1"))
	_, err = r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{d, d, d})
	wantFault(t, err, "OverQuota", 409, "Quota exceeded for resources: ['network'].")
	if n := r.tab.Networks.Len(r.db.Snapshot()); n != 0 {
		t.Errorf("%d networks of a bulk create over quota", n)
	}
	n := r.network("p1")
	r.network("p1")
	_, err = r.s.CreateNetworks(ctx, admin, []neutron.Draft[model.Network]{d})
	wantFault(t, err, "OverQuota", 409, "")
	if got := r.s.QuotaDetails(r.db.Snapshot(), "p1")["network"]; got != (neutron.QuotaDetail{Limit: 2, Used: 2}) {
		t.Errorf("details %+v", got)
	}
	if err = r.s.DeleteNetwork(ctx, admin, n.ID, nil); err != nil {
		t.Fatal(err)
	}
	r.network("p1")
	if err = r.s.DeleteQuota(ctx, admin, "p1"); err != nil {
		t.Fatal(err)
	}
	if got := r.s.QuotaFor(r.db.Snapshot(), "p1")["network"]; got != 3 {
		t.Errorf("limit %d after the quota was deleted", got)
	}
}

// However many ask at the same time, exactly the limit is made.
func TestQuotaIsExact(t *testing.T) {
	r := newRig(t, neutron.Options{DefaultQuotas: map[string]int{"port": 20}})
	n := r.network("p1")
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				_, err := r.s.CreatePorts(ctx, admin, []neutron.Draft[model.Port]{draft(port(n))})
				switch {
				case err == nil:
					made.Add(1)
				case fault.HasType(err, "OverQuota"):
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if made.Load() != 20 || refused.Load() != 20 || r.tab.Ports.Len(r.db.Snapshot()) != 20 {
		t.Errorf("%d made, %d refused of 40 with a limit of 20", made.Load(), refused.Load())
	}
	if got := r.s.QuotaDetails(r.db.Snapshot(), "p1")["port"]; got != (neutron.QuotaDetail{Limit: 20, Used: 20}) {
		t.Errorf("details %+v", got)
	}
}

func TestTags(t *testing.T) {
	r := newRig(t, neutron.Options{})
	n := r.network("p1")
	g := r.addGroup("p1", "web", true)
	add := func(tag string) func([]string) []string {
		return func(tags []string) []string { return append(tags, tag) }
	}
	must[[]string](t)(r.s.SetTags(ctx, admin, "networks", n.ID, add("red")))
	tags := must[[]string](t)(r.s.SetTags(ctx, admin, "networks", n.ID, add("blue")))
	if !slices.Equal(tags, []string{"red", "blue"}) || r.getNetwork(n.ID).Revision != 3 {
		t.Errorf("tags %v, revision %d", tags, r.getNetwork(n.ID).Revision)
	}
	must[[]string](t)(r.s.SetTags(ctx, admin, "networks", n.ID, add("red")))
	if r.getNetwork(n.ID).Revision != 3 {
		t.Error("a tag that is there already changed the revision")
	}
	must[[]string](t)(r.s.SetTags(ctx, admin, "security-groups", g.ID, add("x")))
	_, err := r.s.SetTags(ctx, admin, "networks", "nope", add("x"))
	wantFault(t, err, "TagResourceNotFound", 404, "Resource network nope could not be found.")
}
