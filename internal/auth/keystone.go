package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"neutrino/internal/model"
)

// KeystoneOptions are the options of [keystone_authtoken].
type KeystoneOptions struct {
	AuthURL              string // where the service user authenticates and tokens are validated, with or without /v3
	WWWAuthenticateURI   string // told to clients in 401; default AuthURL
	Username, Password   string
	UserID               string // instead of Username and UserDomain
	UserDomain           Domain // default DefaultDomain
	ProjectName          string
	ProjectID            string        // instead of ProjectName and ProjectDomain
	ProjectDomain        Domain        // default DefaultDomain
	DefaultDomain        Domain        // default the one named Default
	TokenCacheTime       time.Duration // how long a validated token is believed; default 300 s, negative = no cache
	ServiceTokenRoles    []string      // default service
	ServiceRolesRequired bool          // service_token_roles_required
	Timeout              time.Duration // of one question to Keystone; default 10 s
	Client               *http.Client  // transport and TLS; default http.DefaultClient's
	Clock                func() time.Time
	maxCache             int
}

// Domain is one of Keystone's, by id or by name; the id wins.
type Domain struct{ ID, Name string }

// or returns d, or other where d names none.
func (d Domain) or(other Domain) Domain {
	if d == (Domain{}) {
		d = other
	}
	if d.ID != "" {
		d.Name = ""
	}
	return d
}

// Keystone validates tokens against a Keystone, as its own middleware does: service
// user's token in X-Auth-Token, client's in X-Subject-Token; validated tokens are
// believed for TokenCacheTime (so a revocation takes effect with that lag) and never
// beyond their expiry. Safe for concurrent use; no goroutines.
type Keystone struct {
	o        KeystoneOptions
	validate string // URL

	mu       sync.Mutex
	provider *gophercloud.ProviderClient // nil until the service user is authenticated
	key      [32]byte                    // of the cache: tokens are kept only as keyed hashes
	cache    map[[32]byte]cached
}

type cached struct {
	who     model.Actor
	roles   []string
	expires time.Time // of the token
	until   time.Time // of the entry
}

// NewKeystone returns an authenticator; it does not talk to Keystone before the first request.
func NewKeystone(o KeystoneOptions) (*Keystone, error) {
	if o.AuthURL == "" {
		return nil, errors.New("[keystone_authtoken] auth_url is missing")
	}
	if o.Username == "" && o.UserID == "" || o.Password == "" || o.ProjectName == "" && o.ProjectID == "" {
		return nil, errors.New("[keystone_authtoken] username (or user_id), password and project_name (or project_id) are needed")
	}
	base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(o.AuthURL, "/"), "/v3"), "/")
	o.AuthURL = base + "/v3"
	if o.WWWAuthenticateURI == "" {
		o.WWWAuthenticateURI = base
	}
	o.DefaultDomain = o.DefaultDomain.or(Domain{Name: "Default"})
	o.UserDomain, o.ProjectDomain = o.UserDomain.or(o.DefaultDomain), o.ProjectDomain.or(o.DefaultDomain)
	if o.TokenCacheTime == 0 {
		o.TokenCacheTime = 300 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if len(o.ServiceTokenRoles) == 0 {
		o.ServiceTokenRoles = []string{"service"}
	}
	if o.Client == nil {
		o.Client = &http.Client{}
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.maxCache <= 0 {
		o.maxCache = 50_000
	}
	k := &Keystone{o: o, validate: o.AuthURL + "/auth/tokens?nocatalog", cache: map[[32]byte]cached{}}
	if _, err := rand.Read(k.key[:]); err != nil {
		return nil, fmt.Errorf("make the token cache's key: %w", err)
	}
	return k, nil
}

// Authenticate implements Authenticator.
func (k *Keystone) Authenticate(r *http.Request) (model.Actor, error) {
	t := token(r)
	if t == "" {
		return model.Actor{}, k.denied("no token")
	}
	ctx, cancel := context.WithTimeout(r.Context(), k.o.Timeout)
	defer cancel()
	expiredIsGood := false
	if service := strings.TrimSpace(r.Header.Get("X-Service-Token")); service != "" {
		s, err := k.check(ctx, service, false)
		if err != nil {
			return model.Actor{}, err
		}
		expiredIsGood = hasAny(s.roles, k.o.ServiceTokenRoles)
		if !expiredIsGood && k.o.ServiceRolesRequired {
			return model.Actor{}, k.denied("the service token has none of the service roles")
		}
	}
	c, err := k.check(ctx, t, expiredIsGood)
	if err != nil {
		return model.Actor{}, err
	}
	return c.who, nil
}

func (k *Keystone) denied(reason string) error {
	return &Denied{Challenge: `Keystone uri="` + k.o.WWWAuthenticateURI + `"`, Reason: reason}
}

func hasAny(have, want []string) bool {
	for _, h := range have {
		for _, w := range want {
			if strings.EqualFold(h, w) {
				return true
			}
		}
	}
	return false
}

// check returns what the token stands for, from the cache or from Keystone.
func (k *Keystone) check(ctx context.Context, t string, expiredIsGood bool) (cached, error) {
	now := k.o.Clock()
	hash := sha256.Sum256(append(k.key[:], t...))
	k.mu.Lock()
	c, known := k.cache[hash]
	k.mu.Unlock()
	if !known || !now.Before(c.until) || (!expiredIsGood && !now.Before(c.expires)) {
		var err error
		if c, err = k.ask(ctx, t, expiredIsGood); err != nil {
			return cached{}, err
		}
		k.remember(hash, c, now)
	}
	if !expiredIsGood && !now.Before(c.expires) {
		return cached{}, k.denied("the token has expired")
	}
	return c, nil
}

func (k *Keystone) remember(hash [32]byte, c cached, now time.Time) {
	if k.o.TokenCacheTime < 0 {
		return
	}
	c.until = now.Add(k.o.TokenCacheTime)
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.cache) >= k.o.maxCache {
		for h, old := range k.cache {
			if !now.Before(old.until) {
				delete(k.cache, h)
			}
		}
		if len(k.cache) >= k.o.maxCache {
			clear(k.cache)
		}
	}
	k.cache[hash] = c
}

