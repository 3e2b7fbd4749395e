package api

import (
	"cmp"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"neutrino/internal/fault"
)

// flushAt is when a list that is being written is sent on, in bytes.
const flushAt = 128 << 10

// page is what the query says about order and extent.
type page struct {
	fields    []string
	keys      []string
	down      []bool // per key: descending
	limit     int    // 0 = all
	marker    string
	backwards bool
}

// list is GET on the collection.
func (c *collection[T]) list(rq *request) error {
	if c.Before != nil {
		if err := c.Before(rq.ctx(), rq.srv.svc, rq.who.Actor); err != nil {
			return err
		}
	}
	q, err := rq.query()
	if err != nil {
		return err
	}
	p, err := c.readPage(q, rq.srv.o.PaginationMaxLimit)
	if err != nil {
		return err
	}
	v := rq.view()
	match, err := c.readFilters(v, q)
	if err != nil {
		return err
	}
	rows, err := c.page(v, p, c.matching(v, q, match))
	if err != nil {
		return err
	}
	return c.writeList(rq, v, p, rows)
}

// reserved are the query's words that are no filters.
var reserved = []string{"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse"}

func (c *collection[T]) readPage(q url.Values, maxLimit int) (page, error) {
	p := page{fields: fieldsOf(q), keys: q["sort_key"]}
	dirs := q["sort_dir"]
	if len(p.keys) != len(dirs) {
		return p, fault.HTTPBadRequest("The number of sort_keys and sort_dirs must be same")
	}
	var badKeys, badDirs []string
	for i, key := range p.keys {
		if a, ok := c.byName[key]; !ok || a.Use&sorts == 0 {
			badKeys = append(badKeys, key)
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			badDirs = append(badDirs, dirs[i])
		}
		p.down = append(p.down, dirs[i] == "desc")
	}
	if badKeys != nil {
		return p, fault.HTTPBadRequest("['%s'] is invalid attribute for sort_keys", strings.Join(badKeys, "', '"))
	}
	if badDirs != nil {
		return p, fault.HTTPBadRequest("['%s'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'", strings.Join(badDirs, "', '"))
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return p, fault.BadRequest("limit", "Limit must be an integer 0 or greater and not '%s'", text)
		}
		p.limit = n
	}
	if maxLimit > 0 && (p.limit == 0 || p.limit > maxLimit) {
		p.limit = maxLimit
	}
	p.marker = q.Get("marker")
	p.backwards = strings.EqualFold(q.Get("page_reverse"), "true")
	return p, nil
}

// fieldsOf are the attributes that the reply is to have; none = all.
func fieldsOf(q url.Values) []string {
	return slices.DeleteFunc(slices.Clone(q["fields"]), func(f string) bool { return f == "" })
}

// readFilters makes one test of all filters.
func (c *collection[T]) readFilters(v *view, q url.Values) (func(*T) bool, error) {
	var tests []func(*T) bool
	var bad []string
	project := projectFilter(q)
	for key, values := range q {
		if slices.Contains(reserved, key) || key == "tenant_id" && project != nil {
			continue
		}
		if key == "project_id" && project != nil {
			values = project
		}
		a, ok := c.byName[key]
		if !ok || a.Use&filters == 0 {
			bad = append(bad, key)
			continue
		}
		test, err := c.readFilter(v, a, values)
		if err != nil {
			return nil, err
		}
		tests = append(tests, test)
	}
	if bad != nil {
		slices.Sort(bad)
		return nil, fault.HTTPBadRequest("['%s'] is invalid attribute for filtering", strings.Join(bad, "', '"))
	}
	return func(row *T) bool {
		for _, t := range tests {
			if !t(row) {
				return false
			}
		}
		return true
	}, nil
}

// projectFilter joins project_id and tenant_id when both are asked for.
func projectFilter(q url.Values) []string {
	if q.Has("project_id") && q.Has("tenant_id") {
		return append(slices.Clone(q["project_id"]), q["tenant_id"]...)
	}
	return nil
}

// readFilter makes the test of one filter: any of the values.
func (c *collection[T]) readFilter(v *view, a *attr[T], values []string) (func(*T) bool, error) {
	if a.Match != nil {
		return a.Match(v, values)
	}
	want := make([]value, len(values))
	for i, s := range values {
		var err error
		if want[i], err = filterValue(a.Kind, a.Canon, s); err != nil {
			return nil, err
		}
	}
	if len(want) > 16 && want[0].kind == kindText {
		set := make(map[string]bool, len(want))
		for _, w := range want {
			set[w.text] = true
		}
		return func(row *T) bool { x := a.Get(v, row); return x.kind <= kindText && x.kind != kindBool && set[x.text] }, nil
	}
	return func(row *T) bool {
		x := a.Get(v, row)
		for i := range want {
			if x.equal(want[i]) {
				return true
			}
		}
		return false
	}, nil
}

// filterValue converts a filter's text to the attribute's kind.
func filterValue(k kind, canon func(string) string, s string) (value, error) {
	switch k {
	case kindBool:
		b, err := parseBool(s)
		if err != nil {
			return value{}, err
		}
		return boolValue(b.(bool)), nil
	case kindInt:
		n, err := parseInt(s)
		if err != nil {
			return value{}, err
		}
		return intValue(int64(n.(int))), nil
	}
	if canon != nil {
		s = canon(s)
	}
	return textValue(s), nil
}

