package api

import (
	"maps"
	"net/http"
	"slices"

	"neutrino/internal/fault"
	"neutrino/internal/neutron"
)

// POST, PUT and DELETE of any resource.

// create is POST, single or bulk.
func (c *collection[T]) create(rq *request) error {
	if c.Make == nil {
		return errMethod(rq.r.Method)
	}
	body, err := rq.object()
	if err != nil {
		return err
	}
	items, bulk, err := unwrap(body, c.Single, c.Plural, true)
	if err != nil {
		return err
	}
	v := rq.view()
	drafts := make([]neutron.Draft[T], len(items))
	for i, item := range items {
		if drafts[i], err = c.draft(v, item); err != nil {
			return err
		}
	}
	rows, err := c.Make(rq.srv.svc, rq.ctx(), rq.who.Actor, drafts)
	if err != nil {
		return err
	}
	v = rq.view() // what the operation wrote is in this one
	cols := c.columnsFor(v.who, nil)
	return rq.reply(http.StatusCreated, func(b []byte) []byte {
		if !bulk {
			return c.appendOne(b, v, rows[0], cols)
		}
		b = append(append(append(b, `{"`...), c.Plural...), `":[`...)
		for i, row := range rows {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendRow(b, v, row, cols)
		}
		return append(b, "]}"...)
	})
}

// draft checks one sent object completely: form, values, and whether the caller may.
func (c *collection[T]) draft(v *view, item map[string]any) (neutron.Draft[T], error) {
	d := neutron.Draft[T]{Value: new(T)}
	if err := c.ownProject(v.who, item); err != nil {
		return d, err
	}
	if err := c.known(item); err != nil {
		return d, err
	}
	for i := range c.Attrs {
		a := &c.Attrs[i]
		_, sent := item[a.Name]
		if sent && a.Use&inPost == 0 {
			return d, fault.HTTPBadRequest("Attribute '%s' not allowed in POST", a.Name)
		}
		if !sent && a.Use&required != 0 {
			return d, fault.HTTPBadRequest("Failed to parse request. Required attribute '%s' not specified", a.Name)
		}
	}
	sent, err := c.parse(item)
	if err != nil {
		return d, err
	}
	d.Given, d.Extra = map[string]bool{}, map[string]any{}
	for i := range c.Attrs {
		a := &c.Attrs[i]
		x, given := sent[a.Name]
		switch {
		case given && a.Extra:
			d.Extra[a.Name] = x
		case given:
			a.Set(d.Value, x)
		case a.Default != nil && a.Set != nil:
			a.Set(d.Value, a.Default)
		}
		if _, explicit := item[a.Name]; explicit {
			d.Given[a.Name] = true
		}
	}
	return d, c.mayCreate(v, d.Value, sent)
}

// mayCreate is policy for a new row.
func (c *collection[T]) mayCreate(v *view, row *T, sent map[string]any) error {
	if c.Parent != nil {
		if err := c.Parent(v, row); err != nil {
			return err
		}
	}
	o := c.Owners(v, row)
	r := newRules("create_"+c.Single, v.who.may(c.Create, o))
	for i := range c.Attrs {
		a := &c.Attrs[i]
		if x, given := sent[a.Name]; given && !isDefault(a.Default, x) {
			attribute(r, v.who, a, o, x, false)
		}
	}
	if !r.ok {
		return fault.NotAuthorized(r.text)
	}
	return nil
}

func isDefault(def, x any) bool {
	switch d := def.(type) {
	case bool, string, int:
		return d == x
	}
	return false
}

// ownProject settles whose the new row is: project_id and tenant_id are one attribute,
// and only admins may give a row to another project.
func (c *collection[T]) ownProject(who *caller, item map[string]any) error {
	if _, has := c.byName["project_id"]; !has {
		return nil
	}
	project, asProject := item["project_id"]
	tenant, asTenant := item["tenant_id"]
	for name, x := range map[string]any{"project_id": project, "tenant_id": tenant} {
		if _, err := orNull(text(255))(x); err != nil {
			return checkedAs(name, err)
		}
	}
	if asProject && asTenant && project != tenant {
		return fault.HTTPBadRequest("'project_id' and 'tenant_id' do not match")
	}
	if !asProject && asTenant {
		project, asProject = tenant, true
	}
	delete(item, "tenant_id")
	if !asProject || project == nil {
		item["project_id"] = who.ProjectID
		return nil
	}
	if project != who.ProjectID && !who.all(toAdmin|toService|toAdvsvc) {
		return fault.HTTPBadRequest("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin or advsvc privileges")
	}
	item["project_id"] = project
	return nil
}