// client returns the service user's client; it authenticates again by itself on 401.
func (k *Keystone) client(ctx context.Context) (*gophercloud.ProviderClient, error) {
	k.mu.Lock()
	p := k.provider
	k.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := openstack.NewClient(k.o.AuthURL)
	if err != nil {
		return nil, fmt.Errorf("read [keystone_authtoken] auth_url %q: %w", k.o.AuthURL, err)
	}
	p.HTTPClient = *k.o.Client
	p.UserAgent.Prepend("neutrino")
	if err = openstack.Authenticate(ctx, p, k.credentials()); err != nil {
		return nil, fmt.Errorf("authenticate the service user %q: %w", k.o.Username+k.o.UserID, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.provider == nil {
		k.provider = p
	}
	return k.provider, nil
}

// credentials are those of the service user. An id stands for itself: Keystone refuses a
// domain beside it.
func (k *Keystone) credentials() gophercloud.AuthOptions {
	o := gophercloud.AuthOptions{
		IdentityEndpoint: k.o.AuthURL, Password: k.o.Password, AllowReauth: true,
		Username: k.o.Username, DomainID: k.o.UserDomain.ID, DomainName: k.o.UserDomain.Name,
		Scope: &gophercloud.AuthScope{ProjectName: k.o.ProjectName, DomainID: k.o.ProjectDomain.ID, DomainName: k.o.ProjectDomain.Name},
	}
	if k.o.UserID != "" {
		o.UserID, o.Username, o.DomainID, o.DomainName = k.o.UserID, "", "", ""
	}
	if k.o.ProjectID != "" {
		o.Scope = &gophercloud.AuthScope{ProjectID: k.o.ProjectID}
	}
	return o
}

// answer is the part of a validation's reply that is used.
type answer struct {
	Token struct {
		ExpiresAt time.Time `json:"expires_at"`
		User      struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"user"`
		Project *struct {
			ID string `json:"id"`
		} `json:"project"`
		Roles []struct {
			Name string `json:"name"`
		} `json:"roles"`
	} `json:"token"`
}

// ask validates the token with Keystone.
func (k *Keystone) ask(ctx context.Context, t string, expiredIsGood bool) (cached, error) {
	if strings.ContainsAny(t, "\r\n") || len(t) > 32<<10 {
		return cached{}, k.denied("not a token")
	}
	p, err := k.client(ctx)
	if err != nil {
		return cached{}, fmt.Errorf("validate a token: %w: %w", ErrUnavailable, err)
	}
	url := k.validate
	if expiredIsGood {
		url += "&allow_expired=1"
	}
	resp, err := p.Request(ctx, http.MethodGet, url, &gophercloud.RequestOpts{
		MoreHeaders:      map[string]string{"X-Subject-Token": t, "OpenStack-Identity-Access-Rules": "1"},
		OkCodes:          []int{http.StatusOK},
		KeepResponseBody: true,
	})
	if err != nil {
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return cached{}, k.denied("Keystone does not know the token")
		}
		return cached{}, fmt.Errorf("validate a token: %w: %w", ErrUnavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	var a answer
	if err = json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(&a); err != nil {
		return cached{}, fmt.Errorf("validate a token: %w: read the answer: %w", ErrUnavailable, err)
	}
	if a.Token.User.ID == "" {
		return cached{}, k.denied("the token has no user")
	}
	c := cached{expires: a.Token.ExpiresAt}
	for _, role := range a.Token.Roles {
		c.roles = append(c.roles, role.Name)
	}
	project := ""
	if a.Token.Project != nil {
		project = a.Token.Project.ID
	}
	c.who = actor(a.Token.User.ID, a.Token.User.Name, project, c.roles)
	return c, nil
}
