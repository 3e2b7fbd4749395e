package api_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"neutrino/internal/api"
)

// tenThousandPorts fills a rig as a site would: bound-looking ports with an address, a
// device, tags and a profile each.
func tenThousandPorts(b *testing.B) (r *rig, network string) {
	b.Helper()
	r = newRig(b, api.Options{})
	network = r.make("", "networks", "network", obj{"name": "big"})["id"].(string)
	r.make("", "subnets", "subnet", obj{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"})
	const bulk = 20 // a store's transaction has room for so many
	for i := 0; i < 10_000; i += bulk {
		var ports []obj
		for k := range bulk {
			ports = append(ports, obj{
				"name": fmt.Sprintf("port-%d", i+k), "network_id": network, "device_id": fmt.Sprintf("vm-%d", i+k),
				"device_owner": "compute:nova", "binding:vnic_type": "direct",
				"binding:profile": obj{"pci_slot": fmt.Sprintf("0000:03:%02x.%d", k, i%8)}, "tags": []string{"bench"},
			})
		}
		r.must(http.StatusCreated, r.call("", "POST", "/v2.0/ports", obj{"ports": ports}))
	}
	return r, network
}

// get reads one answer to its end and returns its size in bytes.
func (r *rig) get(b *testing.B, path string) int64 {
	resp, err := http.Get(r.url + path)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("GET %s: %s %v", path, resp.Status, err)
	}
	return n
}

// BenchmarkList: the whole list and filtered ones, over HTTP on loopback.
func BenchmarkList(b *testing.B) {
	r, network := tenThousandPorts(b)
	r.token("demo")
	for _, c := range []struct{ name, path string }{
		{"10000Ports", "/v2.0/ports"},
		{"ByNetwork", "/v2.0/ports?network_id=" + network},
		{"SortedByName", "/v2.0/ports?sort_key=name&sort_dir=desc"},
		{"ByDevice", "/v2.0/ports?device_id=vm-4711"},
		{"ByMissingDevice", "/v2.0/ports?device_id=none"},
		{"ByName", "/v2.0/ports?name=port-4711"},
		{"Page100", "/v2.0/ports?limit=100"},
		{"Fields", "/v2.0/ports?fields=id&fields=name"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.SetBytes(r.get(b, c.path))
			}
		})
	}
}
