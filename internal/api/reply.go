package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"neutrino/internal/auth"
	"neutrino/internal/fault"
)

// buffers are reused between replies; one that grew beyond keepBuffer is let go.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 16<<10); return &b }}

const keepBuffer = 4 * flushAt

// stream writes a reply of unknown length: whole when it is short, in pieces when not.
type stream struct {
	rq   *request
	held *[]byte
	buf  []byte // empty, to append to
	sent bool
}

func (rq *request) stream() *stream {
	held, _ := buffers.Get().(*[]byte)
	return &stream{rq: rq, held: held, buf: (*held)[:0]}
}

// flush sends b on and returns an empty buffer, or nil when the client is gone.
func (s *stream) flush(b []byte) []byte {
	s.buf = b
	if !s.sent {
		s.sent = true
		s.rq.w.Header().Set("Content-Type", "application/json")
		s.rq.w.WriteHeader(http.StatusOK)
	}
	if _, err := s.rq.w.Write(b); err != nil {
		return nil
	}
	return b[:0]
}

// finish sends the last piece.
func (s *stream) finish(b []byte) {
	if !s.sent {
		s.rq.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	}
	s.flush(b)
}

// release gives the buffer back.
func (s *stream) release() {
	if cap(s.buf) <= keepBuffer {
		*s.held = s.buf[:0]
		buffers.Put(s.held)
	}
}

// reply sends one JSON body.
func (rq *request) reply(code int, write func(b []byte) []byte) error {
	held, _ := buffers.Get().(*[]byte)
	b := write((*held)[:0])
	h := rq.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	rq.w.WriteHeader(code)
	_, _ = rq.w.Write(b) // the client is gone if this fails
	if cap(b) <= keepBuffer {
		*held = b[:0]
		buffers.Put(held)
	}
	return nil
}

// fail sends an error.
func (rq *request) fail(err error) {
	var denied *auth.Denied
	if errors.As(err, &denied) {
		if denied.Challenge != "" {
			rq.w.Header().Set("WWW-Authenticate", denied.Challenge)
		}
		rq.srv.log.DebugContext(rq.ctx(), "request refused", "request_id", rq.id, "reason", denied.Reason)
		_ = rq.reply(http.StatusUnauthorized, func(b []byte) []byte {
			b = append(b, `{"error":{"code":401,"title":"Unauthorized","message":`...)
			return append(appendText(b, auth.DeniedMessage), "}}"...)
		})
		return
	}
	f := asFault(err, rq.id)
	if f.Status >= http.StatusInternalServerError {
		rq.srv.log.ErrorContext(rq.ctx(), "request failed", "request_id", rq.id, "method", rq.r.Method, "path", rq.r.URL.Path, "error", err)
	}
	if rq.w.code != 0 {
		return // too late: the reply has begun
	}
	_ = rq.reply(f.Status, func(b []byte) []byte { return appendFault(b, f) })
}

// parseIfMatch reads an If-Match header; nil when it asks for no revision.
func parseIfMatch(header string) (*int64, error) {
	for _, tag := range strings.Split(header, ",") {
		tag = strings.Trim(strings.TrimSpace(tag), `"`)
		text, ok := strings.CutPrefix(tag, "revision_number=")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fault.BadRequest("if-match", "Revision number etag must be in the format of revision_number=<int>")
		}
		return &n, nil
	}
	return nil, nil
}
