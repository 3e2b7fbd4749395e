package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// object is one of the API, as JSON has it.
type object = map[string]any

// api is a plain client of the Networking API that keeps its connection.
type api struct {
	base   string
	client *http.Client
}

// call does one request and returns status and body.
func (a *api) call(b *testing.B, method, path string, body any) (int, []byte, error) {
	b.Helper()
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			b.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.Context(), method, a.base+"/v2.0/"+path, in)
	if err != nil {
		b.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// must does a request that has to succeed; into gets the answer unless it is nil.
func (a *api) must(b *testing.B, method, path string, body, into any) {
	b.Helper()
	status, text, err := a.call(b, method, path, body)
	if err != nil || status/100 != 2 {
		b.Fatalf("%s %s: %d %s (%v)", method, path, status, text, err)
	}
	if into != nil {
		if err = json.Unmarshal(text, into); err != nil {
			b.Fatalf("%s %s: %v", method, path, err)
		}
	}
}

// make creates one object and returns it.
func (a *api) make(b *testing.B, collection, name string, body object) object {
	b.Helper()
	var answer map[string]object
	a.must(b, http.MethodPost, collection, object{name: body}, &answer)
	return answer[name]
}

func (a *api) answers(b *testing.B) bool {
	b.Helper()
	status, _, err := a.call(b, http.MethodGet, "networks?limit=1", nil)
	return err == nil && status == http.StatusOK
}

// manyPorts is how many ports a large site has here.
const manyPorts = 10_000

// fill makes the ports of a large site: an address, a device, tags and a profile each.
func (a *api) fill(b *testing.B) {
	b.Helper()
	network := a.make(b, "networks", "network", object{"name": "big"})["id"]
	a.make(b, "subnets", "subnet", object{"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"})
	const bulk = 20
	for i := 0; i < manyPorts; i += bulk {
		var ports []object
		for k := range bulk {
			ports = append(ports, object{
				"name": fmt.Sprintf("port-%d", i+k), "network_id": network, "device_id": fmt.Sprintf("vm-%d", i+k),
				"device_owner": "compute:nova", "binding:vnic_type": "direct",
				"binding:profile": object{"pci_slot": fmt.Sprintf("0000:03:%02x.%d", k, i%8)}, "tags": []string{"bench"},
			})
		}
		a.must(b, http.MethodPost, "ports", object{"ports": ports}, nil)
	}
}

// get reads a list to its end and fails unless it has as many bytes as least.
func (a *api) get(b *testing.B, path string, least int) {
	b.Helper()
	status, text, err := a.call(b, http.MethodGet, path, nil)
	if err != nil || status != http.StatusOK || len(text) < least {
		b.Fatalf("GET %s: %d, %d bytes (%v)", path, status, len(text), err)
	}
}

// times are durations of which quantiles are reported.
type times []time.Duration

// report gives the median, the 99th percentile and the longest, in milliseconds.
func (t times) report(b *testing.B, what string) {
	slices.Sort(t)
	ms := func(q int) float64 { return float64(t[min(len(t)*q/100, len(t)-1)].Microseconds()) / 1000 }
	b.ReportMetric(ms(50), what+"p50-ms")
	b.ReportMetric(ms(99), what+"p99-ms")
	b.ReportMetric(ms(100), what+"max-ms")
}
