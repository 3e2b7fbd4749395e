package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"neutrino/internal/api"
	"neutrino/internal/auth"
	"neutrino/internal/ml2"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// rig is the API over a real Service on a real embedded store, behind a real listener,
// with the built-in identity beside it.
type rig struct {
	t      testing.TB
	url    string
	svc    *neutron.Service
	db     *store.DB
	tokens map[string]string // by user
	ids    map[string]string // project ids by name
}

func quotasOff() map[string]int {
	return map[string]int{"network": -1, "subnet": -1, "port": -1, "subnetpool": -1, "security_group": -1, "security_group_rule": -1}
}

func newRig(t testing.TB, o api.Options) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "neutrino-api")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := ml2.Defaults()
	c.TypeDrivers = []string{"vlan", "flat", "local", "vxlan"}
	c.TenantNetworkTypes = []string{"vlan"}
	c.MechanismDrivers = []string{"openvswitch", "sriovnicswitch"}
	c.VLANRanges, c.VNIRanges, c.FlatNetworks = []string{"default:100:1999"}, []string{"1:1000"}, []string{"*"}
	drivers, err := ml2.New(c)
	if err != nil {
		t.Fatal(err)
	}
	tables := neutron.NewTables()
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(context.Background(), store.Config{DataDir: filepath.Join(dir, "etcd"), Log: log}, tables.All()...)
	if err != nil {
		t.Fatal(err)
	}
	svc := neutron.New(db, tables, drivers, neutron.Options{DefaultQuotas: quotasOff()}, log)
	id, err := auth.NewIdentity(auth.DefaultDirectory(), auth.IdentityOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.Identity = id
	server := httptest.NewServer(api.New(svc, auth.NoAuth{Tokens: id}, o))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
		svc.Close()
		if errClose := db.Close(); errClose != nil {
			t.Error(errClose)
		}
	})
	return &rig{t: t, url: server.URL, svc: svc, db: db, tokens: map[string]string{}, ids: map[string]string{}}
}

// reply is one answer.
type reply struct {
	code   int
	header http.Header
	text   string
	body   map[string]any
}

// call makes one request as user ("" = without a token).
func (r *rig) call(user, method, path string, body any, header ...string) reply {
	r.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			r.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	if !strings.HasPrefix(path, "http") {
		path = r.url + path
	}
	req, err := http.NewRequest(method, path, in)
	if err != nil {
		r.t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if user != "" {
		req.Header.Set("X-Auth-Token", r.token(user))
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	out := reply{code: resp.StatusCode, header: resp.Header, text: string(text)}
	_ = json.Unmarshal(text, &out.body)
	return out
}

// token logs the user of the default directory in.
func (r *rig) token(user string) string {
	if t := r.tokens[user]; t != "" {
		return t
	}
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":"secret","domain":{"id":"default"}}}}}}`, user)
	resp, err := http.Post(r.url+"/identity/v3/auth/tokens", "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusCreated {
		r.t.Fatalf("log %s in: %s", user, resp.Status)
	}
	var reply struct {
		Token struct {
			Project struct{ ID, Name string }
		}
	}
	if err = json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		r.t.Fatal(err)
	}
	r.tokens[user] = resp.Header.Get("X-Subject-Token")
	r.ids[reply.Token.Project.Name] = reply.Token.Project.ID
	return r.tokens[user]
}

// must fails the test unless the answer has the code.
func (r *rig) must(code int, a reply) reply {
	r.t.Helper()
	if a.code != code {
		r.t.Fatalf("got %d, want %d: %s", a.code, code, a.text)
	}
	return a
}

// make creates a resource as user and returns it.
func (r *rig) make(user, collection, single string, attrs map[string]any) map[string]any {
	r.t.Helper()
	a := r.must(http.StatusCreated, r.call(user, "POST", "/v2.0/"+collection, map[string]any{single: attrs}))
	return a.object(single)
}

func (a reply) object(key string) map[string]any {
	m, _ := a.body[key].(map[string]any)
	return m
}

// names of the rows of a list, in order.
func (a reply) names(collection string) string {
	rows, _ := a.body[collection].([]any)
	var names []string
	for _, row := range rows {
		names = append(names, fmt.Sprint(row.(map[string]any)["name"]))
	}
	return strings.Join(names, " ")
}

// fault returns type and message of an error.
func (a reply) fault() (string, string) {
	m := a.object("NeutronError")
	typ, _ := m["type"].(string)
	message, _ := m["message"].(string)
	return typ, message
}

type obj = map[string]any
