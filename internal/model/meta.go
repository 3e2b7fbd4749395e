package model

import (
	"slices"
	"time"
)

// Meta is what every resource of the Networking API carries (Neutron's "standard
// attributes": standard-attr-timestamp, -revisions, -description, -tag).
type Meta struct {
	ID          string    `json:"id"`
	ProjectID   string    `json:"project_id"`
	Name        string    `json:"name,omitempty"`
	Description string    `json:"description,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	Revision    int64     `json:"revision_number"` // starts at 1, +1 per change
	CreatedAt   time.Time `json:"created_at"`      // UTC, whole seconds
	UpdatedAt   time.Time `json:"updated_at"`      // UTC, whole seconds
}

// Resource is any type with standard attributes.
type Resource interface {
	// Standard returns the resource's standard attributes, for reading and writing.
	Standard() *Meta
}

// Standard returns m itself, so that embedding Meta makes a type a Resource.
func (m *Meta) Standard() *Meta { return m }

func (m Meta) clone() Meta {
	m.Tags = slices.Clone(m.Tags)
	return m
}

// Actor is on whose behalf a request is made: what a Keystone token says of its
// bearer. The zero Actor may do nothing.
type Actor struct {
	UserID    string
	UserName  string
	ProjectID string
	Roles     []string // lower case: admin, member, reader, service, ...
	Admin     bool     // has the role admin, or noauth
}

// HasRole reports whether the actor was given the role, or one that implies it
// (Keystone's implied roles: admin > manager > member > reader).
func (a Actor) HasRole(role string) bool {
	implied := []string{"admin", "manager", "member", "reader"}
	want := slices.Index(implied, role)
	for _, r := range a.Roles {
		if r == role {
			return true
		}
		if have := slices.Index(implied, r); want >= 0 && have >= 0 && have <= want {
			return true
		}
	}
	return a.Admin
}
