package fault

import (
	"errors"
	"fmt"
	"net/http"
)

// Fault is one error of the API.
type Fault struct {
	Type    string // Neutron's exception class, e.g. "NetworkNotFound"
	Status  int    // HTTP status
	Message string
	Detail  string
}

// Error returns the message, so that a Fault reads well in logs too.
func (f *Fault) Error() string { return f.Message }

// Is makes errors.Is(err, &Fault{Type: t}) match by type.
func (f *Fault) Is(target error) bool {
	t, ok := target.(*Fault)
	return ok && t.Type == f.Type
}

// New returns a Fault with a formatted message.
func New(typ string, status int, format string, args ...any) *Fault {
	return &Fault{Type: typ, Status: status, Message: fmt.Sprintf(format, args...)}
}

// As returns the Fault in err's chain, or nil.
func As(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// HasType reports whether err is a Fault of the type.
func HasType(err error, typ string) bool {
	f := As(err)
	return f != nil && f.Type == typ
}

// InvalidInput is Neutron's 400 for a value that is understood but not acceptable.
func InvalidInput(format string, args ...any) *Fault {
	return New("InvalidInput", http.StatusBadRequest, "Invalid input for operation: %s.", fmt.Sprintf(format, args...))
}

// BadRequest is Neutron's BadRequest exception for a resource.
func BadRequest(resource, format string, args ...any) *Fault {
	return New("BadRequest", http.StatusBadRequest, "Bad %s request: %s.", resource, fmt.Sprintf(format, args...))
}

// HTTPBadRequest is the 400 that the API layer itself gives: bodies, attributes, filters.
func HTTPBadRequest(format string, args ...any) *Fault {
	return New("HTTPBadRequest", http.StatusBadRequest, format, args...)
}

// HTTPNotFound is the 404 for an unknown URL.
func HTTPNotFound() *Fault {
	return New("HTTPNotFound", http.StatusNotFound, "The resource could not be found.")
}

// NotAuthorized is Neutron's 403.
func NotAuthorized(rule string) *Fault {
	return New("PolicyNotAuthorized", http.StatusForbidden, "%s is disallowed by policy", rule)
}

// Unavailable is the 503 for a store that does not answer.
func Unavailable(format string, args ...any) *Fault {
	return New("ServiceUnavailable", http.StatusServiceUnavailable, format, args...)
}
