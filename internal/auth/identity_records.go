package auth

import (
	"cmp"
	"maps"
	"net/http"
	"slices"

	"github.com/google/uuid"
)

// The records of the built-in identity: projects, users, roles and the one domain.

func (i *Identity) list(w http.ResponseWriter, r *http.Request, kind string, rows []object) {
	q := r.URL.Query()
	kept := make([]object, 0, len(rows))
	for _, row := range rows {
		match := true
		for _, key := range []string{"name", "domain_id"} {
			if want := q.Get(key); want != "" && row[key] != nil && row[key] != want {
				match = false
			}
		}
		if match {
			kept = append(kept, row)
		}
	}
	slices.SortFunc(kept, func(a, b object) int {
		return cmp.Compare(a["name"].(string), b["name"].(string))
	})
	writeJSON(w, http.StatusOK, object{kind: kept, "links": object{"next": nil, "previous": nil, "self": baseURL(r) + r.URL.Path}})
}

func notFound(w http.ResponseWriter, kind, id string) {
	identityError(w, http.StatusNotFound, "Could not find "+kind+": "+id+".")
}

func projectBody(r *http.Request, p *ProjectRecord) object {
	return object{
		"id": p.ID, "name": p.Name, "description": p.Description, "domain_id": "default", "parent_id": "default",
		"enabled": true, "is_domain": false, "tags": []string{}, "options": object{},
		"links": object{"self": baseURL(r) + "/identity/v3/projects/" + p.ID},
	}
}

// projectBodies returns the projects that keep says yes to.
func (i *Identity) projectBodies(r *http.Request, keep func(*ProjectRecord) bool) []object {
	i.mu.Lock()
	defer i.mu.Unlock()
	rows := make([]object, 0, len(i.projects))
	for _, p := range i.projects {
		if keep(p) {
			rows = append(rows, projectBody(r, p))
		}
	}
	return rows
}

func (i *Identity) listProjects(w http.ResponseWriter, r *http.Request, g *grant) {
	all := slices.Contains(g.roles, "admin")
	i.list(w, r, "projects", i.projectBodies(r, func(p *ProjectRecord) bool { return all || len(g.user.Roles[p.Name]) > 0 }))
}

func (i *Identity) ownProjects(w http.ResponseWriter, r *http.Request, g *grant) {
	i.list(w, r, "projects", i.projectBodies(r, func(p *ProjectRecord) bool { return len(g.user.Roles[p.Name]) > 0 }))
}

func (i *Identity) userProjects(w http.ResponseWriter, r *http.Request, g *grant) {
	i.mu.Lock()
	u := i.users[r.PathValue("id")]
	i.mu.Unlock()
	if u == nil || (u != g.user && !slices.Contains(g.roles, "admin")) {
		notFound(w, "user", r.PathValue("id"))
		return
	}
	i.list(w, r, "projects", i.projectBodies(r, func(p *ProjectRecord) bool { return len(u.Roles[p.Name]) > 0 }))
}

func (i *Identity) getProject(w http.ResponseWriter, r *http.Request, g *grant) {
	i.mu.Lock()
	p := i.projects[r.PathValue("id")]
	i.mu.Unlock()
	if p == nil || (len(g.user.Roles[p.Name]) == 0 && !slices.Contains(g.roles, "admin")) {
		notFound(w, "project", r.PathValue("id"))
		return
	}
	writeJSON(w, http.StatusOK, object{"project": projectBody(r, p)})
}

