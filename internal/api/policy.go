package api

import (
	"slices"

	"neutrino/internal/model"
)

// grant is a set of parties; an action is allowed to everybody in it. "Parent" is what
// the object belongs to: the network of a port or subnet, the group of a rule.
type grant uint16

const (
	toAdmin grant = 1 << iota
	toService
	toAdvsvc
	toReader  // of the object's project; members and managers are readers too
	toMember  // of the object's project
	toManager // of the object's project
	toParentReader
	toParentMember
	toParentManager
	toShared       // everybody, when the object (or its network) is shared
	toSharedMember // members of any project, when the object's network is shared
	toExternal     // everybody, when the object's network is external
	toAnyReader    // readers of any project
)

// Sets that come again and again in Neutron's default policy.
const (
	adminOnly      = toAdmin
	adminOrService = toAdmin | toService
	adminOrReader  = toAdmin | toReader
	adminOrMember  = toAdmin | toMember
)

// owners is what policy has to know of an object.
type owners struct {
	project          string
	parent           string // the parent's project
	shared, external bool
}

// caller is an actor with its roles worked out once per request.
type caller struct {
	model.Actor
	anywhere grant // grants that hold for every object
	asOwner  grant // for objects of the caller's project
	asParent grant // for objects whose parent is the caller's project's
	onShared grant // for objects that are shared
}

func newCaller(a model.Actor) caller {
	c := caller{Actor: a, onShared: toShared}
	role := func(name string) bool { return a.HasRole(name) }
	if a.Admin {
		c.anywhere |= toAdmin
	}
	if slices.Contains(a.Roles, "service") {
		c.anywhere |= toService
	}
	if slices.Contains(a.Roles, "advsvc") {
		c.anywhere |= toAdvsvc
	}
	if role("reader") {
		c.anywhere |= toAnyReader
		c.asOwner |= toReader
		c.asParent |= toParentReader
	}
	if role("member") {
		c.asOwner |= toMember
		c.asParent |= toParentMember
		c.onShared |= toSharedMember
	}
	if role("manager") {
		c.asOwner |= toManager
		c.asParent |= toParentManager
	}
	return c
}

// may reports whether the grant reaches the caller for an object with such owners.
func (c *caller) may(g grant, o owners) bool {
	if g&c.anywhere != 0 {
		return true
	}
	if c.ProjectID != "" {
		if o.project == c.ProjectID && g&c.asOwner != 0 {
			return true
		}
		if o.parent == c.ProjectID && g&c.asParent != 0 {
			return true
		}
	}
	return o.shared && g&c.onShared != 0 || o.external && g&toExternal != 0
}

// all reports whether the grant reaches the caller for every object.
func (c *caller) all(g grant) bool { return g&c.anywhere != 0 }

// rules collects the checks of one action, so that a refusal names them as Neutron does:
// each further check is joined to the ones before it.
type rules struct {
	action string // e.g. "create_network"
	text   string
	ok     bool
}

func newRules(action string, ok bool) *rules {
	return &rules{action: action, text: "rule:" + action, ok: ok}
}

func (r *rules) and(rule string, ok bool) {
	r.text = "(" + r.text + " and " + rule + ")"
	r.ok = r.ok && ok
}

// attribute adds the checks for one attribute that was sent with value x.
func attribute[T any](r *rules, c *caller, a *attr[T], o owners, x any, updating bool) {
	pick := func(create, update grant) grant {
		if updating {
			return update
		}
		return create
	}
	g := pick(a.Create, a.Update)
	if g == 0 {
		return
	}
	rule := "rule:" + r.action + ":" + a.Name
	ok := c.may(g, o) || a.Guarded != nil && !a.Guarded(x)
	for _, s := range a.Sub {
		if s.Present(x) {
			rule = "(" + rule + " and " + "rule:" + r.action + ":" + a.Name + ":" + s.Name + ")"
			ok = ok && c.may(pick(s.Create, s.Update), o)
		}
	}
	r.and(rule, ok)
}
