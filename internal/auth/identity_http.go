package auth

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxIdentityBody bounds the bodies that the identity reads, in bytes.
const maxIdentityBody = 64 << 10

// keystoneTime is how Keystone writes times.
const keystoneTime = "2006-01-02T15:04:05.000000Z"

type object = map[string]any

func (i *Identity) routes() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("GET /identity/{$}", i.versions)
	m.HandleFunc("GET /identity/v3/{$}", i.version)
	m.HandleFunc("POST /identity/v3/auth/tokens", i.postToken)
	m.HandleFunc("GET /identity/v3/auth/tokens", i.subject(i.getToken))
	m.HandleFunc("DELETE /identity/v3/auth/tokens", i.subject(i.deleteToken))
	m.HandleFunc("GET /identity/v3/auth/projects", i.bearer(i.ownProjects))
	m.HandleFunc("GET /identity/v3/auth/catalog", i.bearer(i.catalogOnly))
	m.HandleFunc("GET /identity/v3/projects", i.bearer(i.listProjects))
	m.HandleFunc("POST /identity/v3/projects", i.admin(i.postProject))
	m.HandleFunc("GET /identity/v3/projects/{id}", i.bearer(i.getProject))
	m.HandleFunc("DELETE /identity/v3/projects/{id}", i.admin(i.deleteProject))
	m.HandleFunc("GET /identity/v3/domains", i.bearer(i.listDomains))
	m.HandleFunc("GET /identity/v3/domains/{id}", i.bearer(i.getDomain))
	m.HandleFunc("GET /identity/v3/users", i.admin(i.listUsers))
	m.HandleFunc("GET /identity/v3/users/{id}", i.bearer(i.getUser))
	m.HandleFunc("GET /identity/v3/users/{id}/projects", i.bearer(i.userProjects))
	m.HandleFunc("GET /identity/v3/roles", i.admin(i.listRoles))
	m.HandleFunc("GET /identity/v3/roles/{id}", i.admin(i.getRole))
	return m
}

// ServeHTTP answers the Keystone v3 calls under /identity/. Peers that are not on this
// machine are refused: the identity is for development.
func (i *Identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Openstack-Request-Id", "req-"+uuid.NewString())
	w.Header().Set("Vary", "X-Auth-Token")
	if !localPeer(r.RemoteAddr) {
		identityError(w, http.StatusForbidden, "The built-in identity answers on loopback only.")
		return
	}
	if len(r.URL.Path) > 1 && r.URL.Path != "/identity/" {
		r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
	}
	switch r.URL.Path {
	case "/identity":
		r.URL.Path = "/identity/"
	case "/identity/v3":
		r.URL.Path = "/identity/v3/"
	}
	if _, pattern := i.mux.Handler(r); pattern == "" {
		identityError(w, http.StatusNotFound, "The resource could not be found.")
		return
	}
	i.mux.ServeHTTP(w, r)
}

// localPeer reports whether the peer is on this machine: loopback or a unix socket.
func localPeer(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote == "" || strings.HasPrefix(remote, "@") || strings.HasPrefix(remote, "/")
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// baseURL is scheme and host as the client wrote them.
func baseURL(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}

func identityError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, object{"error": object{"code": status, "message": message, "title": http.StatusText(status)}})
}

// bearer lets holders of a good token pass.
func (i *Identity) bearer(next func(http.ResponseWriter, *http.Request, *grant)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		g := i.lookup(token(r))
		if g == nil {
			w.Header().Set("WWW-Authenticate", `Keystone uri="`+baseURL(r)+`/identity"`)
			identityError(w, http.StatusUnauthorized, DeniedMessage)
			return
		}
		next(w, r, g)
	}
}

// admin lets admins pass.
func (i *Identity) admin(next func(http.ResponseWriter, *http.Request, *grant)) http.HandlerFunc {
	return i.bearer(func(w http.ResponseWriter, r *http.Request, g *grant) {
		if !slices.Contains(g.roles, "admin") {
			identityError(w, http.StatusForbidden, "You are not authorized to perform the requested action.")
			return
		}
		next(w, r, g)
	})
}

// subject finds the grant of X-Subject-Token. A token may ask about itself; about others
// only admins and services may.
func (i *Identity) subject(next func(http.ResponseWriter, *http.Request, *grant)) http.HandlerFunc {
	return i.bearer(func(w http.ResponseWriter, r *http.Request, g *grant) {
		about := r.Header.Get("X-Subject-Token")
		if about != token(r) && !slices.Contains(g.roles, "admin") && !slices.Contains(g.roles, "service") {
			identityError(w, http.StatusForbidden, "You are not authorized to perform the requested action: identity:validate_token.")
			return
		}
		found := i.lookup(about)
		if found == nil {
			identityError(w, http.StatusNotFound, "Failed to validate token")
			return
		}
		next(w, r, found)
	})
}

func (i *Identity) versionBody(r *http.Request) object {
	return object{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []object{{"rel": "self", "href": baseURL(r) + "/identity/v3/"}},
		"media-types": []object{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

func (i *Identity) versions(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusMultipleChoices, object{"versions": object{"values": []object{i.versionBody(r)}}})
}

func (i *Identity) version(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, object{"version": i.versionBody(r)})
}

// named is how a request points at a user, project or domain.
type named struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Password string `json:"password"`
	Domain   *named `json:"domain"`
}

