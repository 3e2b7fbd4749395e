package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"neutrino/internal/bench/paths"
)

// RunOptions of Run. Names, Binary, APIPort, VFs and Progress are as in Options.
type RunOptions struct {
	Options
	Effort Effort // the zero Effort = DefaultEffort
}

// downIn bounds the taking down, also after the caller gave up.
const downIn = time.Minute

// Run is the main job from end to end: up, two tenant networks with instances on both
// hosts, isolation checked, speed measured, down. It leaves nothing behind, whatever
// happens. The report is complete when err is nil; its OK says whether isolation held.
func Run(ctx context.Context, o RunOptions) (*Report, error) {
	if o.Effort == (Effort{}) {
		o.Effort = DefaultEffort
	}
	start := time.Now()
	r := &Report{Version: 1, Lab: o.Names.Lab, Started: start.UTC(), Machine: thisMachine(), Effort: o.Effort}
	s, err := Up(ctx, o.Options)
	if err != nil {
		return nil, err
	}
	r.Timings.Up = time.Since(start)
	err = (&scenario{o: o, r: r, s: s, api: NewAPI(s.API)}).play(ctx)
	if err != nil {
		err = errors.Join(err, (&running{n: o.Names, s: s}).logs())
		o.Progress.Warn("%v", err)
	}
	down := time.Now()
	o.Progress.Now("taking the lab down")
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), downIn)
	defer cancel()
	err = errors.Join(err, Down(clean, o.Names, o.Progress))
	r.Timings.Down = time.Since(down)
	r.Timings.Total = time.Since(start)
	if err != nil {
		return nil, err
	}
	r.judge()
	return r, nil
}

// scenario is what Run does on a lab that is up.
type scenario struct {
	o   RunOptions
	r   *Report
	s   *State
	api *API
}

func (x *scenario) play(ctx context.Context) error {
	for _, part := range []struct {
		do   func(context.Context) error
		took *time.Duration
	}{
		{x.populate, &x.r.Timings.Boot},
		{x.check, &x.r.Timings.Check},
		{x.speed, &x.r.Timings.Measure},
	} {
		start := time.Now()
		if err := part.do(ctx); err != nil {
			return err
		}
		*part.took = time.Since(start)
	}
	return nil
}

// populate makes the networks red and blue, with the same addresses in both, so that
// nothing but the VLAN keeps them apart; and an instance of each on both hosts.
func (x *scenario) populate(ctx context.Context) error {
	cidr := netip.MustParsePrefix("10.0.0.0/24")
	pools := map[string][2]netip.Addr{
		"red":  {netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.99")},
		"blue": {netip.MustParseAddr("10.0.0.110"), netip.MustParseAddr("10.0.0.199")},
	}
	for _, name := range []string{"red", "blue"} {
		n, err := x.api.CreateNetwork(ctx, name)
		if err != nil {
			return err
		}
		if err := x.api.CreateSubnet(ctx, n, cidr, pools[name][0], pools[name][1]); err != nil {
			return err
		}
		x.r.Networks = append(x.r.Networks, n)
		x.o.Progress.Step("network %s, VLAN %s, subnet %s", name, n.VLAN, cidr)
	}
	for _, want := range []struct{ name, network, host string }{
		{"red1", "red", "compute1"},
		{"red2", "red", "compute2"},
		{"blue1", "blue", "compute1"},
		{"blue2", "blue", "compute2"},
	} {
		if err := x.boot(ctx, want.name, want.network, want.host); err != nil {
			return err
		}
	}
	return nil
}

func (x *scenario) boot(ctx context.Context, name, network, host string) error {
	in, err := Boot(ctx, x.o.Names, BootOptions{Name: name, Network: network, Host: host})
	if err != nil {
		return err
	}
	x.r.Instances = append(x.r.Instances, in)
	x.o.Progress.Step("instance %s on %s: VF %s, %s by DHCP", in.Name, in.Host, in.PCISlot, in.Address)
	return nil
}

func (x *scenario) instance(name string) *Instance {
	for _, in := range x.r.Instances {
		if in.Name == name {
			return in
		}
	}
	return nil
}

func (x *scenario) check(ctx context.Context) error {
	x.r.Pings = pingMatrix(ctx, x.o.Names, x.r.Instances)
	good := 0
	for _, p := range x.r.Pings {
		if p.OK() {
			good++
		}
	}
	x.tell(good == len(x.r.Pings), "ping matrix: %d of %d as they must be", good, len(x.r.Pings))
	x.r.Spoofs = spoofTests(ctx, x.o.Names, x.instance("red1"), x.instance("red2"), x.instance("blue2"), x.r.Networks[1].VLAN)
	good = 0
	for _, s := range x.r.Spoofs {
		if s.OK() {
			good++
		}
	}
	x.tell(good == len(x.r.Spoofs), "forged frames: %d of %d as they must be", good, len(x.r.Spoofs))
	return ctx.Err()
}

func (x *scenario) tell(ok bool, format string, args ...any) {
	if ok {
		x.o.Progress.Step(format, args...)
		return
	}
	x.o.Progress.Warn(format, args...)
}

// speed measures VFs on one host and on two beside what they replace.
func (x *scenario) speed(ctx context.Context) error {
	if err := x.boot(ctx, "red3", "red", "compute1"); err != nil {
		return err
	}
	n := x.o.Names
	var all []paths.Path
	for _, build := range []func() (paths.Path, error){
		func() (paths.Path, error) { return comparison(ctx, n, "wire", PathDirect) },
		func() (paths.Path, error) {
			return vfPath(n, PathOne, "neutrino, one host", x.instance("red1"), x.instance("red3"))
		},
		func() (paths.Path, error) {
			return vfPath(n, PathTwo, "neutrino, two hosts", x.instance("red1"), x.instance("red2"))
		},
		func() (paths.Path, error) { return comparison(ctx, n, "bridge", PathBridge) },
		func() (paths.Path, error) { return comparison(ctx, n, "bridge-vxlan", PathVXLAN) },
	} {
		p, err := build()
		switch {
		case err == nil:
			all = append(all, p)
		case p.Key == PathBridge || p.Key == PathVXLAN: // this kernel lacks it
			x.o.Progress.Warn("%v", err)
			x.r.Paths = append(x.r.Paths, Measured{Key: p.Key, Title: p.Title, Err: err.Error()})
		default:
			return err
		}
	}
	x.o.Progress.Now("measuring %d paths, %d rounds", len(all), x.o.Effort.Rounds)
	measured, err := measure(ctx, all, x.o.Effort, func(int) {})
	if err != nil {
		return fmt.Errorf("measure: %w", err)
	}
	x.r.Paths = append(measured, x.r.Paths...)
	for _, m := range measured {
		if m.Err != "" {
			x.o.Progress.Warn("%s", m.Err)
		}
	}
	x.o.Progress.Step("latency and throughput of %d paths", len(all))
	return nil
}
