package system

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"neutrino/internal/lab"
	"neutrino/internal/netspace"
)

const (
	killing   = 15 * time.Second
	customers = 4
	// fewLost is how many echo requests in a row may go without an answer. None of the
	// daemons is in the way of a packet: none should, and a loaded machine may drop some.
	fewLost = 3
)

// victim is one daemon of a lab that can be killed and started again.
type victim struct {
	name string
	args []string
	how  launcher
	log  *logBuffer
	pid  int
	dead func() bool
}

func (v *victim) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(v.pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %s: %v", v.name, err)
	}
	until(t, v.name+" being dead", 5*time.Second, v.dead)
}

func (v *victim) revive(t *testing.T) {
	t.Helper()
	p := start(t, v.how, v.log, v.args...)
	v.pid, v.dead = p.cmd.Process.Pid, p.over
}

// victims are the controller and the agents, the controller first.
func victims(t *testing.T, n lab.Names, s *lab.State) (out []*victim) {
	t.Helper()
	for _, p := range s.Processes {
		v := &victim{name: "controller", args: []string{"controller", "--config-file", n.File("controller.conf")}, how: here, pid: p.PID}
		if p.Host != "" {
			v.name, v.args = "agent of "+p.Host, []string{"agent", "--config-file", n.File(p.Host + ".conf")}
			v.how = func(cmd *exec.Cmd) error { return netspace.Do(n.Namespace(p.Host), cmd.Start) }
		}
		v.dead, v.log = func() bool { return !p.Alive() }, newLog(t, v.name)
		out = append(out, v)
	}
	if len(out) != 4 || out[0].name != "controller" {
		t.Fatalf("the lab's processes are %+v", s.Processes)
	}
	return out
}

// TestKilledAtAnyMoment kills controller and agents of a whole lab again and again, alone
// and together, while customers create, bind and delete, and two instances talk.
func TestKilledAtAnyMoment(t *testing.T) {
	needRoot(t)
	n, err := lab.NewNames(fmt.Sprintf("kill%d", os.Getpid()), "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := lab.Up(t.Context(), lab.Options{Names: n, Binary: binary(t), VFs: 32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if downErr := lab.Down(ctx, n, lab.Progress{}); downErr != nil {
			t.Error(downErr)
		}
	})
	a := &api{base: s.API, client: &http.Client{Timeout: 30 * time.Second}}
	t.Cleanup(a.client.CloseIdleConnections)
	wire := talking(t, n, a)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	load := a.must(t, http.MethodPost, "/v2.0/networks", "network", object{"name": "load"})
	a.must(t, http.MethodPost, "/v2.0/subnets", "subnet", object{"network_id": load["id"], "ip_version": 4, "cidr": "10.80.0.0/22"})
	book := &ledger{}
	ctx, stop := context.WithTimeout(t.Context(), killing)
	defer stop()
	var work sync.WaitGroup
	for i := range customers {
		c := &customer{
			t: t, api: a, ledger: book, rng: rand.New(rand.NewPCG(seed, uint64(i)+1)), name: fmt.Sprintf("c%d", i),
			network: str(load["id"]), hosts: []string{"compute1", "compute2"},
		}
		work.Go(func() { c.work(ctx) })
	}
	kills := massacre(ctx, t, rng, victims(t, n, s), a)
	work.Wait()
	if kills < 5 || book.acknowledged() < 100 {
		t.Errorf("only %d kills and %d acknowledged requests: this proves little", kills, book.acknowledged())
	}
	settled(t, a)
	book.check(t, a)
	sent, lost, longest, at := wire.losses(t)
	t.Logf("%d kills, %d acknowledged requests, %d of %d echo requests lost, %d in a row", kills, book.acknowledged(), lost, sent, longest)
	if longest > fewLost {
		t.Errorf("%d echo requests in a row were lost, from %s on: VFs did not keep forwarding", longest, at.Format(time.StampMilli))
	}
}

// talking boots two instances on two hosts that ping until the test ends.
func talking(t *testing.T, n lab.Names, a *api) *pinger {
	t.Helper()
	network := a.must(t, http.MethodPost, "/v2.0/networks", "network", object{"name": "talk"})
	a.must(t, http.MethodPost, "/v2.0/subnets", "subnet", object{"network_id": network["id"], "ip_version": 4, "cidr": "10.81.0.0/24"})
	var to netip.Addr
	for i, name := range []string{"a", "b"} {
		in, err := lab.Boot(t.Context(), n, lab.BootOptions{Name: name, Host: fmt.Sprintf("compute%d", i+1), Network: "talk"})
		if err != nil {
			t.Fatal(err)
		}
		p, err := netip.ParsePrefix(in.Address)
		if err != nil {
			t.Fatal(err)
		}
		to = p.Addr()
	}
	first := ping(t, n.Namespace("a"), to)
	until(t, "the instances talking", 5*time.Second, first.answers)
	first.end()
	return ping(t, n.Namespace("a"), to)
}

// massacre kills until ctx ends, and leaves everything alive. It returns how many died.
func massacre(ctx context.Context, t *testing.T, rng *rand.Rand, all []*victim, a *api) (kills int) {
	t.Helper()
	pause := func(least, most time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(least + time.Duration(rng.Int64N(int64(most-least)))):
		}
	}
	for ctx.Err() == nil {
		pause(100*time.Millisecond, 700*time.Millisecond)
		dead := []*victim{all[rng.IntN(len(all))]}
		switch rng.IntN(6) {
		case 0: // everything at once
			dead = all
		case 1: // the controller, and who might have something to say to it
			dead = []*victim{all[0], all[1+rng.IntN(3)]}
		case 2:
			dead = all[:1]
		}
		for _, v := range dead {
			v.kill(t)
			kills++
		}
		pause(0, 500*time.Millisecond)
		for _, v := range dead {
			v.revive(t)
		}
		if dead[0] == all[0] {
			until(t, "the API answering again", 20*time.Second, func() bool { return a.answers(t.Context()) })
		}
	}
	return kills
}

// settled waits until every agent is alive and every port that has a host is ACTIVE.
func settled(t *testing.T, a *api) {
	t.Helper()
	var waiting []object
	ok := func() bool {
		waiting = waiting[:0]
		for _, agent := range a.list(t, "agents") {
			if agent["alive"] != true {
				waiting = append(waiting, agent)
			}
		}
		for _, p := range a.list(t, "ports") {
			if p["binding:host_id"] != "" && p["status"] != "ACTIVE" {
				waiting = append(waiting, p)
			}
		}
		return len(waiting) == 0
	}
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not settled: %v", waiting)
		}
	}
}
