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
	api, v2 := lab.NewAPI(s.API), s.API+"/v2.0/"
	external := call(ctx, t, "POST", v2+"networks", object{"network": object{"name": "public", "router:external": true}})
	call(ctx, t, "POST", v2+"subnets", object{"subnet": object{
		"network_id": external["id"], "ip_version": 4, "cidr": "203.0.113.0/24", "gateway_ip": "203.0.113.1",
	}})
	router := call(ctx, t, "POST", v2+"routers", object{"router": object{
		"name": "r1", "external_gateway_info": object{"network_id": external["id"]},
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
		call(ctx, t, "PUT", fmt.Sprintf("%srouters/%s/add_router_interface", v2, router["id"]), object{"subnet_id": subnet})
	}
	boot := func(name, host, network string) *lab.Instance {
		t.Helper()
		in, err := lab.Boot(ctx, n, lab.BootOptions{Name: name, Host: host, Network: network})
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	red, blue := boot("red1", "compute1", "red"), boot("blue1", "compute2", "blue")
	out := boot("outside", "compute2", "public")
	address := func(in *lab.Instance) string { a, _, _ := strings.Cut(in.Address, "/"); return a }
	reaches(t, n, red.Name, address(blue))
	reaches(t, n, red.Name, address(out))
	fip := call(ctx, t, "POST", v2+"floatingips", object{"floatingip": object{
		"floating_network_id": external["id"], "port_id": red.PortID,
	}})
	reaches(t, n, out.Name, fip["floating_ip_address"].(string))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		now := call(ctx, t, "GET", v2+"floatingips/"+fip["id"].(string), nil)
		if now["status"] == "ACTIVE" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the floating IP is %v; the router: %v", now["status"], call(ctx, t, "GET", v2+"routers/"+router["id"].(string), nil))
		}
	}
}
