package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"neutrino/internal/model"
)

// maxTokens bounds the memory of an identity that is asked for tokens without end.
const maxTokens = 100_000

// IdentityOptions set up the built-in identity. The zero value is good.
type IdentityOptions struct {
	TokenLife time.Duration    // default 1 h
	Clock     func() time.Time // default time.Now
	Log       *slog.Logger
}

// Identity is the built-in development identity: it keeps users, projects and opaque
// tokens in memory, answers Keystone v3 calls (ServeHTTP) and authenticates requests.
// It is safe for concurrent use, has no goroutines, and forgets its tokens when the
// process ends (clients authenticate again).
type Identity struct {
	region string
	life   time.Duration
	now    func() time.Time
	log    *slog.Logger
	mux    *http.ServeMux

	mu       sync.Mutex
	projects map[string]*ProjectRecord // by id
	users    map[string]*UserRecord    // by id
	tokens   map[string]*grant
	pruned   time.Time
}

// grant is what a token stands for.
type grant struct {
	user    *UserRecord
	project *ProjectRecord // nil = unscoped
	roles   []string       // implied ones included
	methods []string
	issued  time.Time
	expires time.Time
}

// NewIdentity returns an identity for the directory, which is completed and checked first.
func NewIdentity(d Directory, o IdentityOptions) (*Identity, error) {
	if err := d.complete(); err != nil {
		return nil, err
	}
	i := &Identity{
		region: d.Region, life: o.TokenLife, now: o.Clock, log: o.Log,
		projects: map[string]*ProjectRecord{}, users: map[string]*UserRecord{}, tokens: map[string]*grant{},
	}
	if i.life <= 0 {
		i.life = time.Hour
	}
	if i.now == nil {
		i.now = time.Now
	}
	if i.log == nil {
		i.log = slog.New(slog.DiscardHandler)
	}
	for k := range d.Projects {
		p := d.Projects[k]
		i.projects[p.ID] = &p
	}
	for k := range d.Users {
		u := d.Users[k]
		i.users[u.ID] = &u
	}
	i.mux = i.routes()
	return i, nil
}

// Authenticate implements Authenticator with the tokens that the identity has given out.
func (i *Identity) Authenticate(r *http.Request) (model.Actor, error) {
	challenge := `Keystone uri="` + baseURL(r) + `/identity"`
	t := token(r)
	if t == "" {
		return model.Actor{}, &Denied{Challenge: challenge, Reason: "no token"}
	}
	g := i.lookup(t)
	if g == nil {
		return model.Actor{}, &Denied{Challenge: challenge, Reason: "unknown or expired token"}
	}
	return g.actor(), nil
}

func (g *grant) actor() model.Actor {
	project := ""
	if g.project != nil {
		project = g.project.ID
	}
	return actor(g.user.ID, g.user.Name, project, g.roles)
}

// lookup returns the grant of a token that is still good, or nil.
func (i *Identity) lookup(t string) *grant {
	i.mu.Lock()
	defer i.mu.Unlock()
	g := i.tokens[t]
	if g == nil || !i.now().Before(g.expires) {
		return nil
	}
	return g
}

// errDenied is any reason not to give a token; the client is not told which.
var errDenied = errors.New("user, password or scope is wrong")

// findUser by id or name.
func (i *Identity) findUser(id, name string) *UserRecord {
	if id != "" {
		return i.users[id]
	}
	for _, u := range i.users {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// findProject by id or name.
func (i *Identity) findProject(id, name string) *ProjectRecord {
	if id != "" {
		return i.projects[id]
	}
	for _, p := range i.projects {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// checkPassword takes the same time for a user that does not exist.
func checkPassword(u *UserRecord, password string) bool {
	want := digest("")
	if u != nil {
		want = digest(u.Password)
	}
	got := digest(password)
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1 && u != nil
}

// issue gives a token for the user in the project (nil = unscoped).
func (i *Identity) issue(u *UserRecord, p *ProjectRecord, methods []string, notAfter time.Time) (string, *grant, error) {
	g := &grant{user: u, project: p, methods: methods}
	if p != nil {
		g.roles = expand(u.Roles[p.Name])
		if len(g.roles) == 0 {
			return "", nil, errDenied
		}
	}
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", nil, err
	}
	t := base64.RawURLEncoding.EncodeToString(raw[:])
	now := i.now().UTC()
	g.issued, g.expires = now, now.Add(i.life)
	if !notAfter.IsZero() && notAfter.Before(g.expires) {
		g.expires = notAfter
	}
	i.prune(now)
	if len(i.tokens) >= maxTokens {
		return "", nil, ErrUnavailable
	}
	i.tokens[t] = g
	return t, g, nil
}

// prune drops expired tokens, at most once a minute unless the table is full.
func (i *Identity) prune(now time.Time) {
	if now.Sub(i.pruned) < time.Minute && len(i.tokens) < maxTokens {
		return
	}
	i.pruned = now
	for t, g := range i.tokens {
		if !now.Before(g.expires) {
			delete(i.tokens, t)
		}
	}
}

// implied are Keystone's role implications, from the strongest down.
var implied = []string{"admin", "manager", "member", "reader"}

// expand adds implied roles.
func expand(roles []string) []string {
	out := slices.Clone(roles)
	for _, r := range roles {
		if at := slices.Index(implied, r); at >= 0 {
			for _, lower := range implied[at+1:] {
				if !slices.Contains(out, lower) {
					out = append(out, lower)
				}
			}
		}
	}
	return out
}
