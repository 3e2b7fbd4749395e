package hostapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"neutrino/internal/agent"
	"neutrino/internal/eswitch"
	"neutrino/internal/journal"
	"neutrino/internal/plug"
)

// maxBody of a request, in bytes.
const maxBody = 64 << 10

// plugDeadline bounds one plug or unplug, whatever the client waits.
const plugDeadline = 3 * time.Minute

// Server answers on the socket. Its fields are set before Serve.
type Server struct {
	Switch eswitch.Switch
	Ports  agent.Ports
	Engine *plug.Engine
	XML    func(plug.VIF) (string, error) // nil = no libvirt interface can be made
	Log    *slog.Logger
	group  int
}

// Serve answers on the socket at path until ctx ends, then takes it away.
func (s *Server) Serve(ctx context.Context, path, group string) error {
	l, gid, err := Listen(ctx, path, group)
	if err != nil {
		return err
	}
	return s.serve(ctx, l, gid)
}

func (s *Server) serve(ctx context.Context, l net.Listener, gid int) error {
	s.group = gid
	srv := &http.Server{
		Handler: s.handler(), ConnContext: withPeer, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		_ = srv.Close()
	}
	<-ended //nolint:errcheck // it is what Shutdown made it
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/vfs", s.vfs)
	mux.HandleFunc("GET /v1/ports", s.ports)
	mux.HandleFunc("GET /v1/vifs", s.vifs)
	mux.HandleFunc("POST /v1/vifs", s.plug)
	mux.HandleFunc("DELETE /v1/vifs/{port}", s.unplug)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := r.Context().Value(peerKey{}).(peer)
		if !ok {
			p.err = errors.New("unknown")
		}
		if err := p.allowed(s.group); err != nil {
			s.Log.Warn("request on the agent's socket refused", "uid", p.uid, "pid", p.pid, "error", err)
			reply(w, http.StatusForbidden, Failure{Error: err.Error()})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) vfs(w http.ResponseWriter, r *http.Request) {
	state, err := s.Switch.Observe(r.Context())
	if err != nil {
		fail(w, fmt.Errorf("look at the NICs: %w", err))
		return
	}
	out := vfsOf(state, s.Ports.All(), s.Engine.Plugged(), s.Engine.Stuck())
	if c, ok := s.Switch.(eswitch.Counting); ok && r.URL.Query().Get("counters") != "" {
		counters, cerr := c.Counters(r.Context())
		if cerr != nil {
			s.Log.Warn("counters are incomplete", "error", cerr)
		}
		for i := range out {
			if n, has := counters[eswitch.VFID{PF: out[i].PF, Index: out[i].Index}]; has {
				out[i].Counters = &n
			}
		}
	}
	reply(w, http.StatusOK, out)
}

func (s *Server) ports(w http.ResponseWriter, _ *http.Request) {
	out := []Port{}
	for _, p := range s.Ports.All() {
		out = append(out, portOf(p))
	}
	reply(w, http.StatusOK, out)
}

func (s *Server) vifs(w http.ResponseWriter, _ *http.Request) {
	out := []VIF{}
	for _, v := range s.Engine.List() {
		out = append(out, s.withXML(v))
	}
	reply(w, http.StatusOK, out)
}

// withXML adds the interface for libvirt; a VIF in a namespace has none.
func (s *Server) withXML(v plug.VIF) VIF {
	out := VIF{VIF: v}
	if s.XML == nil || v.Kind == plug.Netns {
		return out
	}
	text, err := s.XML(v)
	if err != nil {
		s.Log.Warn("interface of a VIF cannot be written", "port", v.PortID, "error", err)
		return out
	}
	out.XML = text
	return out
}

func (s *Server) plug(w http.ResponseWriter, r *http.Request) {
	var q PlugRequest
	d := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(&q); err != nil {
		reply(w, http.StatusBadRequest, Failure{Error: fmt.Sprintf("the request is not understood: %v", err)})
		return
	}
	if q.PortID == "" {
		reply(w, http.StatusBadRequest, Failure{Error: "port_id is missing"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), plugDeadline)
	defer cancel()
	v, err := s.Engine.Plug(ctx, q.PortID, q.Target)
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusCreated, s.withXML(v))
}

func (s *Server) unplug(w http.ResponseWriter, r *http.Request) {
	var generation uint64
	if g := r.URL.Query().Get("generation"); g != "" {
		var err error
		if generation, err = strconv.ParseUint(g, 10, 64); err != nil {
			reply(w, http.StatusBadRequest, Failure{Error: fmt.Sprintf("generation %q is not a number", g)})
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), plugDeadline)
	defer cancel()
	if err := s.Engine.Unplug(ctx, r.PathValue("port"), generation); err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// kinds are the errors that clients tell apart.
var kinds = []struct {
	name   string
	err    error
	status int
}{
	{"no_port", plug.ErrNoPort, http.StatusNotFound},
	{"not_plugged", plug.ErrNotPlugged, http.StatusNotFound},
	{"plugged", plug.ErrPlugged, http.StatusConflict},
	{"fenced", plug.ErrFenced, http.StatusConflict},
	{"refused", plug.ErrRefused, http.StatusConflict},
	{"busy", journal.ErrBusy, http.StatusConflict},
	{"not_ready", plug.ErrNotReady, http.StatusServiceUnavailable},
	{"stuck", journal.ErrStuck, http.StatusServiceUnavailable},
}

func fail(w http.ResponseWriter, err error) {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			reply(w, k.status, Failure{Error: err.Error(), Kind: k.name})
			return
		}
	}
	reply(w, http.StatusInternalServerError, Failure{Error: err.Error()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
