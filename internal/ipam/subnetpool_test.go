package ipam

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range strings.Fields(s) {
		out = append(out, cidr(p))
	}
	return out
}

func prefixText(all []netip.Prefix) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}

func pool(t testing.TB, list string) *model.SubnetPool {
	t.Helper()
	p := &model.SubnetPool{Prefixes: prefixes(list)}
	if err := CompleteSubnetPool(p, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCompact(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/16 10.1.0.0/16":                   "10.0.0.0/15",
		"10.1.0.0/16 10.2.0.0/16":                   "10.1.0.0/16 10.2.0.0/16",
		"10.0.0.0/8 10.5.0.0/16":                    "10.0.0.0/8",
		"10.5.6.7/16 10.5.0.0/16":                   "10.5.0.0/16",
		"10.0.0.0/26 10.0.0.64/26 10.0.0.128/25":    "10.0.0.0/24",
		"fd00::/49 fd00:0:0:8000::/49":              "fd00::/48",
		"0.0.0.0/1 128.0.0.0/1":                     "0.0.0.0/0",
		"192.168.0.0/24 10.0.0.0/24 192.168.1.0/24": "10.0.0.0/24 192.168.0.0/23",
		"": "",
	} {
		if got := prefixText(Compact(prefixes(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestCompleteSubnetPool(t *testing.T) {
	p := pool(t, "10.10.0.0/16 10.11.0.0/16")
	if prefixText(p.Prefixes) != "10.10.0.0/15" || p.IPVersion != 4 || p.MinPrefixLen != 8 || p.MaxPrefixLen != 32 || p.DefaultPrefixLen != 8 {
		t.Errorf("%+v", p)
	}
	if p = pool(t, "fd00::/48"); p.IPVersion != 6 || p.MinPrefixLen != 64 || p.MaxPrefixLen != 128 || p.DefaultPrefixLen != 64 {
		t.Errorf("%+v", p)
	}
	const bounds = "IllegalSubnetPoolPrefixBounds"
	all := map[string]bool{"min_prefixlen": true, "max_prefixlen": true, "default_prefixlen": true}
	for _, c := range []struct {
		list         string
		min, max, by int
		typ, message string
	}{
		{"", 8, 32, 24, "EmptySubnetPoolPrefixList", "Empty subnet pool prefix list."},
		{"10.0.0.0/8 fd00::/8", 8, 32, 24, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool."},
		{"10.0.0.0/8", 30, 24, 26, bounds, "Illegal prefix bounds: min_prefixlen=30, max_prefixlen=24."},
		{"10.0.0.0/8", 8, 33, 24, bounds, "Illegal prefix bounds: max_prefixlen=33, ip_version_max=32."},
		{"10.0.0.0/8", 16, 24, 8, bounds, "Illegal prefix bounds: default_prefixlen=8, min_prefixlen=16."},
		{"10.0.0.0/8", 16, 24, 28, bounds, "Illegal prefix bounds: default_prefixlen=28, max_prefixlen=24."},
		{"fd00::/8", 8, 129, 64, bounds, "Illegal prefix bounds: max_prefixlen=129, ip_version_max=128."},
		{"fd00::/8", -1, 128, 64, "UnsupportedMinSubnetPoolPrefix", "Prefix '-1' not supported in IPv6 pool."},
	} {
		p = &model.SubnetPool{Prefixes: prefixes(c.list), MinPrefixLen: c.min, MaxPrefixLen: c.max, DefaultPrefixLen: c.by}
		wantFault(t, CompleteSubnetPool(p, all), 400, c.typ, c.message)
	}
	p = &model.SubnetPool{Prefixes: make([]netip.Prefix, 1)}
	if err := CompleteSubnetPool(p, nil); !fault.HasType(err, "InvalidInput") {
		t.Errorf("a prefix that is none: %v", err)
	}
}

func TestUpdateSubnetPool(t *testing.T) {
	old := pool(t, "10.10.0.0/16")
	given := map[string]bool{"prefixes": true}
	changed := old.Clone()
	changed.Prefixes = prefixes("10.10.0.0/16 10.11.0.0/16")
	if err := UpdateSubnetPool(old, changed, given); err != nil || prefixText(changed.Prefixes) != "10.10.0.0/15" {
		t.Errorf("%s %v", prefixText(changed.Prefixes), err)
	}
	for list, message := range map[string]string{
		"10.10.0.0/17":   "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.",
		"192.168.0.0/16": "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.",
		"":               "Illegal update to prefixes: Existing prefixes must be a subset of the new prefixes.",
	} {
		changed.Prefixes = prefixes(list)
		wantFault(t, UpdateSubnetPool(old, changed, given), 400, "IllegalSubnetPoolPrefixUpdate", message)
	}
	changed.Prefixes = prefixes("10.0.0.0/8 fd00::/8")
	wantFault(t, UpdateSubnetPool(old, changed, given), 400, "PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool.")
	changed = old.Clone()
	changed.MinPrefixLen = 12
	wantFault(t, UpdateSubnetPool(old, changed, map[string]bool{"min_prefixlen": true}), 400, "IllegalSubnetPoolPrefixBounds",
		"Illegal prefix bounds: default_prefixlen=8, min_prefixlen=12.")
}

func TestCutPrefix(t *testing.T) {
	p := pool(t, "10.0.0.0/22 10.9.0.0/24")
	for _, c := range []struct {
		used string
		bits int
		want string
	}{
		{"", 24, "10.0.0.0/24"},
		{"10.0.0.0/24", 24, "10.0.1.0/24"},
		{"10.0.1.0/24 10.0.0.0/26", 24, "10.0.2.0/24"},
		{"10.0.0.0/26", 26, "10.0.0.64/26"},
		{"10.0.0.64/26", 26, "10.0.0.0/26"},
		{"10.0.0.0/26 10.0.0.128/32", 25, "10.0.1.0/25"},
		{"10.0.0.0/22", 24, "10.9.0.0/24"},
		{"10.0.0.0/23 10.0.3.0/24", 24, "10.0.2.0/24"},
		{"10.0.0.0/22", 25, "10.9.0.0/25"},
		{"10.0.0.0/22 10.0.0.0/24 10.9.0.0/32", 32, "10.9.0.1/32"},
		{"9.0.0.0/8 11.0.0.0/8", 22, "10.0.0.0/22"},
	} {
		got, err := CutPrefix(p, c.bits, prefixes(c.used))
		if err != nil || got.String() != c.want {
			t.Errorf("/%d beside %q: %s %v, want %s", c.bits, c.used, got, err, c.want)
		}
	}
	_, err := CutPrefix(p, 21, nil)
	wantFault(t, err, 409, "SubnetAllocationError", "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /21.")
	_, err = CutPrefix(p, 24, prefixes("10.0.0.0/22 10.9.0.7/32"))
	wantFault(t, err, 409, "SubnetAllocationError", "Failed to allocate subnet: Insufficient prefix space to allocate subnet size /24.")
	if got, err := CutPrefix(pool(t, "255.255.255.0/24"), 25, prefixes("255.255.255.0/25")); err != nil || got.String() != "255.255.255.128/25" {
		t.Errorf("at the end of the world: %s %v", got, err)
	}
}

func TestPoolPrefixLen(t *testing.T) {
	p := pool(t, "10.0.0.0/8")
	p.MinPrefixLen, p.DefaultPrefixLen, p.MaxPrefixLen = 16, 24, 28
	if n, err := PoolPrefixLen(p, 0, false); n != 24 || err != nil {
		t.Errorf("default %d %v", n, err)
	}
	if n, err := PoolPrefixLen(p, 20, true); n != 20 || err != nil {
		t.Errorf("20: %d %v", n, err)
	}
	_, err := PoolPrefixLen(p, 29, true)
	wantFault(t, err, 400, "MaxPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length 29, maximum allowed prefix is 28.")
	_, err = PoolPrefixLen(p, 0, true)
	wantFault(t, err, 400, "MinPrefixSubnetAllocationError", "Unable to allocate subnet with prefix length 0, minimum allowed prefix is 16.")
	wantFault(t, ClaimPrefix(p, cidr("10.0.0.0/29"), nil), 400, "MaxPrefixSubnetAllocationError",
		"Unable to allocate subnet with prefix length 29, maximum allowed prefix is 28.")
	if err = ClaimPrefix(p, cidr("10.3.0.0/24"), prefixes("10.3.1.0/24")); err != nil {
		t.Error(err)
	}
	for want, used := range map[string]string{"11.0.0.0/24": "", "10.3.0.0/24": "10.3.0.0/28", "10.3.1.0/24": "10.3.0.0/16"} {
		wantFault(t, ClaimPrefix(p, cidr(want), prefixes(used)), 409, "SubnetAllocationError",
			"Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes.")
	}
	wantFault(t, CheckPoolVersion(p, 6), 400, "BadRequest", "Bad subnets request: Cannot allocate IPv6 subnet from IPv4 subnet pool.")
	if CheckPoolVersion(p, 4) != nil || CheckPoolVersion(p, 0) != nil {
		t.Error("the pool's own family")
	}
}

func TestCheckPoolQuota(t *testing.T) {
	v4, v6 := pool(t, "10.0.0.0/8"), pool(t, "fd00::/8")
	quota := func(p *model.SubnetPool, n int) *model.SubnetPool { p.DefaultQuota = &n; return p }
	for _, c := range []struct {
		pool *model.SubnetPool
		n    int
		have string
		bits int
		ok   bool
	}{
		{v4, 512, "10.0.0.0/24", 24, true},
		{v4, 511, "10.0.0.0/24", 24, false},
		{v4, 0, "10.0.0.0/8", 8, true},
		{v6, 2, "fd00::/64", 64, true},
		{v6, 2, "fd00::/64", 63, false},
		{v6, 1, "fd00::/65", 65, true},
		{v6, 1, "fd00::/64", 128, false},
	} {
		err := CheckPoolQuota(quota(c.pool, c.n), prefixes(c.have), c.bits)
		if c.ok != (err == nil) {
			t.Errorf("quota %d, have %s, want /%d: %v", c.n, c.have, c.bits, err)
		}
		if err != nil {
			wantFault(t, err, 409, "SubnetPoolQuotaExceeded", "Per-tenant subnet pool prefix quota exceeded.")
		}
	}
	v4.DefaultQuota = nil
	if err := CheckPoolQuota(v4, nil, 1); err != nil {
		t.Error(err)
	}
}

// Cuts and releases in any order: a cut is inside the pool, overlaps nothing, is the
// lowest such place, and fails only when there is none.
func TestCutPrefixProperty(t *testing.T) {
	p := pool(t, "10.0.0.0/27 10.0.0.64/28 10.1.0.0/29")
	rapid.Check(t, func(t *rapid.T) {
		var used []netip.Prefix
		t.Repeat(map[string]func(*rapid.T){
			"cut": func(t *rapid.T) {
				bits := rapid.IntRange(27, 32).Draw(t, "bits")
				want, ok := bruteCut(p, bits, used)
				got, err := CutPrefix(p, bits, used)
				if ok != (err == nil) || ok && got != want {
					t.Fatalf("/%d beside %s: %s %v, want %s", bits, prefixText(used), got, err, want)
				}
				if ok {
					used = append(used, got)
				}
			},
			"release": func(t *rapid.T) {
				if len(used) > 0 {
					i := rapid.IntRange(0, len(used)-1).Draw(t, "which")
					used = slices.Delete(used, i, i+1)
				}
			},
		})
	})
}

func bruteCut(p *model.SubnetPool, bits int, used []netip.Prefix) (netip.Prefix, bool) {
	for _, space := range p.Prefixes {
		for a := space.Addr(); space.Contains(a); a = a.Next() {
			q := netip.PrefixFrom(a, bits)
			if q.Masked() == q && covers(space, q) && !slices.ContainsFunc(used, q.Overlaps) {
				return q, true
			}
		}
	}
	return netip.Prefix{}, false
}
