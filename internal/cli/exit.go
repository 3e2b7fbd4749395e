package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4
	exitUnavailable = 5
	exitFabric      = 6
	exitWarned      = 7
	exitUnclear     = 8
)

// These give an error its exit code.
var (
	errUsage    = errors.New("wrong usage")
	errNotFound = errors.New("not found")
	errRefused  = errors.New("refused")

	errUnavailable = errors.New("unavailable")
)

// coded is an error with an exit code whose text is its own.
type coded struct {
	kind error
	text string
}

func (c coded) Error() string { return c.text }
func (c coded) Unwrap() error { return c.kind }

func usagef(format string, args ...any) error { return coded{errUsage, fmt.Sprintf(format, args...)} }

// exitCode is the process's exit code for an error.
func exitCode(err error) int {
	var answer gophercloud.ErrUnexpectedResponseCode
	var connection *url.Error
	var network *net.OpError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, errNotFound):
		return exitNotFound
	case errors.Is(err, errRefused):
		return exitRefused
	case errors.Is(err, errFabric):
		return exitFabric
	case errors.Is(err, errWarned):
		return exitWarned
	case errors.Is(err, errUnclear):
		return exitUnclear
	case errors.Is(err, errUnavailable):
		return exitUnavailable
	case errors.As(err, &answer):
		switch {
		case answer.Actual == http.StatusNotFound:
			return exitNotFound
		case answer.Actual == http.StatusTooManyRequests, answer.Actual >= 502 && answer.Actual <= 504:
			return exitUnavailable
		case answer.Actual >= 400 && answer.Actual < 500:
			return exitRefused
		}
	case errors.As(err, &connection), errors.As(err, &network):
		return exitUnavailable
	}
	return exitFailed
}

// explain is an error's text for people: what the API says of itself, not how the
// client library wraps it.
func explain(err error) string {
	if many, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the joined errors themselves are wanted
		var texts []string
		for _, e := range many.Unwrap() {
			texts = append(texts, explain(e))
		}
		return strings.Join(texts, "\n")
	}
	var answer gophercloud.ErrUnexpectedResponseCode
	if !errors.As(err, &answer) {
		return err.Error()
	}
	var body struct {
		NeutronError json.RawMessage
		Error        struct{ Message string }
	}
	message := ""
	if json.Unmarshal(answer.Body, &body) == nil {
		var e struct{ Type, Message string }
		switch {
		case json.Unmarshal(body.NeutronError, &e) == nil:
			message = e.Message
			if e.Type != "" {
				message += " (" + e.Type + ")"
			}
		case json.Unmarshal(body.NeutronError, &message) == nil:
		default:
			message = body.Error.Message
		}
	}
	if message == "" {
		message = fmt.Sprintf("%s %s: HTTP %d %s", answer.Method, answer.URL, answer.Actual, http.StatusText(answer.Actual))
	}
	return message
}
