package api

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
)

// FuzzBody: whatever is sent, it is refused with a fault of the client's or understood;
// what is understood and accepted can be written again.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"port":{"network_id":"00000000-0000-0000-0000-000000000001","fixed_ips":[{"ip_address":"10.0.0.1"}],"extra_dhcp_opts":[{"opt_name":"mtu","opt_value":null}]}}`,
		`{"ports":[{"network_id":1,"allowed_address_pairs":[{"ip_address":"10.0.0.0/8","mac_address":"x"}]},{"port":{}}]}`,
		`{"subnet":{"network_id":"00000000-0000-0000-0000-000000000001","ip_version":"4","cidr":"10.0.0.1/24","allocation_pools":[{"start":"10.0.0.2","end":"::1"}],"host_routes":[{"destination":"0.0.0.0/0","nexthop":"10.0.0.1"}]}}`,
		`{"network":{"segments":[{"provider:network_type":"vlan","provider:segmentation_id":"7"}],"mtu":1e3,"tags":["a"]}}`,
		`{"security_group_rule":{"security_group_id":"x","direction":"ingress","protocol":6,"port_range_min":"-1","remote_ip_prefix":"::/0"}}`,
		`{"subnetpool":{"name":" ","prefixes":["10.0.0.0/8","::/0"],"default_quota":null}}`,
		`{"port":{"binding:profile":{"a":[1,1.5,1e400,{"b":null}]},"binding:host_id":null}}`, `{"a":{"a":1},"a":2}`, `[[[[`, "\"\xff\"", ``, `{"network":{}} x`,
		`{"router":{"external_gateway_info":{"network_id":"00000000-0000-0000-0000-000000000001","enable_snat":"1","external_fixed_ips":[{"ip_address":"10.0.0.1"}]},"ha":null,"routes":[{"destination":"0.0.0.0/0","nexthop":"10.0.0.1"}]}}`,
		`{"floatingip":{"floating_network_id":"00000000-0000-0000-0000-000000000001","port_id":null,"fixed_ip_address":"10.0.0.1","floating_ip_address":"::1","subnet_id":null}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(`{"network":{"project_id":[],"tenant_id":[]}}`))
	resources := []func(*testing.T, []byte){
		fuzzed(networks()), fuzzed(subnets()), fuzzed(ports()), fuzzed(subnetPools()), fuzzed(securityGroups()),
		fuzzed(securityGroupRules()), fuzzed(addressGroups()), fuzzed(agents()), fuzzed(routers()), fuzzed(floatingIPs()),
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, do := range resources {
			do(t, text)
		}
	})
}

func fuzzed[T any](r resource[T]) func(*testing.T, []byte) {
	c := newCollection(r)
	return func(t *testing.T, text []byte) { fuzzResource(t, c, text) }
}

func fuzzResource[T any](t *testing.T, c *collection[T], text []byte) {
	clients := func(err error) {
		if fa := fault.As(err); fa == nil || fa.Status < 400 || fa.Status > 499 {
			t.Fatalf("%s: %v is not the client's fault", c.Plural, err)
		}
	}
	body, err := parseObject(text)
	if err != nil {
		clients(err)
		return
	}
	items, _, err := unwrap(body, c.Single, c.Plural, true)
	if err != nil {
		clients(err)
		return
	}
	who := newCaller(model.Actor{ProjectID: "p", Roles: []string{"member"}})
	for _, item := range items {
		if err = c.ownProject(&who, item); err == nil {
			err = c.known(item)
		}
		if err != nil {
			clients(err)
			continue
		}
		sent, errParse := c.parse(onlyWritable(c, item))
		if errParse != nil {
			clients(errParse)
			continue
		}
		row := new(T)
		for i := range c.Attrs {
			if x, ok := sent[c.Attrs[i].Name]; ok && !c.Attrs[i].Extra {
				c.Attrs[i].Set(row, x)
				checkJSON(t, c.Attrs[i].Name, c.Attrs[i].Get, row)
			}
		}
		if c.Changed != nil {
			c.Changed(&neutron.Change[T]{Extra: map[string]any{}}, sent)
		}
	}
}

func onlyWritable[T any](c *collection[T], item map[string]any) map[string]any {
	out := map[string]any{}
	for name, x := range item {
		if c.byName[name].Use&(inPost|inPut) != 0 {
			out[name] = x
		}
	}
	return out
}

// checkJSON writes one attribute of a row that has nothing but itself.
func checkJSON[T any](t *testing.T, name string, get func(*view, *T) value, row *T) {
	if get == nil {
		return
	}
	x := get(nil, row)
	if x.kind == kindAbsent {
		return
	}
	if b := x.appendTo(nil); !json.Valid(b) || !utf8.Valid(b) {
		t.Fatalf("%s is written as %q", name, b)
	}
}

// FuzzQuery: filters, sorting and paging of any query are refused or understood, and the
// filter can be asked about an empty row.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"name=a&name=b&limit=5&marker=x&sort_key=name&sort_dir=asc", "fixed_ips=ip_address%3D10.0.0.1&fixed_ips=subnet_id=x",
		"tags=a,b&not-tags-any=c", "admin_state_up=maybe", "mac_address=FA-16-3E-00-00-00&device_id=", "limit=-1", "a;b", "%zz", "tenant_id=a&project_id=b",
		"fields=id&fields=&page_reverse=True", "security_groups=&revision_number=9999999999999999999",
	} {
		f.Add(seed)
	}
	c := newCollection(ports())
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		if _, err = c.readPage(q, 0); err != nil && fault.As(err) == nil {
			t.Fatalf("page: %v", err)
		}
		who := newCaller(model.Actor{ProjectID: "p"})
		v := &view{who: &who}
		match, err := c.readFilters(v, q)
		if err != nil {
			if fa := fault.As(err); fa == nil || fa.Status != 400 {
				t.Fatalf("filters: %v", err)
			}
			return
		}
		match(&model.Port{})
		_ = subnetsOfFilter(q["fixed_ips"])
		_ = c.columnsFor(&who, fieldsOf(q))
	})
}

// FuzzIfMatch: a header is ignored, refused, or a number.
func FuzzIfMatch(f *testing.F) {
	for _, seed := range []string{"revision_number=5", `"revision_number=5"`, `W/"x", revision_number=7`, "revision_number=", "revision_number=-0x1", ","} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		n, err := parseIfMatch(header)
		if (n != nil || err != nil) && !strings.Contains(header, "revision_number=") {
			t.Fatalf("%q is taken for a revision", header)
		}
		if err != nil && fault.As(err).Status != 400 {
			t.Fatalf("%q: %v", header, err)
		}
	})
}

// FuzzText: strings are written as JSON that reads back as the same text.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "a", "\"\\\n\t\x00\x7f", "é\u2028", "\xff\xfe", "a\xc3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var back string
		if err := json.Unmarshal(appendText(nil, s), &back); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Fatalf("%q reads back as %q", s, back)
		}
	})
}

// FuzzPath: any path is taken apart or not found.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"networks", "networks/x.json/", "networks/x/tags/a%2Fb.json", "//", "%", "a/%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := split(path)
		if err == nil && len(segments) == 0 {
			t.Fatalf("%q is no segments", path)
		}
	})
}