// authRequest is the part of POST /auth/tokens that is understood.
type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password struct {
				User named `json:"user"`
			} `json:"password"`
			Token struct {
				ID string `json:"id"`
			} `json:"token"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

func readBody(w http.ResponseWriter, r *http.Request, into any) bool {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxIdentityBody))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		identityError(w, http.StatusBadRequest, "The request body is not understood.")
		return false
	}
	return true
}

func (i *Identity) postToken(w http.ResponseWriter, r *http.Request) {
	var req authRequest
	if !readBody(w, r, &req) {
		return
	}
	t, g, err := i.authenticate(req)
	switch {
	case errors.Is(err, ErrUnavailable):
		identityError(w, http.StatusServiceUnavailable, "Too many tokens.")
	case err != nil:
		i.log.DebugContext(r.Context(), "no token given", "user", req.Auth.Identity.Password.User.Name, "error", err)
		identityError(w, http.StatusUnauthorized, DeniedMessage)
	default:
		w.Header().Set("X-Subject-Token", t)
		writeJSON(w, http.StatusCreated, i.tokenBody(r, g))
	}
}

// authenticate checks who asks and gives the token.
func (i *Identity) authenticate(req authRequest) (string, *grant, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	id := req.Auth.Identity
	var user *UserRecord
	var notAfter time.Time
	switch {
	case slices.Equal(id.Methods, []string{"password"}):
		asked := id.Password.User
		user = i.findUser(asked.ID, asked.Name)
		if !checkPassword(user, asked.Password) {
			return "", nil, errDenied
		}
	case slices.Equal(id.Methods, []string{"token"}):
		g := i.tokens[id.Token.ID]
		if g == nil || !i.now().Before(g.expires) {
			return "", nil, errDenied
		}
		user, notAfter = g.user, g.expires
	default:
		return "", nil, errDenied
	}
	project, err := i.scope(req.Auth.Scope, user)
	if err != nil {
		return "", nil, err
	}
	return i.issue(user, project, id.Methods, notAfter)
}

// scope finds the project that the token is for: asked for, or the user's own, or none.
func (i *Identity) scope(raw json.RawMessage, user *UserRecord) (*ProjectRecord, error) {
	if len(raw) == 0 || string(raw) == "null" {
		if user.DefaultProject == "" {
			return nil, nil
		}
		return i.findProject("", user.DefaultProject), nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil && word == "unscoped" {
		return nil, nil
	}
	var scope struct {
		Project *named `json:"project"`
	}
	if err := json.Unmarshal(raw, &scope); err != nil || scope.Project == nil {
		return nil, errDenied
	}
	p := i.findProject(scope.Project.ID, scope.Project.Name)
	if p == nil {
		return nil, errDenied
	}
	return p, nil
}

var defaultDomain = object{"id": "default", "name": "Default"}

// tokenBody is what Keystone says of a token.
func (i *Identity) tokenBody(r *http.Request, g *grant) object {
	t := object{
		"methods":    g.methods,
		"user":       object{"id": g.user.ID, "name": g.user.Name, "domain": defaultDomain, "password_expires_at": nil},
		"audit_ids":  []string{},
		"issued_at":  g.issued.Format(keystoneTime),
		"expires_at": g.expires.Format(keystoneTime),
	}
	if g.project != nil {
		roles := make([]object, 0, len(g.roles))
		for _, name := range g.roles {
			roles = append(roles, object{"id": stableID("role", name), "name": name})
		}
		t["project"] = object{"id": g.project.ID, "name": g.project.Name, "domain": defaultDomain}
		t["is_domain"] = false
		t["roles"] = roles
		if !r.URL.Query().Has("nocatalog") {
			t["catalog"] = i.catalog(r)
		}
	}
	return object{"token": t}
}

// catalog is built from the host that the client used, so that it works through any
// address or port forwarding by which the client came.
func (i *Identity) catalog(r *http.Request) []object {
	service := func(kind, name, url string) object {
		var endpoints []object
		for _, face := range []string{"public", "internal", "admin"} {
			endpoints = append(endpoints, object{
				"id": stableID("endpoint", kind+"/"+face), "interface": face,
				"region": i.region, "region_id": i.region, "url": url,
			})
		}
		return object{"id": stableID("service", kind), "type": kind, "name": name, "endpoints": endpoints}
	}
	base := baseURL(r)
	return []object{service("identity", "keystone", base+"/identity"), service("network", "neutron", base)}
}

func (i *Identity) getToken(w http.ResponseWriter, r *http.Request, g *grant) {
	w.Header().Set("X-Subject-Token", r.Header.Get("X-Subject-Token"))
	writeJSON(w, http.StatusOK, i.tokenBody(r, g))
}

func (i *Identity) deleteToken(w http.ResponseWriter, r *http.Request, _ *grant) {
	i.mu.Lock()
	delete(i.tokens, r.Header.Get("X-Subject-Token"))
	i.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (i *Identity) catalogOnly(w http.ResponseWriter, r *http.Request, _ *grant) {
	writeJSON(w, http.StatusOK, object{"catalog": i.catalog(r), "links": object{"self": baseURL(r) + "/identity/v3/auth/catalog"}})
}
