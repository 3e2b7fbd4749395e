package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/spf13/cobra"

	"neutrino/internal/trunk"
)

// errFabric is that the trunk does not carry what it should: exit code 6.
var errFabric = errors.New("the trunk drops frames")

// verifyRun is a verification as the API shows it.
type verifyRun struct {
	ID              string        `json:"id,omitempty"`
	State           string        `json:"state"`
	PhysicalNetwork string        `json:"physical_network"`
	VLANs           trunk.VLANs   `json:"vlans"`
	Sizes           []int         `json:"sizes"`
	Rounds          int           `json:"rounds"`
	Rate            int           `json:"rate"`
	Hosts           []string      `json:"hosts"`
	Frames          int           `json:"frames"`
	Octets          int64         `json:"octets"`
	Duration        float64       `json:"duration"`
	Elapsed         float64       `json:"elapsed"`
	Reported        int           `json:"reported"`
	CreatedAt       string        `json:"created_at,omitempty"`
	Result          *trunk.Report `json:"result,omitempty"`
}

// verifyFlags are what the user asks for.
type verifyFlags struct {
	physical, vlans, hosts string
	mtu, rate, rounds      int
	lldp, dry, yes, exact  bool
	limit                  time.Duration
}

func fabricCommand(c *client, o *output) *cobra.Command {
	cmd := group("fabric", "The physical network between the hosts", verifyFabric(c, o))
	cmd.GroupID = "resource"
	return cmd
}

