// Package auth says on whose behalf a request is made.
//
// Three ways: NoAuth (every request is an admin's, as Neutron's auth_strategy=noauth),
// Identity (a small built-in development identity with the few Keystone v3 calls that
// clients cannot do without, for loopback only), and Keystone (tokens are validated
// against a real Keystone, as its own middleware does).
//
// Identity headers that a client sends (X-Roles, X-User-Id, ...) are never believed:
// an Actor is made from a token or, with NoAuth, is the admin. The package decides who
// the actor is, never what the actor may do: that is the API's policy.
package auth
