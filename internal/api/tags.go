package api

import (
	"net/http"
	"slices"
	"strings"

	"neutrino/internal/fault"
	"neutrino/internal/model"
)

// maxTag is how long a tag may be, in characters.
const maxTag = 255

// tags is everything under /{collection}/{id}/tags.
func (c *collection[T]) tags(rq *request, id string, path []string) error {
	method := rq.r.Method
	if len(path) > 1 {
		return fault.HTTPNotFound()
	}
	g, rule := c.Update, "update_"+c.Plural+"_tags"
	switch method {
	case http.MethodGet:
		g, rule = c.See, "get_"+c.Plural+"_tags"
	case http.MethodDelete:
		rule = "delete_" + c.Plural + "_tags"
	case http.MethodPost:
		rule = "create_" + c.Plural + "_tags"
	case http.MethodPut:
	default:
		return errMethod(method)
	}
	row, err := c.mayDo(rq.view(), id, rule, g)
	if err != nil {
		if fault.HasType(err, c.NotFound(id).Type) {
			return fault.TagResourceNotFound(c.Plural, id)
		}
		return err
	}
	have := any(row).(model.Resource).Standard().Tags
	if len(path) == 1 {
		return c.oneTag(rq, id, path[0], have)
	}
	return c.allTags(rq, id, have)
}

// oneTag is GET, PUT and DELETE of /tags/{tag}.
func (c *collection[T]) oneTag(rq *request, id, tag string, have []string) error {
	if _, err := text(maxTag)(tag); err != nil {
		return fault.InvalidInput("%s", err.Error())
	}
	known := slices.Contains(have, tag)
	switch rq.r.Method {
	case http.MethodGet:
		if !known {
			return fault.TagNotFound(tag)
		}
		rq.status(http.StatusNoContent)
		return nil
	case http.MethodPut:
		if !known {
			if _, err := c.setTags(rq, id, func(l []string) []string { return addTags(l, []string{tag}) }); err != nil {
				return err
			}
		}
		return rq.reply(http.StatusCreated, func(b []byte) []byte { return append(b, "null"...) })
	case http.MethodDelete:
		if !known {
			return fault.TagNotFound(tag)
		}
		if _, err := c.setTags(rq, id, func(l []string) []string {
			return slices.DeleteFunc(slices.Clone(l), func(t string) bool { return t == tag })
		}); err != nil {
			return err
		}
		rq.status(http.StatusNoContent)
		return nil
	}
	return errMethod(rq.r.Method)
}

// allTags is GET, PUT, POST and DELETE of /tags.
func (c *collection[T]) allTags(rq *request, id string, have []string) error {
	status := http.StatusOK
	switch rq.r.Method {
	case http.MethodDelete:
		if _, err := c.setTags(rq, id, func([]string) []string { return nil }); err != nil {
			return err
		}
		rq.status(http.StatusNoContent)
		return nil
	case http.MethodPut, http.MethodPost:
		tags, err := rq.tagBody()
		if err != nil {
			return err
		}
		edit := func([]string) []string { return tags }
		if rq.r.Method == http.MethodPost {
			status = http.StatusCreated
			edit = func(l []string) []string { return addTags(l, tags) }
		}
		if have, err = c.setTags(rq, id, edit); err != nil {
			return err
		}
	}
	return rq.reply(status, func(b []byte) []byte {
		b = append(b, `{"tags":`...)
		b = (*texts)(&have).appendJSON(b)
		return append(b, '}')
	})
}

func (c *collection[T]) setTags(rq *request, id string, edit func([]string) []string) ([]string, error) {
	return rq.srv.svc.SetTags(rq.ctx(), rq.who.Actor, strings.ReplaceAll(c.Plural, "_", "-"), id, edit)
}

// addTags returns have with those of more that are new.
func addTags(have, more []string) []string {
	out := slices.Clone(have)
	for _, t := range more {
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return out
}

// tagBody reads {"tags": [...]}.
func (rq *request) tagBody() ([]string, error) {
	body, err := rq.object()
	if err != nil {
		return nil, err
	}
	raw, ok := body["tags"]
	if !ok || len(body) != 1 {
		return nil, fault.InvalidInput("Invalid tags body")
	}
	x, err := tagList(raw)
	if err != nil {
		return nil, fault.InvalidInput("%s", err.Error())
	}
	return x.([]string), nil
}

var tagList = notNull(uniqueTexts(text(maxTag)))