func (i *Identity) postProject(w http.ResponseWriter, r *http.Request, _ *grant) {
	var req struct {
		Project struct {
			Name        string `json:"name"`
			Description string `json:"description"`
		} `json:"project"`
	}
	if !readBody(w, r, &req) {
		return
	}
	if req.Project.Name == "" || len(req.Project.Name) > 64 {
		identityError(w, http.StatusBadRequest, "Invalid input for field 'name': 1 to 64 characters are needed.")
		return
	}
	p := &ProjectRecord{ID: stableID("created", uuid.NewString()), Name: req.Project.Name, Description: req.Project.Description}
	i.mu.Lock()
	taken := i.findProject("", p.Name) != nil
	full := len(i.projects) >= maxTokens
	if !taken && !full {
		i.projects[p.ID] = p
	}
	i.mu.Unlock()
	switch {
	case taken:
		identityError(w, http.StatusConflict, "Conflict occurred attempting to store project - it is not permitted to have two projects with the same name in the same domain : "+p.Name+".")
	case full:
		identityError(w, http.StatusForbidden, "Too many projects.")
	default:
		writeJSON(w, http.StatusCreated, object{"project": projectBody(r, p)})
	}
}

func (i *Identity) deleteProject(w http.ResponseWriter, r *http.Request, _ *grant) {
	id := r.PathValue("id")
	i.mu.Lock()
	_, known := i.projects[id]
	delete(i.projects, id)
	for t, g := range i.tokens {
		if g.project != nil && g.project.ID == id {
			delete(i.tokens, t)
		}
	}
	i.mu.Unlock()
	if !known {
		notFound(w, "project", id)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func domainBody(r *http.Request) object {
	return object{
		"id": "default", "name": "Default", "description": "The default domain", "enabled": true,
		"links": object{"self": baseURL(r) + "/identity/v3/domains/default"},
	}
}

func (i *Identity) listDomains(w http.ResponseWriter, r *http.Request, _ *grant) {
	i.list(w, r, "domains", []object{domainBody(r)})
}

func (i *Identity) getDomain(w http.ResponseWriter, r *http.Request, _ *grant) {
	if r.PathValue("id") != "default" {
		notFound(w, "domain", r.PathValue("id"))
		return
	}
	writeJSON(w, http.StatusOK, object{"domain": domainBody(r)})
}

func userBody(r *http.Request, u *UserRecord) object {
	return object{
		"id": u.ID, "name": u.Name, "domain_id": "default", "enabled": true, "password_expires_at": nil,
		"links": object{"self": baseURL(r) + "/identity/v3/users/" + u.ID},
	}
}

func (i *Identity) listUsers(w http.ResponseWriter, r *http.Request, _ *grant) {
	i.mu.Lock()
	rows := make([]object, 0, len(i.users))
	for _, u := range i.users {
		rows = append(rows, userBody(r, u))
	}
	i.mu.Unlock()
	i.list(w, r, "users", rows)
}

func (i *Identity) getUser(w http.ResponseWriter, r *http.Request, g *grant) {
	i.mu.Lock()
	u := i.users[r.PathValue("id")]
	i.mu.Unlock()
	if u == nil || (u != g.user && !slices.Contains(g.roles, "admin")) {
		notFound(w, "user", r.PathValue("id"))
		return
	}
	writeJSON(w, http.StatusOK, object{"user": userBody(r, u)})
}

// roleNames are the roles that anybody has, and the implied ones.
func (i *Identity) roleNames() []string {
	names := map[string]bool{"service": true}
	for _, r := range implied {
		names[r] = true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, u := range i.users {
		for _, roles := range u.Roles {
			for _, r := range roles {
				names[r] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func roleBody(r *http.Request, name string) object {
	id := stableID("role", name)
	return object{"id": id, "name": name, "domain_id": nil, "links": object{"self": baseURL(r) + "/identity/v3/roles/" + id}}
}

func (i *Identity) listRoles(w http.ResponseWriter, r *http.Request, _ *grant) {
	var rows []object
	for _, name := range i.roleNames() {
		rows = append(rows, roleBody(r, name))
	}
	i.list(w, r, "roles", rows)
}

func (i *Identity) getRole(w http.ResponseWriter, r *http.Request, _ *grant) {
	for _, name := range i.roleNames() {
		if stableID("role", name) == r.PathValue("id") {
			writeJSON(w, http.StatusOK, object{"role": roleBody(r, name)})
			return
		}
	}
	notFound(w, "role", r.PathValue("id"))
}
