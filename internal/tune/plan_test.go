package tune

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// TestMain is also the process that is killed while it tunes.
func TestMain(m *testing.M) {
	if root := os.Getenv("TUNE_AND_DIE"); root != "" {
		tuneAndDie(root, os.Getenv("DIE_AFTER"))
	}
	goleak.VerifyTestMain(m)
}

func TestRolesOfHandlers(t *testing.T) {
	for name, want := range map[string]role{
		"mlx4-3@0000:08:00.0":          {true, true, 3},
		"mlx4-async@pci:0000:08:00.0":  {},
		"mlx5_comp12@pci:0000:07:00.0": {true, true, 12},
		"mlx5_async0@pci:0000:07:00.0": {},
		"ens3f0-TxRx-7":                {true, true, 7},
		"ens3f0":                       {},
		"i40e-ens5f0-TxRx-3":           {true, true, 3},
		"i40e-0000:05:00.0:misc":       {},
		"ice-ens6f0-TxRx-63":           {true, true, 63},
		"iavf-ens5f0v0-TxRx-1":         {true, true, 1},
		"ens3f0v0-rx-0":                {rx: true},
		"ens3f0v0-tx-1":                {tx: true, queue: 1},
		"virtio3-input.1":              {rx: true, queue: 1},
		"virtio3-output.2":             {tx: true, queue: 2},
		"virtio3-config":               {},
		"eth0-Tx-Rx-3":                 {true, true, 3},
		"ena-mgmnt@pci:0000:00:05.0":   {},
		"vfio-msix[3](0000:03:10.0)":   {true, true, 3},
		"bnxt_en-ens1f0-TxRx-2":        {true, true, 2},
		"eth2-0":                       {true, true, 0},
	} {
		if have := roleOf(name); have != want {
			t.Errorf("%s is %+v, want %+v", name, have, want)
		}
	}
}

// draw makes a machine: nodes, cores, threads, NICs with interrupts.
func draw(t *rapid.T) *Facts {
	f := &Facts{Files: map[string]string{}, Before: map[Target]string{}}
	nodes, cores, threads := rapid.IntRange(1, 3).Draw(t, "nodes"), rapid.IntRange(1, 6).Draw(t, "cores"), rapid.IntRange(1, 2).Draw(t, "threads")
	for i := range nodes * cores * threads {
		core := i % (nodes * cores)
		f.CPUs = append(f.CPUs, CPU{Number: i, Node: core / cores, Package: core / cores, Core: core % cores, Isolated: rapid.IntRange(0, 9).Draw(t, "isolated") == 0})
	}
	irq := 30
	for i := range rapid.IntRange(1, 4).Draw(t, "nics") {
		n := NIC{Name: fmt.Sprintf("eth%d", i), Node: rapid.IntRange(-1, nodes-1).Draw(t, "node")}
		for q := range rapid.IntRange(0, 12).Draw(t, "queues") {
			n.IRQs = append(n.IRQs, IRQ{Number: irq, Name: fmt.Sprintf("eth%d-TxRx-%d", i, q), CPUs: []int{0}})
			n.TxQueue = append(n.TxQueue, q)
			irq++
		}
		f.NICs = append(f.NICs, n)
	}
	return f
}

func TestInterruptsAreSharedFairly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := draw(t)
		placing := spread(f)
		load := map[string]map[int]int{}
		for _, n := range f.NICs {
			near := f.local(n.Node)
			pool := poolOf(near)
			if load[pool] == nil {
				load[pool] = map[int]int{}
				for _, c := range near {
					load[pool][c.Number] = 0
				}
			}
			for _, q := range n.IRQs {
				cpus := placing[n.Name].IRQs[q.Number]
				if len(cpus) != 1 || !numbers(near).Has(cpus[0]) {
					t.Fatalf("%s on %v, near are %v", q.Name, cpus, numbers(near))
				}
				load[pool][cpus[0]]++
			}
		}
		for _, l := range load {
			low, high := 1<<30, 0
			for _, n := range l {
				low, high = min(low, n), max(high, n)
			}
			if high-low > 1 {
				t.Fatalf("loads %v", l)
			}
		}
	})
}

func TestEveryCPUSendsOnOneQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := draw(t)
		placing := spread(f)
		for _, n := range f.NICs {
			by := senders(n.TxQueue, placing[n.Name].Tx, f.everywhere(n.Node))
			seen := map[int]int{}
			for q, cpus := range by {
				if !slices.Contains(n.TxQueue, q) {
					t.Fatalf("queue %d is none of %v", q, n.TxQueue)
				}
				for _, c := range cpus {
					seen[c]++
				}
			}
			for _, c := range f.everywhere(n.Node) {
				if want := min(len(n.TxQueue), 1); seen[c.Number] != want {
					t.Fatalf("CPU %d is on %d queues, want %d: %v", c.Number, seen[c.Number], want, by)
				}
			}
		}
	})
}

func TestCoresComeBeforeTheirSiblings(t *testing.T) {
	f := &Facts{}
	for i := range 8 { // siblings are 0,4  1,5  2,6  3,7; 1 is isolated
		f.CPUs = append(f.CPUs, CPU{Number: i, Core: i % 4, Isolated: i == 1})
	}
	if have := fmt.Sprint(f.local(0)[0].Number, f.local(0)[1].Number, f.local(0)[2].Number, f.local(0)[3].Number); have != "0 2 3 5" {
		t.Errorf("first are %s, want 0 2 3 5", have)
	}
}

// Every rule is there once, says why and from where, and has something to want.
func TestRulesAreWhole(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rules() {
		if seen[r.Name] || r.Title == "" || r.Why == "" || r.Source == "" || r.wish == nil || len(r.Values)+len(r.Drivers) == 0 {
			t.Errorf("rule %+v", r)
		}
		seen[r.Name] = true
	}
}

// A rule whose values nothing reads would never say anything.
func TestEveryRuleFindsItsValues(t *testing.T) {
	found := map[string]bool{}
	h := small(t)
	f, err := h.Facts(nil)
	must(t, err)
	f.Irqbalance = &Balancer{PID: 7, Socket: "s"}
	f.NICs[0].ReadReq, f.NICs[0].VectorsTotal = 128, 16
	f.NICs[0].VFs[0].Vectors, f.NICs[0].VFs[0].Driver = 2, ""
	f.NICs[0].Ethtool["coalesce adaptive-tx"] = f.NICs[0].Ethtool["coalesce adaptive-rx"]
	f.NICs[0].Ethtool["coalesce tx-frames"] = f.NICs[0].Ethtool["coalesce rx-usecs"]
	for _, driver := range []string{"igb", "mlx4_core", "mlx5_core"} {
		f.NICs[0].Driver = driver
		for _, p := range Profiles {
			for _, x := range Plan(f, p.Name) {
				found[x.Rule] = true
			}
		}
	}
	for _, r := range Rules() {
		if !found[r.Name] {
			t.Errorf("rule %s finds nothing", r.Name)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add(interrupts)
	f.Add("SLEEP 10 IRQ 34 LOAD 0 DIFF 0 CLASS 0 BANNED 00000000")
	f.Add(`{"version":1,"profile":"latency","boot":"x","since":"2026-01-01T00:00:00Z","persist":true,"values":[{"rule":"a","target":{"kind":"file","path":"proc/sys/vm/stat_interval"},"before":"1","wrote":["30"]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		roleOf(text)
		if irqs, err := parseSetup(text); err == nil && slices.ContainsFunc(irqs, func(n int) bool { return n < 0 }) {
			t.Error(irqs)
		}
		if r, err := decodeRecord([]byte(text)); err == nil {
			for _, v := range r.Values {
				if strings.Contains(v.Target.Path, "..") {
					t.Errorf("path %q", v.Target.Path)
				}
			}
		}
		if at := capability([]byte(text), capExpress); at < 0 || at != 0 && at+12 > len(text) {
			t.Errorf("capability at %d of %d", at, len(text))
		}
	})
}