func verifyFabric(c *client, o *output) *cobra.Command {
	v := verifyFlags{}
	cmd := &cobra.Command{
		Use: "verify", Short: "Find VLANs and frame sizes that the physical switches drop between hosts",
		Long: "Find VLANs and frame sizes that the physical switches drop between hosts.\n\n" +
			"Each host sends tagged frames of its own EtherType from each uplink, one uplink after the other, in every\n" +
			"VLAN, and all the others listen. What will be sent, how much and how long is printed first. Nothing of the\n" +
			"hosts' or the instances' is changed; uplinks are promiscuous while it lasts.\n\n" +
			"Exit code 6 says that something is dropped, looped or heard in another VLAN, or that a host did not answer.",
		Example: "  neutrino fabric verify\n  neutrino fabric verify --vlans 100-200 --hosts node1,node2 --mtu 9000 --yes -o json\n  neutrino fabric verify --lldp --dry-run",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return v.run(cmd, c, o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&v.physical, "physical-network", "", "physical network (default the one of network_vlan_ranges)")
	f.StringVar(&v.vlans, "vlans", "", "VLANs as in 100-200,300 (default network_vlan_ranges)")
	f.StringVar(&v.hosts, "hosts", "", "hosts, with commas between them (default all with a living agent)")
	f.IntVar(&v.mtu, "mtu", 0, "bytes behind the VLAN tag of large frames (default the physical network's MTU)")
	f.IntVar(&v.rate, "rate", 0, fmt.Sprintf("frames a second in all (default %d, at most %d)", trunk.DefaultRate, trunk.MaxRate))
	f.IntVar(&v.rounds, "rounds", 0, fmt.Sprintf("how often each frame is sent (default %d)", trunk.DefaultRounds))
	f.BoolVar(&v.lldp, "lldp", false, "listen for 35 seconds more, since most switches send LLDP every 30")
	f.BoolVar(&v.exact, "exact", true, "where large frames are dropped, find the largest size that passes")
	f.DurationVar(&v.limit, "max-duration", 0, "how long it may take (default 5m)")
	f.BoolVar(&v.dry, "dry-run", false, "print what would be sent, and send nothing")
	f.BoolVarP(&v.yes, "yes", "y", false, "do not ask")
	return cmd
}

// lldpListen is more than the 30 s after which LLDP is sent again (802.1AB, msgTxInterval).
const lldpListen = 35

func (v *verifyFlags) body() object {
	b := object{}
	for name, x := range map[string]string{"physical_network": v.physical, "vlans": v.vlans} {
		if x != "" {
			b[name] = x
		}
	}
	for name, x := range map[string]int{"mtu": v.mtu, "rate": v.rate, "rounds": v.rounds, "max_duration": int(v.limit.Seconds())} {
		if x != 0 {
			b[name] = x
		}
	}
	if v.hosts != "" {
		b["hosts"] = strings.Split(v.hosts, ",")
	}
	if v.lldp {
		b["listen"] = lldpListen
	}
	return b
}

func (v *verifyFlags) run(cmd *cobra.Command, c *client, o *output) error {
	ctx, progress := cmd.Context(), cmd.ErrOrStderr()
	body := v.body()
	body["dry_run"] = true
	plan, err := c.verify(ctx, http.MethodPost, "", body)
	if err != nil {
		return err
	}
	table := o.format.String() == "table"
	if v.dry && !table {
		return o.plain(cmd.OutOrStdout(), plan, []string{plan.PhysicalNetwork})
	}
	describe := progress
	if v.dry {
		describe = cmd.OutOrStdout()
	}
	describePlan(describe, plan)
	if v.dry {
		return nil
	}
	if !v.yes {
		if err = ask(cmd, "Send them?"); err != nil {
			return err
		}
	}
	delete(body, "dry_run")
	run, err := c.verifyToEnd(ctx, body, progress)
	if err != nil {
		return err
	}
	if v.exact && run.Result != nil {
		if err = c.narrow(ctx, run, progress); err != nil {
			fmt.Fprintf(progress, "the exact sizes could not be found: %s\n", explain(err))
		}
	}
	if table {
		err = printVerification(cmd.OutOrStdout(), run)
	} else {
		err = o.plain(cmd.OutOrStdout(), run, []string{run.ID})
	}
	if err == nil && (run.Result == nil || !run.Result.Clean) {
		return coded{errFabric, "the trunk of physical network " + run.PhysicalNetwork + " is not clean"}
	}
	return err
}

func describePlan(w io.Writer, p *verifyRun) {
	fmt.Fprintf(w, "physical network %s: %d VLANs (%s), frames of %s bytes behind the tag, each %d times\n",
		p.PhysicalNetwork, p.VLANs.Len(), p.VLANs, joinInts(p.Sizes), p.Rounds)
	fmt.Fprintf(w, "%d hosts: %s\n", len(p.Hosts), strings.Join(p.Hosts, ", "))
	fmt.Fprintf(w, "at most %d frames in all, %.1f MB, %d a second at most, in %s; switches learn the hosts' MACs in each VLAN, %d entries in all\n",
		p.Frames, float64(p.Octets)/1e6, p.Rate, seconds(p.Duration), p.Frames/max(len(p.Sizes)*p.Rounds, 1))
}

func joinInts(all []int) string {
	var out []string
	for _, n := range all {
		out = append(out, strconv.Itoa(n))
	}
	return strings.Join(out, ", ")
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}

// verify makes one request of a verification.
func (c *client) verify(ctx context.Context, method, id string, body object) (*verifyRun, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	address := s.ServiceURL("fabric", "verify")
	opts := &gophercloud.RequestOpts{OkCodes: []int{200, 202, 204}}
	if id != "" {
		address = s.ServiceURL("fabric", "verify", id)
	}
	if body != nil {
		opts.JSONBody = object{"verify": body}
	}
	var answer struct {
		Verify *verifyRun `json:"verify"`
	}
	if method != http.MethodDelete {
		opts.JSONResponse = &answer
	}
	resp, err := s.Request(ctx, method, address, opts)
	if err != nil {
		return nil, fmt.Errorf("verify the fabric: %w", err)
	}
	if method == http.MethodDelete {
		return nil, resp.Body.Close()
	}
	if answer.Verify == nil {
		return nil, errors.New("verify the fabric: the answer holds no verification; is it a neutrino controller of this version")
	}
	return answer.Verify, nil
}

// verifyToEnd starts a verification and waits for its end. It is taken back when ctx
// ends before.
func (c *client) verifyToEnd(ctx context.Context, body object, progress io.Writer) (*verifyRun, error) {
	run, err := c.verify(ctx, http.MethodPost, "", body)
	if err != nil {
		return nil, err
	}
	id, told := run.ID, 0
	for run.State != "finished" {
		wait := min(max(time.Duration((run.Duration-run.Elapsed)*float64(time.Second)), 200*time.Millisecond), time.Second)
		select {
		case <-ctx.Done():
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if _, err = c.verify(back, http.MethodDelete, id, nil); err != nil {
				return nil, errors.Join(context.Cause(ctx), err)
			}
			return nil, fmt.Errorf("verification %s was taken back: %w", id, context.Cause(ctx))
		case <-time.After(wait):
		}
		next, gerr := c.verify(ctx, http.MethodGet, id, nil)
		if gerr != nil {
			if exitCode(gerr) == exitUnavailable && ctx.Err() == nil && told < 30 {
				told++ // another controller, or this one again, may answer in a moment
				continue
			}
			if ctx.Err() != nil {
				continue
			}
			return nil, gerr
		}
		run = next
		if int(run.Elapsed)%5 == 0 {
			fmt.Fprintf(progress, "%s of %s, %d of %d hosts have reported\n", seconds(min(run.Elapsed, run.Duration)), seconds(run.Duration), run.Reported, len(run.Hosts))
		}
	}
	return run, nil
}

const (
	narrowSteps = 14 // sizes of one run: 14^3 is more than there are between 64 and 1500, 14^4 than all
	narrowRuns  = 4
	narrowVLANs = 16
)

// narrow finds the largest size that passes where large frames are dropped, with runs of
// one VLAN per hole and sizes between what passed and what did not.
func (c *client) narrow(ctx context.Context, run *verifyRun, progress io.Writer) error {
	for range narrowRuns {
		lo, hi, vlans, hosts := holes(run.Result)
		if vlans.Len() == 0 {
			return nil
		}
		step := max((hi-lo)/narrowSteps, 1)
		sizes := []int{lo}
		for s := lo + step; s < hi && len(sizes) < trunk.MaxSizes-1; s += step {
			sizes = append(sizes, s)
		}
		sizes = append(sizes, hi)
		fmt.Fprintf(progress, "looking for the largest size between %d and %d that passes, in VLANs %s\n", lo, hi, vlans)
		finer, err := c.verifyToEnd(ctx, object{
			"physical_network": run.PhysicalNetwork, "vlans": vlans.String(), "hosts": hosts, "sizes": sizes, "rate": run.Rate, "rounds": run.Rounds,
		}, progress)
		if err != nil {
			return err
		}
		if finer.Result == nil || !sharpen(run.Result, finer.Result) {
			return nil
		}
	}
	return nil
}

// holes are the bounds of the holes that are not exact yet, one VLAN of each, and the
// hosts concerned.
func holes(r *trunk.Report) (lo, hi int, vlans trunk.VLANs, hosts []string) {
	seen := map[string]bool{}
	for _, p := range r.Pairs {
		for _, h := range p.Holes {
			id := h.VLANs.IDs()[0]
			if h.Lost-h.Passed <= 1 || h.Why != "" || !vlans.Has(id) && vlans.Len() >= narrowVLANs {
				continue
			}
			if vlans.Len() == 0 || h.Passed < lo {
				lo = h.Passed
			}
			hi = max(hi, h.Lost)
			vlans.Add(id)
			for _, host := range []string{p.From, p.To} {
				if !seen[host] {
					seen[host] = true
					hosts = append(hosts, host)
				}
			}
		}
	}
	return lo, hi, vlans, hosts
}

// sharpen takes over what a finer run found; it reports whether that was anything.
func sharpen(r, finer *trunk.Report) bool {
	found := false
	for i := range r.Pairs {
		p := &r.Pairs[i]
		for k := range p.Holes {
			h := &p.Holes[k]
			for _, f := range finer.Pairs {
				if f.From != p.From || f.To != p.To || f.FromUplink != p.FromUplink || f.ToUplink != p.ToUplink {
					continue
				}
				for _, fh := range f.Holes {
					if fh.VLANs.Has(h.VLANs.IDs()[0]) && fh.Lost-fh.Passed < h.Lost-h.Passed && fh.Passed >= h.Passed && fh.Lost <= h.Lost {
						h.Passed, h.Lost, found = fh.Passed, fh.Lost, true
					}
				}
			}
		}
	}
	return found
}
