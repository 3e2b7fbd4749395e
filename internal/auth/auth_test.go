package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by hand.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(1_700_000_000)
	return c
}

func (c *clock) Now() time.Time      { return time.Unix(c.at.Load(), 0).UTC() }
func (c *clock) Add(d time.Duration) { c.at.Add(int64(d / time.Second)) }

func newIdentity(t *testing.T, c *clock) *Identity {
	t.Helper()
	id, err := NewIdentity(DefaultDirectory(), IdentityOptions{Clock: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// ask calls the identity without a network.
func ask(id http.Handler, method, path, body string, header ...string) (*httptest.ResponseRecorder, map[string]any) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	id.ServeHTTP(w, r)
	var reply map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &reply)
	return w, reply
}

func passwordBody(user, password, scope string) string {
	return fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":%q,"password":%q,"domain":{"name":"Default"}}}}%s}}`, user, password, scope)
}

func login(t *testing.T, id http.Handler, user string) string {
	t.Helper()
	w, _ := ask(id, "POST", "/identity/v3/auth/tokens", passwordBody(user, "secret", ""))
	if w.Code != http.StatusCreated {
		t.Fatalf("log %s in: %d %s", user, w.Code, w.Body)
	}
	return w.Header().Get("X-Subject-Token")
}

func withToken(t string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v2.0/networks", nil)
	if t != "" {
		r.Header.Set("X-Auth-Token", t)
	}
	return r
}

func TestNoAuthIsAdmin(t *testing.T) {
	r := withToken("anything")
	r.Header.Set("X-Roles", "reader")
	r.Header.Set("X-User-Id", "root")
	who, err := NoAuth{}.Authenticate(r)
	if err != nil || !who.Admin || who.ProjectID != FakeProject || who.UserID == "root" {
		t.Errorf("%+v, %v", who, err)
	}
	r.Header.Set("X-Project-Id", "p1")
	if who, err = (NoAuth{}).Authenticate(r); err != nil || !who.Admin || who.ProjectID != "p1" {
		t.Errorf("with a project: %+v, %v", who, err)
	}
}

func TestNoAuthBesideIdentity(t *testing.T) {
	id := newIdentity(t, newClock())
	n := NoAuth{Tokens: id}
	for _, absent := range []string{"", "notused"} {
		if who, err := n.Authenticate(withToken(absent)); err != nil || !who.Admin {
			t.Errorf("token %q: %+v, %v", absent, who, err)
		}
	}
	who, err := n.Authenticate(withToken(login(t, id, "reader")))
	if err != nil || who.Admin || !who.HasRole("reader") || who.HasRole("member") {
		t.Errorf("reader: %+v, %v", who, err)
	}
	var denied *Denied
	if _, err = n.Authenticate(withToken("x")); !errors.As(err, &denied) || denied.Challenge != `Keystone uri="http://example.com/identity"` {
		t.Errorf("unknown token: %v", err)
	}
}

func TestTokens(t *testing.T) {
	c := newClock()
	id := newIdentity(t, c)
	w, body := ask(id, "POST", "/identity/v3/auth/tokens", passwordBody("admin", "secret", `,"scope":{"project":{"name":"demo","domain":{"id":"default"}}}`))
	if w.Code != 201 {
		t.Fatal(w.Body)
	}
	token, _ := body["token"].(map[string]any)
	project, _ := token["project"].(map[string]any)
	if project["name"] != "demo" || len(token["roles"].([]any)) != 4 || len(token["catalog"].([]any)) != 2 {
		t.Errorf("token: %s", w.Body)
	}
	if !strings.Contains(w.Body.String(), `"url":"http://example.com"`) {
		t.Errorf("the catalog is not built from the request's host: %s", w.Body)
	}
	for name, bad := range map[string]string{
		"password": passwordBody("admin", "no", ""), "user": passwordBody("who", "secret", ""), "empty": passwordBody("who", "", ""),
		"foreign project": passwordBody("demo", "secret", `,"scope":{"project":{"name":"alt"}}`),
		"no project":      passwordBody("demo", "secret", `,"scope":{"project":{"name":"nope"}}`),
		"system":          passwordBody("admin", "secret", `,"scope":{"system":{"all":true}}`),
		"method":          `{"auth":{"identity":{"methods":["totp"]}}}`, "nothing": `{}`,
	} {
		if w, _ = ask(id, "POST", "/identity/v3/auth/tokens", bad); w.Code != 401 || w.Header().Get("X-Subject-Token") != "" {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w, _ = ask(id, "POST", "/identity/v3/auth/tokens", "x"); w.Code != 400 {
		t.Errorf("no JSON: %d", w.Code)
	}
	// A token for a token lives no longer than the first one.
	first := login(t, id, "demo")
	c.Add(30 * time.Minute)
	w, _ = ask(id, "POST", "/identity/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"`+first+`"}},"scope":"unscoped"}}`)
	second := w.Header().Get("X-Subject-Token")
	who, err := id.Authenticate(withToken(second))
	if w.Code != 201 || err != nil || who.ProjectID != "" || len(who.Roles) != 0 {
		t.Errorf("unscoped: %d %+v %v", w.Code, who, err)
	}
	c.Add(31 * time.Minute)
	for _, old := range []string{first, second} {
		if _, err = id.Authenticate(withToken(old)); err == nil {
			t.Error("an expired token is good")
		}
	}
}

func TestIdentityCalls(t *testing.T) {
	id := newIdentity(t, newClock())
	admin, demo, nova := login(t, id, "admin"), login(t, id, "demo"), login(t, id, "nova")
	for _, c := range []struct {
		method, path, body, token, subject string
		code                               int
	}{
		{"GET", "/identity", "", "", "", 300},
		{"GET", "/identity/v3", "", "", "", 200},
		{"GET", "/identity/v3/", "", "", "", 200},
		{"GET", "/identity/v3/projects", "", "", "", 401},
		{"GET", "/identity/v3/projects", "", demo, "", 200},
		{"GET", "/identity/v3/nope", "", admin, "", 404},
		{"GET", "/identity/v3/projects/demo", "", admin, "", 404},
		{"POST", "/identity/v3/projects", `{"project":{"name":"x"}}`, demo, "", 403},
		{"POST", "/identity/v3/projects", `{"project":{"name":"x"}}`, admin, "", 201},
		{"POST", "/identity/v3/projects", `{"project":{"name":"x"}}`, admin, "", 409},
		{"POST", "/identity/v3/projects", `{"project":{}}`, admin, "", 400},
		{"GET", "/identity/v3/users", "", demo, "", 403},
		{"GET", "/identity/v3/users?name=demo", "", admin, "", 200},
		{"GET", "/identity/v3/roles", "", admin, "", 200},
		{"GET", "/identity/v3/domains/default", "", demo, "", 200},
		{"GET", "/identity/v3/domains/x", "", demo, "", 404},
		{"GET", "/identity/v3/auth/projects", "", demo, "", 200},
		{"GET", "/identity/v3/auth/catalog", "", demo, "", 200},
		{"GET", "/identity/v3/auth/tokens", "", demo, demo, 200},
		{"GET", "/identity/v3/auth/tokens", "", demo, admin, 403},
		{"GET", "/identity/v3/auth/tokens", "", nova, demo, 200},
		{"GET", "/identity/v3/auth/tokens", "", nova, "x", 404},
		{"DELETE", "/identity/v3/auth/tokens", "", demo, demo, 204},
		{"GET", "/identity/v3/auth/tokens", "", demo, demo, 401},
	} {
		if w, _ := ask(id, c.method, c.path, c.body, "X-Auth-Token", c.token, "X-Subject-Token", c.subject); w.Code != c.code {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, w.Code, c.code, w.Body)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/identity/v3", nil)
	r.RemoteAddr = "192.0.2.1:1"
	w := httptest.NewRecorder()
	if id.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("a peer from elsewhere: %d", w.Code)
	}
}

func TestParseDirectory(t *testing.T) {
	d, err := ParseDirectory([]byte("users:\n- {name: u, password: p, default_project: x, roles: {x: [member]}}\n"))
	if err != nil || d.Region != "RegionOne" || len(d.Projects) != 1 || d.Projects[0].ID != stableID("project", "x") {
		t.Errorf("%+v, %v", d, err)
	}
	for name, text := range map[string]string{
		"unknown key": "user: []", "empty": "", "no users": "region: x", "no password": "users: [{name: u}]", "no name": "users: [{password: p}]",
		"twice": "users: [{name: u, password: p}, {name: u, password: p}]", "default": "users: [{name: u, password: p, default_project: x}]",
		"no role": "users: [{name: u, password: p, roles: {x: []}}]", "yaml": "{",
	} {
		if _, err = ParseDirectory([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "read identity directory: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeystone validates tokens over HTTP against the built-in identity in Keystone's place.
func TestKeystone(t *testing.T) {
	c := newClock()
	id := newIdentity(t, c)
	var validations, down atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() > 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/auth/tokens") {
			validations.Add(1)
		}
		id.ServeHTTP(w, r)
	}))
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	k, err := NewKeystone(KeystoneOptions{AuthURL: server.URL + "/identity", Username: "nova", Password: "secret", ProjectName: "service", Clock: c.Now, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	demo := login(t, id, "demo")
	for range 3 {
		who, errAuth := k.Authenticate(withToken(demo))
		if errAuth != nil || who.Admin || who.UserName != "demo" || !who.HasRole("member") || who.ProjectID != stableID("project", "demo") {
			t.Fatalf("%+v, %v", who, errAuth)
		}
	}
	if n := validations.Load(); n != 1 {
		t.Errorf("%d validations, want 1: the others come from the cache", n)
	}
	var denied *Denied
	for _, bad := range []string{"", "nonsense", "two\r\nlines"} {
		r := withToken("")
		r.Header["X-Auth-Token"] = []string{bad}
		if _, err = k.Authenticate(r); !errors.As(err, &denied) || denied.Challenge != `Keystone uri="`+server.URL+`/identity"` {
			t.Errorf("token %q: %v", bad, err)
		}
	}
	// What has been validated is believed while Keystone is away, until it expires.
	down.Store(1)
	if _, err = k.Authenticate(withToken(demo)); err != nil {
		t.Errorf("cached token while Keystone is away: %v", err)
	}
	if _, err = k.Authenticate(withToken("other")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("new token while Keystone is away: %v", err)
	}
	down.Store(0)
	c.Add(2 * time.Hour)
	if _, err = k.Authenticate(withToken(demo)); !errors.As(err, &denied) {
		t.Errorf("expired token: %v", err)
	}
	// The service user's own token has expired too: it authenticates again by itself.
	if who, errAuth := k.Authenticate(withToken(login(t, id, "admin"))); errAuth != nil || !who.Admin {
		t.Errorf("after the service token expired: %+v, %v", who, errAuth)
	}
}

func TestKeystoneServiceToken(t *testing.T) {
	c := newClock()
	id := newIdentity(t, c)
	server := httptest.NewServer(id)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	k, err := NewKeystone(KeystoneOptions{
		AuthURL: server.URL + "/identity/v3/", Username: "nova", Password: "secret", ProjectName: "service",
		Clock: c.Now, Client: client, ServiceRolesRequired: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	demo := login(t, id, "demo")
	if _, err = k.Authenticate(withToken(demo)); err != nil {
		t.Fatal(err)
	}
	c.Add(61 * time.Minute)
	r := withToken(demo)
	r.Header.Set("X-Service-Token", login(t, id, "nova"))
	var denied *Denied
	if _, err = k.Authenticate(r); !errors.As(err, &denied) {
		t.Errorf("an expired token that the identity no longer has: %v", err)
	}
	r = withToken(login(t, id, "alt"))
	r.Header.Set("X-Service-Token", login(t, id, "demo"))
	if _, err = k.Authenticate(r); !errors.As(err, &denied) {
		t.Errorf("a service token without a service role: %v", err)
	}
	r.Header.Set("X-Service-Token", login(t, id, "nova"))
	if who, errAuth := k.Authenticate(r); errAuth != nil || who.UserName != "alt" {
		t.Errorf("%+v, %v", who, errAuth)
	}
}

func TestKeystoneOptions(t *testing.T) {
	for _, o := range []KeystoneOptions{{}, {AuthURL: "http://k"}, {AuthURL: "http://k", Username: "u", Password: "p"}} {
		if _, err := NewKeystone(o); err == nil || !strings.Contains(err.Error(), "[keystone_authtoken]") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// FuzzTokenRequest: any body gets an answer, and no token without the password.
func FuzzTokenRequest(f *testing.F) {
	f.Add(passwordBody("admin", "x", `,"scope":{"project":{"id":"y"}}`))
	f.Add(`{"auth":{"scope":[],"identity":{"methods":["token"]}}}`)
	id, err := NewIdentity(DefaultDirectory(), IdentityOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if strings.Contains(body, "secret") || strings.Contains(body, `\u`) {
			return
		}
		if w, _ := ask(id, "POST", "/identity/v3/auth/tokens", body); w.Code != 400 && w.Code != 401 {
			t.Fatalf("%q: %d", body, w.Code)
		}
	})
}

// FuzzDirectory: any YAML is a directory or an error.
func FuzzDirectory(f *testing.F) {
	f.Add([]byte("users:\n- {name: u, password: p, roles: {x: [member]}}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ParseDirectory(text)
		if err != nil {
			return
		}
		if _, err = NewIdentity(d, IdentityOptions{}); err == nil {
			return
		}
		t.Fatalf("%q is read but not taken: %v", text, err)
	})
}

var (
	_ Authenticator = NoAuth{}
	_ Authenticator = (*Identity)(nil)
	_ Authenticator = (*Keystone)(nil)
)
