package api

import (
	"context"
	"iter"
	"net/http"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/model"
	"neutrino/internal/neutron"
	"neutrino/internal/store"
)

// resource declares one resource of the API: its names, its attributes, where its rows
// are, who may do what, and the operations behind POST, PUT and DELETE.
type resource[T any] struct {
	Single, Plural string // keys of bodies, and the resource's name in policy rules
	Attrs          []attr[T]

	ID       func(row *T) string
	Owners   func(v *view, row *T) owners
	NotFound func(id string) *fault.Fault

	// Rows are in a table, or made by All and One.
	Table func(*neutron.Tables) *store.Table[T]
	All   func(v *view) iter.Seq[*T]
	One   func(v *view, id string) (*T, bool)
	// Indexes of the table that answer an exact filter on an attribute, best first.
	Indexes []index

	See, Create, Update, Delete grant

	// Parent checks that what a new row belongs to exists and is visible.
	Parent func(v *view, row *T) error
	// Before runs before GET, with no snapshot taken yet.
	Before func(ctx context.Context, svc *neutron.Service, who model.Actor) error
	// Changed completes a change with what does not fit into the row; sent are the parsed
	// attributes.
	Changed func(c *neutron.Change[T], sent map[string]any)

	Make   func(svc *neutron.Service, ctx context.Context, who model.Actor, d []neutron.Draft[T]) ([]*T, error)
	Change func(svc *neutron.Service, ctx context.Context, who model.Actor, id string, c neutron.Change[T]) (*T, error)
	Remove func(svc *neutron.Service, ctx context.Context, who model.Actor, id string, ifMatch *int64) error

	Tagged  bool                 // has /{id}/tags
	Actions map[string]action[T] // further URLs under /{id}/
	Nested  map[string]nested[T] // the same, with more behind them
}

// index answers an exact filter.
type index struct {
	Attr, Name string
	// Keys makes index keys of filter values; nil = they are the keys. No keys = the
	// index does not help.
	Keys func(values []string) []string
}

// action is a URL under a row, such as PUT /address-groups/{id}/add_addresses.
type action[T any] struct {
	Method string
	May    grant
	Do     func(rq *request, v *view, row *T) error
}

// nested is everything under a URL under a row, such as /agents/{id}/l3-routers. It looks
// at the method itself.
type nested[T any] struct {
	May grant
	Do  func(rq *request, v *view, row *T, path []string) error
}

// view is what a request sees: one consistent snapshot, and who looks.
type view struct {
	who  *caller
	snap store.Snapshot
	t    *neutron.Tables
	svc  *neutron.Service

	networks map[string]*model.Network // looked up before; nil = does not exist
}

// network finds a network, whoever may see it, or returns nil.
func (v *view) network(id string) *model.Network {
	n, known := v.networks[id]
	if !known {
		n, _ = v.t.Networks.Get(v.snap, id)
		if v.networks == nil {
			v.networks = map[string]*model.Network{}
		}
		v.networks[id] = n
	}
	return n
}

// collection is a resource made ready to serve.
type collection[T any] struct {
	resource[T]
	byName  map[string]*attr[T]
	columns []column[T]
}

// column is an attribute as it is written: its key in JSON, quoted, with the colon.
type column[T any] struct {
	name string
	key  []byte
	see  grant
	get  func(*view, *T) value
}

func newCollection[T any](r resource[T]) *collection[T] {
	c := &collection[T]{resource: r, byName: map[string]*attr[T]{}}
	for i := range c.Attrs {
		a := &c.Attrs[i]
		c.byName[a.Name] = a
		if a.Get != nil && a.Use&hidden == 0 {
			c.columns = append(c.columns, column[T]{name: a.Name, key: append(appendText(nil, a.Name), ':'), see: a.See, get: a.Get})
		}
	}
	return c
}

// columnsFor are the attributes that the caller sees and asked for.
func (c *collection[T]) columnsFor(who *caller, fields []string) []column[T] {
	out := make([]column[T], 0, len(c.columns))
	for _, col := range c.columns {
		if (col.see == 0 || who.all(col.see)) && (len(fields) == 0 || slices.Contains(fields, col.name)) {
			out = append(out, col)
		}
	}
	return out
}

func appendRow[T any](b []byte, v *view, row *T, cols []column[T]) []byte {
	b = append(b, '{')
	some := false
	for i := range cols {
		x := cols[i].get(v, row)
		if x.kind == kindAbsent {
			continue
		}
		if some {
			b = append(b, ',')
		}
		some = true
		b = x.appendTo(append(b, cols[i].key...))
	}
	return append(b, '}')
}

// sees reports whether the caller may see the row at all.
func (c *collection[T]) sees(v *view, row *T) bool {
	return v.who.all(c.See) || v.who.may(c.See, c.Owners(v, row))
}

// find returns the row if the caller may see it, else the resource's 404.
func (c *collection[T]) find(v *view, id string) (*T, error) {
	var row *T
	var ok bool
	if c.Table != nil {
		row, ok = c.Table(v.t).Get(v.snap, id)
	} else {
		row, ok = c.One(v, id)
	}
	if !ok || !c.sees(v, row) {
		return nil, c.NotFound(id)
	}
	return row, nil
}

func (c *collection[T]) show(rq *request, id string) error {
	if c.Before != nil {
		if err := c.Before(rq.ctx(), rq.srv.svc, rq.who.Actor); err != nil {
			return err
		}
	}
	q, err := rq.query()
	if err != nil {
		return err
	}
	v := rq.view()
	row, err := c.find(v, id)
	if err != nil {
		return err
	}
	cols := c.columnsFor(v.who, fieldsOf(q))
	return rq.reply(http.StatusOK, func(b []byte) []byte { return c.appendOne(b, v, row, cols) })
}

func (c *collection[T]) appendOne(b []byte, v *view, row *T, cols []column[T]) []byte {
	b = append(append(b, `{"`...), c.Single...)
	b = append(b, `":`...)
	b = appendRow(b, v, row, cols)
	return append(b, '}')
}

// serve is everything under /v2.0/{collection}.
func (c *collection[T]) serve(rq *request, path []string) error {
	method := rq.r.Method
	switch {
	case len(path) == 0:
		switch method {
		case http.MethodGet:
			return c.list(rq)
		case http.MethodPost:
			return c.create(rq)
		}
		return errMethod(method)
	case len(path) == 1:
		switch method {
		case http.MethodGet:
			return c.show(rq, path[0])
		case http.MethodPut:
			return c.update(rq, path[0])
		case http.MethodDelete:
			return c.remove(rq, path[0])
		}
		return errMethod(method)
	case path[1] == "tags" && c.Tagged:
		return c.tags(rq, path[0], path[2:])
	}
	if n, is := c.Nested[path[1]]; is {
		v := rq.view()
		row, err := c.mayDo(v, path[0], path[1], n.May)
		if err != nil {
			return err
		}
		return n.Do(rq, v, row, path[2:])
	}
	act, ok := c.Actions[path[1]]
	if !ok || len(path) > 2 {
		return fault.HTTPNotFound()
	}
	if method != act.Method {
		return errMethod(method)
	}
	v := rq.view()
	row, err := c.mayDo(v, path[0], path[1], act.May)
	if err != nil {
		return err
	}
	return act.Do(rq, v, row)
}
