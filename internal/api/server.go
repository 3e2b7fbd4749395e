package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/auth"
	"neutrino/internal/fault"
	"neutrino/internal/neutron"
)

// Options set up the API. The zero value is good.
type Options struct {
	Log *slog.Logger // default: discards

	// Ready says whether the process can serve (nil = it can); it is asked by /readyz.
	Ready func(ctx context.Context) error
	// Identity, when set, answers everything under /identity.
	Identity http.Handler
	// Metrics, when set, is where request counts and durations are registered.
	Metrics prometheus.Registerer
	// Gatherer, when set, is served at /metrics.
	Gatherer prometheus.Gatherer

	MaxBody            int64         // bytes; default 1 MiB
	PaginationMaxLimit int           // pagination_max_limit; 0 or less = none
	Timeout            time.Duration // of one operation; default 60 s
}

// server is the API as an http.Handler. It is safe for concurrent use.
type server struct {
	svc         *neutron.Service
	auth        auth.Authenticator
	o           Options
	log         *slog.Logger
	collections map[string]endpoint // by URL name
	metrics     *metrics
	scrape      http.Handler // nil = none
}

// endpoint serves everything under /v2.0/{name}.
type endpoint interface {
	serve(rq *request, path []string) error
}

// endpointFunc is an endpoint that is one function.
type endpointFunc func(rq *request, path []string) error

func (f endpointFunc) serve(rq *request, path []string) error { return f(rq, path) }

// New returns the API's handler over the operations. It panics if Options.Metrics already
// holds another API's metrics.
func New(svc *neutron.Service, who auth.Authenticator, o Options) http.Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = 1 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &server{svc: svc, auth: who, o: o, log: o.Log, metrics: newMetrics(o.Metrics)}
	s.scrape = scrapeHandler(o.Gatherer)
	s.collections = map[string]endpoint{
		"networks":                  newCollection(networks()),
		"subnets":                   newCollection(subnets()),
		"ports":                     newCollection(ports()),
		"subnetpools":               newCollection(subnetPools()),
		"security-groups":           newCollection(securityGroups()),
		"security-group-rules":      newCollection(securityGroupRules()),
		"address-groups":            newCollection(addressGroups()),
		"routers":                   newCollection(routers()),
		"floatingips":               newCollection(floatingIPs()),
		"agents":                    newCollection(agents()),
		"network-ip-availabilities": newCollection(availabilities()),
		"availability-zones":        newCollection(zones()),
		"quotas":                    endpointFunc(serveQuotas),
		"extensions":                endpointFunc(serveExtensions),
		"fabric":                    endpointFunc(serveFabric),
	}
	return s
}

// request is one request under way.
type request struct {
	srv *server
	w   *recorder
	r   *http.Request
	id  string // req-<uuid>
	who *caller
}

func (rq *request) ctx() context.Context { return rq.r.Context() }

// view takes a snapshot.
func (rq *request) view() *view {
	return &view{who: rq.who, snap: rq.srv.svc.DB().Snapshot(), t: rq.srv.svc.Tables(), svc: rq.srv.svc}
}

// object reads the body.
func (rq *request) object() (map[string]any, error) {
	return readObject(rq.w, rq.r, rq.srv.o.MaxBody)
}

// base is the scheme and host by which the client came.
func (rq *request) base() string {
	if rq.r.TLS != nil {
		return "https://" + rq.r.Host
	}
	return "http://" + rq.r.Host
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader remembers the code.
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// Write sends 200 first if nothing was said.
func (r *recorder) Write(b []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController its writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.aside(w, r) {
		return
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(r.Context(), s.o.Timeout)
	defer cancel()
	rq := &request{srv: s, w: &recorder{ResponseWriter: w}, r: r.WithContext(ctx), id: "req-" + uuid.NewString()}
	w.Header().Set("X-Openstack-Request-Id", rq.id)
	name := "none"
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.log.ErrorContext(ctx, "panic in a request", "request_id", rq.id, "panic", p, "stack", string(debug.Stack()))
			rq.fail(fmt.Errorf("panic: %v", p))
		}
		took := time.Since(start)
		s.metrics.observe(r.Method, name, rq.w.code, took)
		if s.log.Enabled(ctx, slog.LevelDebug) {
			s.log.DebugContext(ctx, "request", "method", r.Method, "path", r.URL.Path, "query", r.URL.RawQuery,
				"code", rq.w.code, "took", took, "from", r.RemoteAddr, "request_id", rq.id)
		}
	}()
	var err error
	if name, err = s.route(rq); err != nil {
		rq.fail(err)
	}
}

