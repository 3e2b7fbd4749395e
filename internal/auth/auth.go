package auth

import (
	"errors"
	"net/http"
	"strings"

	"neutrino/internal/model"
)

// Authenticator finds the actor of a request. Implementations are safe for concurrent use.
type Authenticator interface {
	// Authenticate returns the actor, a *Denied when the request must be answered with
	// 401, or an error that wraps ErrUnavailable when the identity service does not
	// answer (503).
	Authenticate(r *http.Request) (model.Actor, error)
}

// ErrUnavailable means that nobody can be authenticated now: the identity service is gone.
var ErrUnavailable = errors.New("the identity service is not available")

// DeniedMessage is what Keystone and its middleware say in every 401.
const DeniedMessage = "The request you have made requires authentication."

// Denied means that the request carries no token or an invalid one.
type Denied struct {
	Challenge string // value of WWW-Authenticate, "" = none
	Reason    string // for the log; never told to the client
}

// Error says why, for the log.
func (d *Denied) Error() string { return "not authenticated: " + d.Reason }

// token returns the bearer's token, or "".
func token(r *http.Request) string {
	if t := strings.TrimSpace(r.Header.Get("X-Auth-Token")); t != "" {
		return t
	}
	return strings.TrimSpace(r.Header.Get("X-Storage-Token"))
}

// actor makes the actor from what an identity service says of a token.
func actor(userID, userName, projectID string, roles []string) model.Actor {
	a := model.Actor{UserID: userID, UserName: userName, ProjectID: projectID}
	for _, r := range roles {
		r = strings.ToLower(r)
		a.Roles = append(a.Roles, r)
		a.Admin = a.Admin || r == "admin"
	}
	return a
}
