package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"
)

// way is how a port came from the API to its VF, as GET /v2.0/ports/{id}/trace tells it.
type way struct {
	PortID string    `json:"port_id"`
	Name   string    `json:"name"`
	Status string    `json:"status"`
	MAC    string    `json:"mac_address"`
	Host   string    `json:"host"`
	VLAN   int       `json:"vlan"`
	PF     string    `json:"pf"`
	VF     *int      `json:"vf"`
	Slot   string    `json:"pci_slot"`
	Events []wayStep `json:"events"`
	Hangs  *struct {
		Step string `json:"step"`
		Why  string `json:"why"`
		Next string `json:"next"`
	} `json:"hangs"`
	Changed string `json:"changed"`
	Clocks  string `json:"clocks"`
}

type wayStep struct {
	At     time.Time `json:"at"`
	Where  string    `json:"where"`
	What   string    `json:"what"`
	TookMS *float64  `json:"took_ms"`
	Detail string    `json:"detail"`
}

// traceCommand is `neutrino trace`.
func traceCommand(c *client, o *output) *cobra.Command {
	l := &local{}
	port := group("trace", "How a port came from the API to its VF, with times", tracePort(c, l, o))
	port.GroupID = "resource"
	l.flag(port)
	return port
}

func tracePort(c *client, l *local, o *output) *cobra.Command {
	return &cobra.Command{
		Use: "port PORT", Short: "Show the steps of a port and, if it is not ACTIVE, where it hangs",
		Long: "Show the steps of a port from the API to its VF, each with its time and with what it took since the one before.\n" +
			"Of a port that is not ACTIVE it says at which step it hangs, why, and what to look at next. Where the agent of\n" +
			"this host has the port plugged, the last line is the plug. What agent and switch did is timed by the host's clock.",
		Example: "  neutrino trace port vm1\n  neutrino trace port 5f0c40a2-37d2-4b0e-9a0e-1f0f2f0a4c11 -o json",
		Args:    args(1, 1, "a port"), ValidArgsFunction: once(c.complete(ports)),
		RunE: func(cmd *cobra.Command, a []string) error {
			id, err := c.id(cmd.Context(), ports, a[0])
			if err != nil {
				return err
			}
			x, err := c.trace(cmd.Context(), id)
			if err != nil {
				return err
			}
			if plugged := l.plugStep(cmd.Context(), id); plugged != nil {
				events, _ := x["events"].([]any)
				x["events"] = append(events, plugged)
			}
			if o.format.String() != "table" {
				return o.plain(cmd.OutOrStdout(), x, []string{id})
			}
			return printTrace(cmd.OutOrStdout(), x)
		},
	}
}

// trace asks the API for the way of a port.
func (c *client) trace(ctx context.Context, id string) (object, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	var answer object
	_, err = s.Request(ctx, http.MethodGet, s.ServiceURL("ports", id, "trace"), //nolint:bodyclose // read and closed by Request
		&gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}, JSONResponse: &answer})
	if err != nil {
		return nil, fmt.Errorf("trace port %s: %w", id, err)
	}
	x, ok := answer["trace"].(object)
	if !ok {
		return nil, fmt.Errorf("trace port %s: the answer holds no trace; is it a neutrino controller of this version", id)
	}
	return x, nil
}

// plugStep is the plug of the port where the agent of this host has it, else nil: the port
// may well live on another host, or no agent may run here.
func (l *local) plugStep(ctx context.Context, id string) object {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all, err := l.client().VIFs(ctx)
	if err != nil {
		return nil
	}
	for _, v := range all {
		if v.PortID == id {
			return object{
				"at": v.PluggedAt.UTC().Format(time.RFC3339Nano), "where": "this host", "what": "plugged",
				"detail": fmt.Sprintf("%s, %s", v.Kind, cmp.Or(v.Target.Domain, v.Target.Netns, "for another tool")),
			}
		}
	}
	return nil
}

func printTrace(w io.Writer, x object) error {
	text, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("read the trace: %w", err)
	}
	var t way
	if err = json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("read the trace: %w", err)
	}
	var rows [][]string
	for i, e := range t.Events {
		took := "-"
		switch {
		case e.TookMS != nil:
			took = fmt.Sprintf("+%.3f ms", *e.TookMS)
		case i > 0 && e.What == "plugged" && !e.At.Before(t.Events[i-1].At):
			took = "+" + e.At.Sub(t.Events[i-1].At).Round(time.Millisecond).String()
		}
		rows = append(rows, []string{e.At.UTC().Format("2006-01-02 15:04:05.000000"), took, e.Where, e.What, orDash(e.Detail)})
	}
	if err = grid(w, []string{"TIME", "TOOK", "WHERE", "WHAT", "DETAIL"}, rows); err != nil {
		return err
	}
	_, err = fmt.Fprint(w, verdict(&t))
	return err
}

// verdict says in words how the port stands.
func verdict(t *way) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nPort %s is %s: MAC %s", cmp.Or(t.Name, t.PortID), t.Status, t.MAC)
	if t.Host != "" {
		fmt.Fprintf(&b, ", host %s", t.Host)
	}
	if t.VLAN != 0 {
		fmt.Fprintf(&b, ", VLAN %d", t.VLAN)
	}
	if t.VF != nil {
		fmt.Fprintf(&b, ", %s VF %d (%s)", t.PF, *t.VF, t.Slot)
	}
	b.WriteString(".\n")
	if t.Hangs != nil {
		fmt.Fprintf(&b, "It hangs at: %s\nWhy:         %s\nLook at:     %s\n", t.Hangs.Step, t.Hangs.Why, t.Hangs.Next)
	}
	if t.Changed != "" {
		fmt.Fprintf(&b, "Changed:     %s\n", t.Changed)
	}
	if t.Clocks != "" {
		fmt.Fprintf(&b, "Clocks:      %s\n", t.Clocks)
	}
	return b.String()
}