// aside serves what is not the Networking API.
func (s *server) aside(w http.ResponseWriter, r *http.Request) bool {
	switch path := r.URL.Path; {
	case path == "/healthz":
		plain(w, http.StatusOK, "ok\n")
	case path == "/readyz":
		if s.o.Ready != nil {
			if err := s.o.Ready(r.Context()); err != nil {
				plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
				return true
			}
		}
		plain(w, http.StatusOK, "ready\n")
	case path == "/metrics" && s.scrape != nil:
		s.scrape.ServeHTTP(w, r)
	case s.o.Identity != nil && (path == "/identity" || strings.HasPrefix(path, "/identity/")):
		s.o.Identity.ServeHTTP(w, r)
	default:
		return false
	}
	return true
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // the prober is gone if this fails
}

// route finds who asks and what for. It returns the collection's name for the metrics.
func (s *server) route(rq *request) (name string, err error) {
	path := rq.r.URL.EscapedPath()
	if path == "/" || path == "" {
		return "versions", rq.versions()
	}
	rest, ok := strings.CutPrefix(path, "/v2.0/")
	if !ok {
		return "none", fault.HTTPNotFound()
	}
	actor, err := s.auth.Authenticate(rq.r)
	if err != nil {
		return "none", err
	}
	if actor.ProjectID == "" {
		return "none", fault.New("HTTPForbidden", http.StatusForbidden, "The token is not scoped to a project.")
	}
	who := newCaller(actor)
	rq.who = &who
	if rest == "" {
		return "resources", rq.resources()
	}
	segments, err := split(rest)
	if err != nil {
		return "none", err
	}
	name = strings.ReplaceAll(segments[0], "_", "-")
	c, ok := s.collections[name]
	if !ok {
		return "none", fault.HTTPNotFound()
	}
	if !accepts(rq.r) {
		return name, fault.New("HTTPNotAcceptable", http.StatusNotAcceptable,
			"The resource could not be generated that was acceptable to your browser (content of type %s).", rq.r.Header.Get("Accept"))
	}
	if rq.r.Method == http.MethodHead || rq.r.Method == http.MethodOptions {
		return name, errMethod(rq.r.Method)
	}
	return name, c.serve(rq, segments[1:])
}

// split takes a path apart: a slash at its end and ".json" mean nothing, but a tag is
// taken as it is.
func split(rest string) ([]string, error) {
	segments := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	for i, s := range segments {
		clean, err := url.PathUnescape(s)
		if err != nil || clean == "" {
			return nil, fault.HTTPNotFound()
		}
		segments[i] = clean
	}
	if last := len(segments) - 1; last < 3 || segments[2] != "tags" {
		segments[last] = strings.TrimSuffix(segments[last], ".json")
	}
	return segments, nil
}

// accepts reports whether the client takes JSON.
func accepts(r *http.Request) bool {
	header := r.Header.Values("Accept")
	if len(header) == 0 {
		return true
	}
	for _, part := range strings.Split(strings.Join(header, ","), ",") {
		kind, _, _ := strings.Cut(part, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "", "*/*", "application/*", "application/json":
			return true
		}
	}
	return false
}

// ifMatch reads the revision that the row must have: If-Match: revision_number=N. Other
// entity tags are ignored.
func (rq *request) ifMatch() (*int64, error) { return parseIfMatch(rq.r.Header.Get("If-Match")) }

// versions is GET /.
func (rq *request) versions() error {
	if rq.r.Method != http.MethodGet {
		return errMethod(rq.r.Method)
	}
	return rq.reply(http.StatusOK, func(b []byte) []byte {
		b = append(b, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":`...)
		b = appendText(b, rq.base()+"/v2.0/")
		return append(b, "}]}]}"...)
	})
}

// resources is GET /v2.0/.
func (rq *request) resources() error {
	if rq.r.Method != http.MethodGet {
		return errMethod(rq.r.Method)
	}
	return rq.reply(http.StatusOK, func(b []byte) []byte {
		b = append(b, `{"resources":[`...)
		for i, name := range []string{"network", "subnet", "subnetpool", "port"} {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(append(b, `{"name":`...), name)
			b = appendText(append(b, `,"collection":`...), name+"s")
			b = appendText(append(b, `,"links":[{"rel":"self","href":`...), rq.base()+"/v2.0/"+name+"s")
			b = append(b, "}]}"...)
		}
		return append(b, "]}"...)
	})
}
