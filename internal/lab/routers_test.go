package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"neutrino/internal/lab"
	"neutrino/internal/netspace"
)

// call asks the Networking API, as an administrator, and returns the one resource that the
// answer holds.
func call(ctx context.Context, t *testing.T, method, url string, body any) map[string]any {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	var out map[string]map[string]any
	if json.Unmarshal(text, &out) == nil {
		for _, v := range out {
			return v
		}
	}
	return nil
}

type object = map[string]any

// reaches pings from an instance until there is an answer.
func reaches(t *testing.T, n lab.Names, from, to string) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; {
		var out []byte
		err := netspace.Do(n.Namespace(from), func() (err error) {
			out, err = exec.CommandContext(t.Context(), "ping", "-c", "1", "-W", "1", to).CombinedOutput()
			return err
		})
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not reach %s: %v\n%s", from, to, err, out)
		}
	}
}

// callList gets a list.
func callList(ctx context.Context, t *testing.T, url, key string) (out []object) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body map[string][]object
	if err = json.NewDecoder(resp.Body).Decode(&body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return body[key]
}

// site is instances on two subnets of a router, on two computes, and one outside of it.
type site struct {
	t              *testing.T
	v2             string
	router         object
	external       object
	red, blue, out *lab.Instance
}

func address(in *lab.Instance) string { a, _, _ := strings.Cut(in.Address, "/"); return a }

func newSite(t *testing.T, n lab.Names, s *lab.State) *site {
	t.Helper()
	ctx := t.Context()
	api, v2 := lab.NewAPI(s.API), s.API+"/v2.0/"
	x := &site{t: t, v2: v2}
	x.external = call(ctx, t, "POST", v2+"networks", object{"network": object{"name": "public", "router:external": true}})
	call(ctx, t, "POST", v2+"subnets", object{"subnet": object{
		"network_id": x.external["id"], "ip_version": 4, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1",
	}})
	x.router = call(ctx, t, "POST", v2+"routers", object{"router": object{
		"name": "r1", "external_gateway_info": object{"network_id": x.external["id"]},
	}})
	for i, name := range []string{"red", "blue"} {
		net, err := api.CreateNetwork(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		base := netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 0})
		from, to := netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 50}), netip.AddrFrom4([4]byte{10, 0, byte(i + 1), 99})
		if err := api.CreateSubnet(ctx, net, netip.PrefixFrom(base, 24), from, to); err != nil {
			t.Fatal(err)
		}
		subnet := call(ctx, t, "GET", v2+"networks/"+net.ID, nil)["subnets"].([]any)[0]
		call(ctx, t, "PUT", fmt.Sprintf("%srouters/%s/add_router_interface", v2, x.router["id"]), object{"subnet_id": subnet})
	}
	boot := func(name, host, network string) *lab.Instance {
		t.Helper()
		in, err := lab.Boot(ctx, n, lab.BootOptions{Name: name, Host: host, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	x.red, x.blue, x.out = boot("red1", "compute1", "red"), boot("blue1", "compute2", "blue"), boot("outside", "compute2", "public")
	return x
}

// float gives an instance a floating IP.
func (x *site) float(in *lab.Instance) object {
	x.t.Helper()
	return call(x.t.Context(), x.t, "POST", x.v2+"floatingips", object{"floatingip": object{
		"floating_network_id": x.external["id"], "port_id": in.PortID,
	}})
}

// TestRouterOfALab leads instances on VFs of two computes through the network node: to
// another subnet, to a machine outside, and back in by a floating IP.
func TestRouterOfALab(t *testing.T) {
	if _, err := exec.LookPath("ping"); err != nil {
		t.Skip("ping is not installed (apt install iputils-ping)")
	}
	n := newNames(t)
	ctx := t.Context()
	s, err := lab.Up(ctx, lab.Options{Names: n, Routers: true, Progress: progress(t)})
	if err != nil {
		t.Fatal(err)
	}
	x := newSite(t, n, s)
	reaches(t, n, x.red.Name, address(x.blue))
	reaches(t, n, x.red.Name, address(x.out))
	fip := x.float(x.red)
	reaches(t, n, x.out.Name, fip["floating_ip_address"].(string))
	eventually(t, "the floating IP is ACTIVE", 30*time.Second, func() bool {
		return call(ctx, t, "GET", x.v2+"floatingips/"+fip["id"].(string), nil)["status"] == "ACTIVE"
	})
}
