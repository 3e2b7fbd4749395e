package api

// use says what an attribute is good for.
type use uint8

const (
	inPost   use = 1 << iota // may be sent in POST
	inPut                    // may be sent in PUT
	required                 // must be sent in POST
	filters                  // lists can be filtered by it
	sorts                    // lists can be sorted by it
	hidden                   // never in replies
	noUse    use = 0
)

// attr is one attribute of a resource whose rows are *T.
type attr[T any] struct {
	Name string
	Use  use

	// Parse checks and converts a sent value (what JSON decoding gives). It returns a
	// why (400 "Invalid input for <attr>. Reason: ...") or a *fault.Fault.
	Parse func(sent any) (any, error)
	// Default is given to Set when POST does not name the attribute; nil = nothing is set.
	Default any
	// Set puts a parsed value into a row.
	Set func(row *T, x any)
	// Extra attributes are not part of the row: they travel beside it.
	Extra bool

	// Get reads the attribute; needed unless hidden and not filterable.
	Get func(v *view, row *T) value
	// Kind converts filter values; kindText unless set.
	Kind kind
	// Canon puts a filter's text into the form that Get gives.
	Canon func(string) string
	// Match replaces the comparison with Get: it makes a filter from the values asked for.
	Match func(v *view, values []string) (func(row *T) bool, error)

	// Create, Update and See are who may send it in POST, send it in PUT and see it, on
	// top of being allowed the operation; 0 = everybody who is.
	Create, Update, See grant
	// Guarded limits Create and Update to some values.
	Guarded func(x any) bool
	// Sub are rules for parts of the value.
	Sub []subRule
}

// subRule is policy for a part of an attribute's value, such as fixed_ips:ip_address.
type subRule struct {
	Name           string
	Create, Update grant
	Present        func(x any) bool
}

// set adapts a typed setter; a value of another type (null included) sets the zero value.
func set[T, V any](f func(row *T, x V)) func(*T, any) {
	return func(row *T, x any) {
		v, _ := x.(V)
		f(row, v)
	}
}

// rowless is for attributes that only guide the operation.
