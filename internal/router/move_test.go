package router

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"neutrino/internal/model"
	"neutrino/internal/netspace"
)

// Set(a), Set(b) leaves what Set(b) alone does, and Set(b) again changes nothing.
func TestSetForgetsWhatWasBefore(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{portOf + "1", portOf + "2", gwOf + "1"} {
		r.machine(id, id, "", "")
	}
	n := r.node()
	ns := r.prefix + "aaaaaaaa"
	gen := rapid.Custom(drawSpec)
	for seed := range 12 {
		a, b := gen.Example(2*seed), gen.Example(2*seed+1)
		set(t, n)
		set(t, n, b)
		want := r.dump(ns)
		set(t, n)
		set(t, n, a)
		set(t, n, b)
		if got := r.dump(ns); got != want {
			t.Fatalf("seed %d: after another spec:\n%s\nwant:\n%s", seed, got, want)
		}
		set(t, n, b)
		if got := r.dump(ns); got != want {
			t.Fatalf("seed %d: Set again changed what is there:\n%s\nwas:\n%s", seed, got, want)
		}
	}
}

// An address that comes from another router is found here at once: those outside are told.
func TestNeighboursAreToldOfAMove(t *testing.T) {
	r := newRig(t)
	_, _, outside := r.site()
	n := r.node()
	set(t, n, twoSubnets())
	r.ping(outside, "203.0.113.10")
	r.in(outside, func() error { // as learnt from the router that had it
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: l.Attrs().Index, IP: net.ParseIP("203.0.113.20"), State: netlink.NUD_STALE,
			HardwareAddr: net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 0x99},
		})
	})
	spec := twoSubnets()
	spec.Floating = []model.FloatingPair{floating("203.0.113.20", "10.0.1.5")}
	set(t, n, spec)
	for deadline := time.Now().Add(20 * time.Second); ; {
		var have net.HardwareAddr
		r.in(outside, func() error {
			all, err := netlink.NeighList(0, netlink.FAMILY_V4)
			for _, x := range all {
				if x.IP.String() == "203.0.113.20" {
					have = x.HardwareAddr
				}
			}
			return err
		})
		if have.String() == spec.Gateway.MAC {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("outside, 203.0.113.20 is still at %s", have)
		}
		time.Sleep(20 * time.Millisecond) // nothing tells of a neighbour's change but asking
	}
	r.ping(outside, "203.0.113.20")
}

// TestMain's other life: an agent of its own process, to be killed.
const carryEnv = "NEUTRINO_TEST_CARRY"

type carryTask struct {
	Prefix  string
	Netdevs map[string]VF
	Specs   []*model.RouterSpec
}

func carry() {
	var task carryTask
	if err := json.Unmarshal([]byte(os.Getenv(carryEnv)), &task); err != nil {
		panic(err)
	}
	n, err := NewNode(Options{Prefix: task.Prefix, FindVF: func(id string) (VF, bool) { vf, ok := task.Netdevs[id]; return vf, ok }})
	if err != nil {
		panic(err)
	}
	for {
		reports, err := n.Set(context.Background(), task.Specs)
		if err == nil && len(reports) == 1 && reports[0].Up {
			_, _ = os.Stdout.WriteString("up\n")
		}
	}
}

func TestKilledAgentCutsNothing(t *testing.T) {
	r := newRig(t)
	a, _, outside := r.site()
	r.serve(outside, 80)
	spec := twoSubnets()
	task, err := json.Marshal(carryTask{r.prefix, r.netdevs, []*model.RouterSpec{spec}})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), carryEnv+"="+string(task))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in(r.home, cmd.Start)
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the agent ended")
	}
	c := r.dial(a, "203.0.113.1:80")
	r.sees(c, "203.0.113.10")
	if err := cmd.Process.Kill(); err != nil { // in the middle of a Set, most likely
		t.Fatal(err)
	}
	_ = cmd.Wait()
	r.sees(c, "203.0.113.10")
	n := r.node()
	set(t, n, spec)
	r.sees(c, "203.0.113.10")
	if err := netspace.Do(r.prefix+"aaaaaaaa", func() error { return nil }); err != nil {
		t.Error(err)
	}
}