// known refuses attributes that the resource does not have.
func (c *collection[T]) known(item map[string]any) error {
	var unknown []string
	for name := range item {
		if a, ok := c.byName[name]; !ok || (a.Get == nil && a.Use&(inPost|inPut) == 0) {
			unknown = append(unknown, name)
		}
	}
	return unrecognized(unknown)
}

// parse converts and checks every sent attribute, in the table's order.
func (c *collection[T]) parse(item map[string]any) (map[string]any, error) {
	sent := make(map[string]any, len(item))
	for i := range c.Attrs {
		a := &c.Attrs[i]
		raw, ok := item[a.Name]
		if !ok {
			continue
		}
		x, err := a.Parse(raw)
		if err != nil {
			return nil, checkedAs(a.Name, err)
		}
		sent[a.Name] = x
	}
	return sent, nil
}

// update is PUT /{id}.
func (c *collection[T]) update(rq *request, id string) error {
	if c.Change == nil {
		return errMethod(rq.r.Method)
	}
	body, err := rq.object()
	if err != nil {
		return err
	}
	items, _, err := unwrap(body, c.Single, "", false)
	if err != nil {
		return err
	}
	item := items[0]
	if err = c.known(item); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(item)) {
		if c.byName[name].Use&inPut == 0 {
			return fault.HTTPBadRequest("Cannot update read-only attribute %s", name)
		}
	}
	sent, err := c.parse(item)
	if err != nil {
		return err
	}
	change, err := c.mayChange(rq, id, sent)
	if err != nil {
		return err
	}
	row, err := c.Change(rq.srv.svc, rq.ctx(), rq.who.Actor, id, change)
	if err != nil {
		return err
	}
	v := rq.view()
	cols := c.columnsFor(v.who, nil)
	return rq.reply(http.StatusOK, func(b []byte) []byte { return c.appendOne(b, v, row, cols) })
}

// mayChange is policy for a change; it returns the change.
func (c *collection[T]) mayChange(rq *request, id string, sent map[string]any) (neutron.Change[T], error) {
	v := rq.view()
	ifMatch, err := rq.ifMatch()
	if err != nil {
		return neutron.Change[T]{}, err
	}
	row, err := c.find(v, id)
	if err != nil {
		return neutron.Change[T]{}, err
	}
	o := c.Owners(v, row)
	r := newRules("update_"+c.Single, v.who.may(c.Update, o))
	given, extra := map[string]bool{}, map[string]any{}
	for i := range c.Attrs {
		a := &c.Attrs[i]
		x, ok := sent[a.Name]
		if !ok {
			continue
		}
		given[a.Name] = true
		if a.Extra {
			extra[a.Name] = x
		}
		attribute(r, v.who, a, o, x, true)
	}
	if !r.ok {
		return neutron.Change[T]{}, fault.NotAuthorized(r.text)
	}
	change := neutron.Change[T]{Given: given, Extra: extra, IfMatch: ifMatch, Apply: func(row *T) {
		for i := range c.Attrs {
			if x, ok := sent[c.Attrs[i].Name]; ok && !c.Attrs[i].Extra {
				c.Attrs[i].Set(row, x)
			}
		}
	}}
	if c.Changed != nil {
		c.Changed(&change, sent)
	}
	return change, nil
}

// remove is DELETE /{id}.
func (c *collection[T]) remove(rq *request, id string) error {
	if c.Remove == nil {
		return errMethod(rq.r.Method)
	}
	ifMatch, err := rq.ifMatch()
	if err != nil {
		return err
	}
	if _, err = c.mayDo(rq.view(), id, "delete_"+c.Single, c.Delete); err != nil {
		return err
	}
	if err = c.Remove(rq.srv.svc, rq.ctx(), rq.who.Actor, id, ifMatch); err != nil {
		return err
	}
	rq.status(http.StatusNoContent)
	return nil
}

// mayDo finds the row and checks one rule: 404 if the caller cannot see it, else 403.
func (c *collection[T]) mayDo(v *view, id, rule string, g grant) (*T, error) {
	row, err := c.find(v, id)
	if err != nil {
		return nil, err
	}
	if !v.who.may(g, c.Owners(v, row)) {
		return nil, fault.NotAuthorized("rule:" + rule)
	}
	return row, nil
}
