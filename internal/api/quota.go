package api

import (
	"maps"
	"net/http"
	"slices"
	"strconv"

	"neutrino/internal/fault"
	"neutrino/internal/neutron"
)

// serveQuotas is everything under /quotas. A quota is not a resource like the others: it
// has no id of its own, its attributes are the quota names, and any text is a project.
func serveQuotas(rq *request, path []string) error {
	method := rq.r.Method
	switch {
	case len(path) == 0:
		if method != http.MethodGet {
			return errMethod(method)
		}
		return rq.listQuotas()
	case len(path) == 1 && (path[0] == "tenant" || path[0] == "project"):
		if method != http.MethodGet {
			return errMethod(method)
		}
		return rq.reply(http.StatusOK, func(b []byte) []byte {
			b = appendText(append(b, `{"tenant":{"tenant_id":`...), rq.who.ProjectID)
			return append(appendText(append(b, `,"project_id":`...), rq.who.ProjectID), "}}"...)
		})
	case len(path) == 1:
		return rq.oneQuota(path[0])
	case len(path) == 2 && method == http.MethodGet:
		return rq.quotaView(path[0], path[1])
	case len(path) == 2:
		return errMethod(method)
	}
	return fault.HTTPNotFound()
}

// mayReadQuota lets a project's readers see its own quota, and admins every quota.
func (rq *request) mayReadQuota(project string) error {
	if !rq.who.may(adminOrReader|toService, owners{project: project}) {
		return fault.NotAuthorized("rule:get_quota")
	}
	return nil
}

func (rq *request) listQuotas() error {
	if !rq.who.all(adminOnly) {
		return fault.NotAuthorized("rule:get_quota")
	}
	v := rq.view()
	return rq.reply(http.StatusOK, func(b []byte) []byte {
		b = append(b, `{"quotas":[`...)
		first := true
		for q := range v.t.Quotas.All(v.snap) {
			if !first {
				b = append(b, ',')
			}
			first = false
			b = appendQuota(append(b, '{'), v.svc.QuotaFor(v.snap, q.ProjectID))
			b = appendText(append(b, `,"project_id":`...), q.ProjectID)
			b = append(appendText(append(b, `,"tenant_id":`...), q.ProjectID), '}')
		}
		return append(b, "]}"...)
	})
}

// oneQuota is GET, PUT and DELETE of /quotas/{project}.
func (rq *request) oneQuota(project string) error {
	switch rq.r.Method {
	case http.MethodGet:
		if err := rq.mayReadQuota(project); err != nil {
			return err
		}
		v := rq.view()
		return rq.replyQuota(v.svc.QuotaFor(v.snap, project))
	case http.MethodPut:
		return rq.setQuota(project)
	case http.MethodDelete:
		if !rq.who.all(adminOnly) {
			return fault.NotAuthorized("rule:delete_quota")
		}
		if err := rq.srv.svc.DeleteQuota(rq.ctx(), rq.who.Actor, project); err != nil {
			return err
		}
		rq.status(http.StatusNoContent)
		return nil
	}
	return errMethod(rq.r.Method)
}

func (rq *request) replyQuota(limits map[string]int) error {
	return rq.reply(http.StatusOK, func(b []byte) []byte {
		return append(appendQuota(append(b, `{"quota":{`...), limits), "}}"...)
	})
}

// appendQuota writes the members of a quota.
func appendQuota(b []byte, limits map[string]int) []byte {
	for i, name := range slices.Sorted(maps.Keys(limits)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, name), ':')
		b = strconv.AppendInt(b, int64(limits[name]), 10)
	}
	return b
}

// quotaView is GET /quotas/{project}/default and /details.
func (rq *request) quotaView(project, what string) error {
	if what != "default" && what != "details" {
		return fault.HTTPNotFound()
	}
	if err := rq.mayReadQuota(project); err != nil {
		return err
	}
	v := rq.view()
	if what == "default" {
		return rq.replyQuota(v.svc.DefaultQuota())
	}
	details := v.svc.QuotaDetails(v.snap, project)
	return rq.reply(http.StatusOK, func(b []byte) []byte {
		b = append(b, `{"quota":{`...)
		for i, name := range slices.Sorted(maps.Keys(details)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, name), ':')
			b = appendQuotaDetail(b, details[name])
		}
		return append(b, "}}"...)
	})
}

func appendQuotaDetail(b []byte, d neutron.QuotaDetail) []byte {
	b = strconv.AppendInt(append(b, `{"limit":`...), int64(d.Limit), 10)
	b = strconv.AppendInt(append(b, `,"used":`...), int64(d.Used), 10)
	b = strconv.AppendInt(append(b, `,"reserved":`...), int64(d.Reserved), 10)
	return append(b, '}')
}

// maxLimit is the largest quota, as in Neutron's database.
const maxLimit = 1<<31 - 1

// setQuota is PUT /quotas/{project}. With check_limit, limits below what is in use are
// refused; with force they are not, whatever check_limit says.
func (rq *request) setQuota(project string) error {
	if !rq.who.all(adminOnly) {
		return fault.NotAuthorized("rule:update_quota")
	}
	body, err := rq.object()
	if err != nil {
		return err
	}
	items, _, err := unwrap(body, "quota", "", false)
	if err != nil {
		return err
	}
	limits, checked, err := rq.parseLimits(items[0])
	if err != nil {
		return err
	}
	if checked {
		if err = rq.checkLimits(project, limits); err != nil {
			return err
		}
	}
	all, err := rq.srv.svc.SetQuota(rq.ctx(), rq.who.Actor, project, limits)
	if err != nil {
		return err
	}
	return rq.replyQuota(all)
}

func (rq *request) parseLimits(item map[string]any) (limits map[string]int, checked bool, err error) {
	limits = map[string]int{}
	known := rq.srv.svc.QuotaResources()
	var unknown []string
	force := false
	for _, name := range slices.Sorted(maps.Keys(item)) {
		switch {
		case name == "check_limit" || name == "force":
			on, errBool := parseBool(item[name])
			if errBool != nil {
				return nil, false, errBool
			}
			checked = checked || name == "check_limit" && on == true
			force = force || name == "force" && on == true
		case name == "project_id" || name == "tenant_id":
		case !slices.Contains(known, name):
			unknown = append(unknown, name)
		default:
			n, errInt := parseInt(item[name])
			if errInt != nil {
				return nil, false, errInt
			}
			limit, _ := n.(int)
			if limit < -1 {
				return nil, false, checkedAs(name, whyf("'%d' is too small - must be at least '-1'", limit))
			}
			if limit > maxLimit {
				return nil, false, checkedAs(name, whyf("'%d' is too large - must be no larger than '%d'", limit, maxLimit))
			}
			limits[name] = limit
		}
	}
	return limits, checked && !force, unrecognized(unknown)
}

// checkLimits refuses limits below what is in use.
func (rq *request) checkLimits(project string, limits map[string]int) error {
	v := rq.view()
	details := v.svc.QuotaDetails(v.snap, project)
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		if d := details[name]; limits[name] >= 0 && limits[name] < d.Used {
			return fault.QuotaBelowUse(name, limits[name], d.Used)
		}
	}
	return nil
}
