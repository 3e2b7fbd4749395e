package metadata

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/model"
)

// Limits on one request, in bytes.
const (
	maxTarget = 2048
	maxHead   = 16 << 10
	maxBody   = 256 << 10
)

// Options of a Service. The zero value answers with documents of our own.
type Options struct {
	Nova       *Nova // nil = there is none
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil = metrics are kept but not exported
}

// Service answers on this host. It is safe for concurrent use and has no goroutines of its
// own; those of its proxies end with them.
type Service struct {
	log  *slog.Logger
	m    *metrics
	nova *forwarder // nil = documents of our own
}

// New returns a Service without proxies.
func New(o Options) (*Service, error) {
	s := &Service{log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if o.Nova != nil {
		if s.nova, err = newForwarder(o.Nova, s.log); err != nil {
			return nil, fmt.Errorf("start the metadata service: %w", err)
		}
	}
	if s.m, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("start the metadata service: register metrics: %w", err)
	}
	return s, nil
}

// Close lets go of idle connections to Nova. Proxies are to be closed before.
func (s *Service) Close() {
	if s.nova != nil {
		s.nova.client.CloseIdleConnections()
	}
}

// answer is the outcome of a request: a page, or a status with words.
type answer struct {
	status  int
	page    *Page
	header  http.Header // more of it; may be nil
	outcome string      // for the metrics
}

func refuse(status int, outcome, why string) answer {
	return answer{status: status, page: lines(why), outcome: outcome}
}

// Outcomes, as the metrics have them.
const (
	outcomeOK       = "ok"
	outcomeStranger = "unknown_client"
	outcomeAbsent   = "not_found"
	outcomeBad      = "bad_request"
	outcomeRefused  = "refused" // Nova did not like our signature
	outcomeAway     = "nova_unreachable"
	outcomeLate     = "nova_timeout"
	outcomeBroken   = "nova_error"
)

// serve answers one request of a client that has been told apart; h nil = nobody known.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, h *model.DHCPHost, c *clients, from netip.Addr) {
	a := s.decide(w, r, h, c, from)
	s.m.requests.WithLabelValues(a.outcome).Inc()
	head := w.Header()
	for k, v := range a.header {
		head[k] = v
	}
	head.Set("Content-Type", a.page.Type)
	head.Set("X-Content-Type-Options", "nosniff")
	if a.status >= http.StatusBadRequest && a.outcome != outcomeAbsent {
		head.Set("Connection", "close")
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.page.Body)
	}
}

func (s *Service) decide(w http.ResponseWriter, r *http.Request, h *model.DHCPHost, c *clients, from netip.Addr) answer {
	if h == nil {
		s.log.Debug("metadata asked for by an address that no instance has", "address", from)
		return refuse(http.StatusNotFound, outcomeStranger, "No instance is known at this address.")
	}
	if err := checkTarget(r); err != nil {
		status := http.StatusBadRequest
		if errors.Is(err, errTooLong) {
			status = http.StatusRequestURITooLong
		}
		return refuse(status, outcomeBad, err.Error())
	}
	if s.nova != nil {
		return s.nova.forward(w, r, h, from)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		a := refuse(http.StatusMethodNotAllowed, outcomeBad, "Only GET and HEAD are served.")
		a.header = http.Header{"Allow": {"GET, HEAD"}}
		return a
	}
	if p := Document(h, c.subnets, r.URL.Path); p != nil {
		return answer{status: http.StatusOK, page: p, outcome: outcomeOK}
	}
	return refuse(http.StatusNotFound, outcomeAbsent, "Nothing is here.")
}

var errTooLong = errors.New("the path and query are too long")

// checkTarget refuses what could mean another thing behind us than it does here.
func checkTarget(r *http.Request) error {
	if len(r.URL.EscapedPath())+len(r.URL.RawQuery) > maxTarget {
		return errTooLong
	}
	path := r.URL.Path
	if !strings.HasPrefix(path, "/") {
		return errors.New("the path does not begin with a slash")
	}
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\\' }) ||
		strings.ContainsFunc(r.URL.RawQuery, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '#' }) {
		return errors.New("the path or query has characters that are not allowed")
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "." || part == ".." {
			return errors.New("the path is not a plain one")
		}
	}
	return nil
}
