package api

import (
	"slices"
	"strings"

	"neutrino/internal/model"
)

// row is a pointer to a type with standard attributes.
type row[T any] interface {
	*T
	model.Resource
}

// rowID is the ID of resources with standard attributes.
func rowID[T any, R row[T]](r *T) string { return R(r).Standard().ID }

// identity are the attributes id, name and project that every resource has.
func identity[T any, R row[T]](name attr[T]) []attr[T] {
	project := func(_ *view, r *T) value { return textValue(R(r).Standard().ProjectID) }
	name.Name = "name"
	name.Use |= inPost | inPut | filters | sorts
	name.Get = func(_ *view, r *T) value { return textValue(R(r).Standard().Name) }
	name.Set = set(func(r *T, x string) { R(r).Standard().Name = x })
	return []attr[T]{
		{
			Name: "id", Use: filters | sorts,
			Get: func(_ *view, r *T) value { return textValue(R(r).Standard().ID) },
		},
		name,
		{Name: "tenant_id", Use: filters | sorts, Get: project},
		{
			Name: "project_id", Use: inPost | filters | sorts, Parse: text(255), Get: project,
			Set: set(func(r *T, x string) { R(r).Standard().ProjectID = x }),
		},
	}
}

// plainName is a name that may be anything.
func plainName[T any]() attr[T] { return attr[T]{Parse: text(255), Default: ""} }

// standard are the attributes description, revision_number and the timestamps.
func standard[T any, R row[T]]() []attr[T] {
	return []attr[T]{
		{
			Name: "description", Use: inPost | inPut | filters, Parse: text(255), Default: "",
			Get: func(_ *view, r *T) value { return textValue(R(r).Standard().Description) },
			Set: set(func(r *T, x string) { R(r).Standard().Description = x }),
		},
		{
			Name: "revision_number", Use: filters, Kind: kindInt,
			Get: func(_ *view, r *T) value { return intValue(R(r).Standard().Revision) },
		},
		{Name: "created_at", Get: func(_ *view, r *T) value { return timeValue(R(r).Standard().CreatedAt) }},
		{Name: "updated_at", Get: func(_ *view, r *T) value { return timeValue(R(r).Standard().UpdatedAt) }},
	}
}

// tagged are the attribute tags and the filters by tags.
func tagged[T any, R row[T]]() []attr[T] {
	have := func(r *T) []string { return R(r).Standard().Tags }
	by := func(keep func(have, want []string) bool) func(*view, []string) (func(*T) bool, error) {
		return func(_ *view, values []string) (func(*T) bool, error) {
			want := strings.Split(strings.Join(values, ","), ",")
			return func(r *T) bool { return keep(have(r), want) }, nil
		}
	}
	return []attr[T]{
		{
			Name: "tags", Use: inPost | filters, Parse: tagList, Match: by(hasAll),
			Get: func(_ *view, r *T) value { return textsValue(&R(r).Standard().Tags) },
			Set: set(func(r *T, x []string) { R(r).Standard().Tags = x }),
		},
		{Name: "tags-any", Use: filters | hidden, Match: by(hasSome)},
		{Name: "not-tags", Use: filters | hidden, Match: by(func(h, w []string) bool { return !hasAll(h, w) })},
		{Name: "not-tags-any", Use: filters | hidden, Match: by(func(h, w []string) bool { return !hasSome(h, w) })},
	}
}

func hasAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

func hasSome(have, want []string) bool {
	for _, w := range want {
		if slices.Contains(have, w) {
			return true
		}
	}
	return false
}

// Short forms for attributes that are one field of a row.

func boolAttr[T any](name string, u use, def any, field func(*T) *bool) attr[T] {
	return attr[T]{
		Name: name, Use: u, Parse: parseBool, Default: def, Kind: kindBool,
		Get: func(_ *view, r *T) value { return boolValue(*field(r)) },
		Set: set(func(r *T, x bool) { *field(r) = x }),
	}
}

func intAttr[T any](name string, u use, parse check, def any, field func(*T) *int) attr[T] {
	return attr[T]{
		Name: name, Use: u, Parse: parse, Default: def, Kind: kindInt,
		Get: func(_ *view, r *T) value { return intValue(int64(*field(r))) },
		Set: set(func(r *T, x int) { *field(r) = x }),
	}
}

func textAttr[T any](name string, u use, parse check, def any, field func(*T) *string) attr[T] {
	return attr[T]{
		Name: name, Use: u, Parse: parse, Default: def,
		Get: func(_ *view, r *T) value { return textValue(*field(r)) },
		Set: set(func(r *T, x string) { *field(r) = x }),
	}
}

// nullAttr is like textAttr, but "" is null.
func nullAttr[T any](name string, u use, parse check, field func(*T) *string) attr[T] {
	return attr[T]{
		Name: name, Use: u, Parse: orNull(parse),
		Get: func(_ *view, r *T) value { return textOrNull(*field(r)) },
		Set: set(func(r *T, x string) { *field(r) = x }),
	}
}

func textsAttr[T any](name string, u use, parse check, field func(*T) *[]string) attr[T] {
	return attr[T]{
		Name: name, Use: u, Parse: parse,
		Get: func(_ *view, r *T) value { return textsValue(field(r)) },
		Set: set(func(r *T, x []string) { *field(r) = x }),
	}
}

// by gives an attribute its policy.
func (a attr[T]) by(create, update, see grant) attr[T] {
	a.Create, a.Update, a.See = create, update, see
	return a
}
