package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"neutrino/internal/lab"
)

// running is a lab that the tests of this package share.
type running struct {
	Endpoint string
	Identity string
	names    lab.Names
}

var (
	once   sync.Once
	shared *running
	failed error
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		if err := lab.Down(ctx, shared.names, lab.Progress{}); err != nil {
			fmt.Fprintln(os.Stderr, "take the lab down:", err)
			code = 1
		}
		cancel()
	}
	os.Exit(code)
}

// startLab brings the shared lab up with the real binary, built as it is delivered.
func startLab(t *testing.T) *running {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root is needed: network namespaces and eBPF")
	}
	once.Do(func() { shared, failed = bringUp(t.Context()) })
	if failed != nil {
		t.Fatal(failed)
	}
	return shared
}

func bringUp(ctx context.Context) (*running, error) {
	dir, err := os.MkdirTemp("", "neutrino-clients-")
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "neutrino")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "neutrino/cmd/neutrino")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, buildErr := build.CombinedOutput(); buildErr != nil {
		return nil, fmt.Errorf("build neutrino: %w\n%s", buildErr, out)
	}
	names, err := lab.NewNames(fmt.Sprintf("cl%d", os.Getpid()), "")
	if err != nil {
		return nil, err
	}
	state, err := lab.Up(context.WithoutCancel(ctx), lab.Options{Names: names, Binary: binary, Identity: true, VFs: 8})
	if err != nil {
		return nil, err
	}
	return &running{Endpoint: state.API, Identity: state.API + "/identity/v3", names: names}, nil
}

// host is the name by which the API knows a host of the lab.
func (r *running) host(name string) string { return name }

// freeVF is the PCI slot of a VF that no port has yet, as Nova's scheduler would choose
// one: the last of the host's eight.
func (r *running) freeVF(t *testing.T, host string) string {
	t.Helper()
	slots := map[string]string{"compute1": "fffe:00:00.7", "compute2": "fffe:01:00.7"}
	return slots[host]
}

// externalNetwork makes the network that gophercloud's suite wants to find, once.
func (r *running) externalNetwork(t *testing.T) string {
	t.Helper()
	net := r.post(t, "networks", map[string]any{"network": map[string]any{"name": "public", "router:external": true}})["network"]
	id := fmt.Sprint(net.(map[string]any)["id"])
	r.post(t, "subnets", map[string]any{"subnet": map[string]any{"network_id": id, "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false}})
	return id
}

func (r *running) post(t *testing.T, collection string, body any) (answer map[string]any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.Endpoint+"/v2.0/"+collection, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("POST %s: %s %s (%v)", collection, resp.Status, text, err)
	}
	if err = json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	return answer
}
