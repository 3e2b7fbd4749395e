package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"neutrino/internal/fault"
	"neutrino/internal/neutron"
	"neutrino/internal/rpc"
	"neutrino/internal/trunk"
)

// verification is a run as the API shows it.
type verification struct {
	ID              string        `json:"id,omitempty"` // "" = planned only
	State           string        `json:"state"`
	PhysicalNetwork string        `json:"physical_network"`
	VLANs           trunk.VLANs   `json:"vlans"`
	Sizes           []int         `json:"sizes"`
	Rounds          int           `json:"rounds"`
	Rate            int           `json:"rate"`
	Hosts           []string      `json:"hosts"`
	Frames          int           `json:"frames"` // in all, at most
	Octets          int64         `json:"octets"`
	Duration        float64       `json:"duration"` // seconds
	Elapsed         float64       `json:"elapsed"`
	Reported        int           `json:"reported"` // hosts
	CreatedAt       string        `json:"created_at,omitempty"`
	Result          *trunk.Report `json:"result,omitempty"` // when finished
}

// States of a verification.
const (
	verifyPlanned  = "planned"
	verifyRunning  = "running"
	verifyFinished = "finished"
)

func showVerification(v *neutron.Verification) *verification {
	r := v.Run
	out := &verification{
		State: verifyPlanned, PhysicalNetwork: r.PhysicalNetwork, VLANs: r.VLANs, Sizes: r.Sizes, Rounds: r.Rounds, Rate: r.Rate,
		Duration: r.Duration.Seconds(), Reported: len(v.Results),
	}
	out.Frames, out.Octets = r.Total()
	for _, h := range r.Hosts {
		out.Hosts = append(out.Hosts, h.Host)
	}
	if r.CreatedAt.IsZero() {
		return out
	}
	out.ID, out.State, out.CreatedAt = r.ID.String(), verifyRunning, r.CreatedAt.UTC().Format(time.RFC3339)
	out.Elapsed = max(v.Elapsed, 0).Seconds()
	if v.Finished {
		out.State, out.Result = verifyFinished, trunk.Judge(r, v.Results)
	}
	return out
}

// serveFabric is everything under /fabric: POST /fabric/verify, and GET and DELETE of
// /fabric/verify/{id}. It shows hosts and what they are plugged into, so it is for admins.
func serveFabric(rq *request, path []string) error {
	if len(path) == 0 || len(path) > 2 || path[0] != "verify" {
		return fault.HTTPNotFound()
	}
	method := rq.r.Method
	if !rq.who.all(adminOnly) {
		return fault.NotAuthorized("rule:verify_fabric")
	}
	switch {
	case len(path) == 1 && method == http.MethodPost:
		return rq.startVerify()
	case len(path) == 2 && method == http.MethodGet:
		v, err := rq.srv.svc.Verification(path[1])
		if err != nil {
			return err
		}
		return rq.replyVerification(http.StatusOK, v)
	case len(path) == 2 && method == http.MethodDelete:
		if err := rq.srv.svc.CancelVerify(rq.ctx(), path[1]); err != nil {
			return err
		}
		rq.status(http.StatusNoContent)
		return nil
	}
	return errMethod(method)
}

func (rq *request) startVerify() error {
	body, err := rq.object()
	if err != nil {
		return err
	}
	items, _, err := unwrap(body, "verify", "", false)
	if err != nil {
		return err
	}
	q, dry, err := readVerify(items[0])
	if err != nil {
		return err
	}
	if dry {
		run, perr := rq.srv.svc.PlanVerify(q)
		if perr != nil {
			return perr
		}
		return rq.replyVerification(http.StatusOK, &neutron.Verification{Run: run})
	}
	run, err := rq.srv.svc.StartVerify(rq.ctx(), q)
	if err != nil {
		return err
	}
	return rq.replyVerification(http.StatusAccepted, &neutron.Verification{Run: run})
}

func (rq *request) replyVerification(code int, v *neutron.Verification) error {
	text, err := json.Marshal(map[string]any{"verify": showVerification(v)})
	if err != nil {
		return fmt.Errorf("write a verification: %w", err)
	}
	return rq.reply(code, func(b []byte) []byte { return append(b, text...) })
}

// readVerify reads the attributes of a request; all have defaults.
func readVerify(body map[string]any) (q neutron.VerifyRequest, dry bool, err error) {
	var unknown []string
	bad := func(name string, x any, want string) {
		if err == nil {
			err = fault.HTTPBadRequest("Invalid input for %s. Reason: '%v' is not %s.", name, x, want)
		}
	}
	number := func(name string, x any, lo, hi int64) int {
		n, ok := x.(json.Number)
		if v, nerr := n.Int64(); ok && nerr == nil && v >= lo && v <= hi {
			return int(v)
		}
		bad(name, x, fmt.Sprintf("a whole number from %d to %d", lo, hi))
		return 0
	}
	for name, x := range body {
		switch name {
		case "physical_network":
			s, ok := x.(string)
			if !ok || s == "" || len(s) > 255 {
				bad(name, x, "the name of a physical network")
			}
			q.PhysicalNetwork = s
		case "vlans":
			s, ok := x.(string)
			v, verr := trunk.ParseVLANs(s)
			if !ok || verr != nil || v.Len() == 0 {
				bad(name, x, "a list of VLANs as in 100-200,300")
			}
			q.VLANs = v
		case "hosts":
			list, ok := x.([]any)
			if !ok || len(list) == 0 || len(list) > trunk.MaxHosts {
				bad(name, x, "a list of hosts")
			}
			for _, item := range list {
				s, isText := item.(string)
				if !isText || rpc.CheckHost(s) != nil {
					bad(name, item, "the name of a host")
				}
				q.Hosts = append(q.Hosts, s)
			}
		case "sizes":
			list, ok := x.([]any)
			if !ok || len(list) == 0 || len(list) > trunk.MaxSizes {
				bad(name, x, fmt.Sprintf("a list of 1 to %d sizes", trunk.MaxSizes))
			}
			for _, item := range list {
				q.Sizes = append(q.Sizes, number(name, item, trunk.MinSize, trunk.MaxSize))
			}
		case "mtu":
			q.MTU = number(name, x, trunk.MinSize, trunk.MaxSize)
		case "rate":
			q.Rate = number(name, x, 1, trunk.MaxRate)
		case "rounds":
			q.Rounds = number(name, x, 1, trunk.MaxRounds)
		case "listen":
			q.Listen = time.Duration(number(name, x, 0, int64(trunk.MaxListen/time.Second))) * time.Second
		case "max_duration":
			q.Limit = time.Duration(number(name, x, 1, int64(trunk.MaxDuration/time.Second))) * time.Second
		case "dry_run":
			b, ok := x.(bool)
			if !ok {
				bad(name, x, "true or false")
			}
			dry = b
		default:
			unknown = append(unknown, name)
		}
	}
	if len(q.Sizes) > 0 && q.MTU != 0 {
		bad("mtu", q.MTU, "needed beside sizes: give one of them")
	}
	if err == nil {
		err = unrecognized(unknown)
	}
	return q, dry, err
}
