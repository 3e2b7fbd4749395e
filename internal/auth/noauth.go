package auth

import (
	"net/http"

	"neutrino/internal/model"
)

// FakeProject is the project of a request that names none, as in Neutron's noauth.
const FakeProject = "fake_project_id"

// NoAuth makes every request an admin's. The header X-Project-Id (or X-Tenant-Id)
// chooses the project; nothing else that the client says of itself is believed.
type NoAuth struct {
	// Tokens, when set, is asked about requests that carry a token, so that one endpoint
	// serves clients without an identity and clients of the built-in one: a known token
	// brings its own roles, an unknown one is refused.
	Tokens *Identity
}

// noToken is what clients send that were told to do without authentication
// (keystoneauth1/noauth.py: openstack --os-auth-type none). It is no token.
const noToken = "notused"

// Authenticate implements Authenticator.
func (n NoAuth) Authenticate(r *http.Request) (model.Actor, error) {
	if t := token(r); n.Tokens != nil && t != "" && t != noToken {
		return n.Tokens.Authenticate(r)
	}
	project := r.Header.Get("X-Project-Id")
	if project == "" {
		project = r.Header.Get("X-Tenant-Id")
	}
	if project == "" {
		project = FakeProject
	}
	return model.Actor{UserID: "fake_user_id", UserName: "fake_user", ProjectID: project, Roles: []string{"admin"}, Admin: true}, nil
}
