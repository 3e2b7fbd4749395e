package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"
)

// object is one of the API, as JSON has it.
type object = map[string]any

// api is the Networking API as plain HTTP: what is under test is the server, and no
// client's retries are to hide it.
type api struct {
	base   string
	client *http.Client
}

// reply is what came of one request. err is of the connection: whether the request was
// carried out is not known then.
type reply struct {
	status int
	header http.Header
	text   []byte
	err    error
}

func (a *api) do(ctx context.Context, method, path string, body any) reply {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return reply{err: err}
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, in)
	if err != nil {
		return reply{err: err}
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, text: text, err: err}
}

// unknown says that nobody knows whether the request was carried out.
func (r reply) unknown() bool { return r.err != nil || r.status >= 500 }

func (r reply) String() string { return fmt.Sprintf("%d %s (%v)", r.status, r.text, r.err) }

// object decodes the answer's object of that name.
func (r reply) object(name string) object {
	var out map[string]object
	if json.Unmarshal(r.text, &out) != nil {
		return nil
	}
	return out[name]
}

// must does a request that has to succeed and returns the object of that name.
func (a *api) must(t *testing.T, method, path, name string, body object) object {
	t.Helper()
	var in any
	if body != nil {
		in = map[string]any{name: body}
	}
	r := a.do(t.Context(), method, path, in)
	if r.err != nil || r.status/100 != 2 {
		t.Fatalf("%s %s: %v", method, path, r)
	}
	return r.object(name)
}

// list returns all objects of a collection, by id.
func (a *api) list(t *testing.T, collection string) map[string]object {
	t.Helper()
	r := a.do(t.Context(), http.MethodGet, "/v2.0/"+collection, nil)
	var rows map[string][]object
	if r.err != nil || r.status != http.StatusOK || json.Unmarshal(r.text, &rows) != nil {
		t.Fatalf("list %s: %v", collection, r)
	}
	out := map[string]object{}
	for _, o := range rows[collection] {
		out[str(o["id"])] = o
	}
	return out
}

// untilActive waits for a port.
func (a *api) untilActive(t *testing.T, id string, within time.Duration) object {
	t.Helper()
	var p object
	deadline := time.Now().Add(within)
	for {
		p = a.must(t, http.MethodGet, "/v2.0/ports/"+id, "port", nil)
		if p["status"] == "ACTIVE" {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("port %s is not ACTIVE within %s: %v", id, within, p)
		}
	}
}

func str(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return fmt.Sprint(v)
}

// addressOf is a port's first fixed IP.
func addressOf(p object) string {
	ips, ok := p["fixed_ips"].([]any)
	if !ok || len(ips) == 0 {
		return ""
	}
	ip, ok := ips[0].(map[string]any)
	if !ok {
		return ""
	}
	return str(ip["ip_address"])
}

func detail(p object, name string) string {
	d, ok := p["binding:vif_details"].(map[string]any)
	if !ok || d[name] == nil {
		return ""
	}
	return str(d[name])
}