// candidates are rows in the order of their ids, as few as an index can tell.
func (c *collection[T]) candidates(v *view, q url.Values) iter.Seq[*T] {
	if c.Table == nil {
		return c.All(v)
	}
	t := c.Table(v.t)
	if ids := q["id"]; len(ids) > 0 {
		ids = slices.Compact(slices.Sorted(slices.Values(ids)))
		return func(yield func(*T) bool) {
			for _, id := range ids {
				if row, ok := t.Get(v.snap, id); ok && !yield(row) {
					return
				}
			}
		}
	}
	for _, ix := range c.Indexes {
		values := q[ix.Attr]
		if ix.Keys != nil {
			values = ix.Keys(values)
		}
		if len(values) == 0 || slices.Contains(values, "") || projectFilter(q) != nil && ix.Name == "project" {
			continue
		}
		if len(values) == 1 {
			return t.By(v.snap, ix.Name, values[0])
		}
		rows := make([]*T, 0, len(values))
		for _, x := range slices.Compact(slices.Sorted(slices.Values(values))) {
			rows = slices.AppendSeq(rows, t.By(v.snap, ix.Name, x))
		}
		slices.SortFunc(rows, func(a, b *T) int { return cmp.Compare(c.ID(a), c.ID(b)) })
		return slices.Values(slices.CompactFunc(rows, func(a, b *T) bool { return c.ID(a) == c.ID(b) }))
	}
	return t.All(v.snap)
}

// matching are the candidates that the caller may see and asked for.
func (c *collection[T]) matching(v *view, q url.Values, match func(*T) bool) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for row := range c.candidates(v, q) {
			if match(row) && c.sees(v, row) && !yield(row) {
				return
			}
		}
	}
}

// page sorts and cuts.
func (c *collection[T]) page(v *view, p page, rows iter.Seq[*T]) ([]*T, error) {
	order := c.order(v, p)
	var marker *T
	if p.marker != "" && p.limit > 0 {
		row, err := c.find(v, p.marker)
		if err != nil {
			return nil, err
		}
		marker = row
	}
	inTurn := len(p.keys) == 0 && !p.backwards // rows come as they are wanted: stop when there are enough
	var out []*T
	for row := range rows {
		if marker != nil {
			if at := order(row, marker); p.backwards && at >= 0 || !p.backwards && at <= 0 {
				continue
			}
		}
		out = append(out, row)
		if inTurn && p.limit > 0 && len(out) == p.limit {
			return out, nil
		}
	}
	if len(p.keys) > 0 {
		slices.SortFunc(out, order)
	}
	if p.limit > 0 && len(out) > p.limit {
		if p.backwards {
			return out[len(out)-p.limit:], nil
		}
		return out[:p.limit], nil
	}
	return out, nil
}

// order compares rows by the sort keys, then by id.
func (c *collection[T]) order(v *view, p page) func(a, b *T) int {
	attrs := make([]*attr[T], len(p.keys))
	for i, key := range p.keys {
		attrs[i] = c.byName[key]
	}
	return func(a, b *T) int {
		for i, at := range attrs {
			if d := at.Get(v, a).compare(at.Get(v, b)); d != 0 {
				if p.down[i] {
					return -d
				}
				return d
			}
		}
		return cmp.Compare(c.ID(a), c.ID(b))
	}
}

// writeList sends the rows, in pieces when there are many.
func (c *collection[T]) writeList(rq *request, v *view, p page, rows []*T) error {
	cols := c.columnsFor(v.who, p.fields)
	out := rq.stream()
	defer out.release()
	b := append(append(append(out.buf, `{"`...), c.Plural...), `":[`...)
	for i, row := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRow(b, v, row, cols)
		if len(b) >= flushAt {
			if b = out.flush(b); b == nil {
				return nil // the client is gone
			}
		}
	}
	b = append(b, ']')
	b = c.appendLinks(b, rq, p, rows)
	out.finish(append(b, '}'))
	return nil
}

// appendLinks writes <collection>_links: a full page always has a next one, and any page
// but the first of a backward walk has a previous one.
func (c *collection[T]) appendLinks(b []byte, rq *request, p page, rows []*T) []byte {
	if p.limit == 0 || len(rows) == 0 {
		return b
	}
	b = append(append(append(b, `,"`...), c.Plural...), `_links":[`...)
	next := len(rows) == p.limit || p.backwards
	if next {
		b = appendLink(b, "next", rq.pageURL(c.ID(rows[len(rows)-1]), false))
	}
	if len(rows) == p.limit || !p.backwards {
		if next {
			b = append(b, ',')
		}
		b = appendLink(b, "previous", rq.pageURL(c.ID(rows[0]), true))
	}
	return append(b, ']')
}

func appendLink(b []byte, rel, href string) []byte {
	b = append(appendText(append(b, `{"rel":`...), rel), `,"href":`...)
	return append(appendText(b, href), '}')
}

// pageURL is the request's own URL with another marker.
func (rq *request) pageURL(marker string, backwards bool) string {
	q, _ := url.ParseQuery(rq.r.URL.RawQuery) // was understood before
	q.Set("marker", marker)
	q.Del("page_reverse")
	if backwards {
		q.Set("page_reverse", "True")
	}
	return rq.base() + rq.r.URL.EscapedPath() + "?" + q.Encode()
}

// query is the URL's query, strictly read.
func (rq *request) query() (url.Values, error) {
	if rq.r.URL.RawQuery == "" {
		return nil, nil
	}
	q, err := url.ParseQuery(rq.r.URL.RawQuery)
	if err != nil {
		return nil, fault.HTTPBadRequest("The query is not understood")
	}
	return q, nil
}

// status sends a reply without a body.
func (rq *request) status(code int) {
	if code != http.StatusNoContent {
		rq.w.Header().Set("Content-Length", "0")
	}
	rq.w.WriteHeader(code)
}
