package api

import (
	"context"
	"errors"
	"net/http"

	"neutrino/internal/auth"
	"neutrino/internal/fault"
	"neutrino/internal/store"
)

// asFault turns any error into what the client is told. Unexpected errors become a 500
// that says nothing but the request id; the caller logs them.
func asFault(err error, requestID string) *fault.Fault {
	if f := fault.As(err); f != nil {
		return f
	}
	switch {
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fault.Unavailable("The store does not answer; nothing is known to have been changed. Try again later.")
	case errors.Is(err, auth.ErrUnavailable):
		return fault.Unavailable("The identity service does not answer. Try again later.")
	case errors.Is(err, store.ErrConflict):
		return fault.New("Conflict", http.StatusConflict, "The request conflicts with other requests at the same time. Try again.")
	}
	return fault.New("HTTPInternalServerError", http.StatusInternalServerError,
		"Request Failed: internal server error while processing your request (%s).", requestID)
}

// appendFault writes Neutron's error envelope.
func appendFault(b []byte, f *fault.Fault) []byte {
	b = append(b, `{"NeutronError":{"type":`...)
	b = appendText(b, f.Type)
	b = append(b, `,"message":`...)
	b = appendText(b, f.Message)
	b = append(b, `,"detail":`...)
	b = appendText(b, f.Detail)
	return append(b, "}}"...)
}

func errMethod(method string) *fault.Fault {
	return fault.New("HTTPMethodNotAllowed", http.StatusMethodNotAllowed, "The method %s is not allowed for this resource.", method)
}
