package tune

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

// balancer is an irqbalance that only knows its socket.
type balancer struct {
	mu     sync.Mutex
	banned string
	orders []string
}

// balance has one with pid 77 in a machine.
func balance(t testing.TB, h *Host) *balancer {
	t.Helper()
	files(t, h.Root, map[string]string{"proc/77/comm": "irqbalance"})
	must(t, os.MkdirAll(h.path(balancerDir), 0o755))
	l, err := net.Listen("unix", h.path(balancerDir, "irqbalance77.sock"))
	must(t, err)
	b := &balancer{banned: "8"}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, aerr := l.Accept()
			if aerr != nil {
				return
			}
			buf := make([]byte, 500)
			n, _ := c.Read(buf)
			fmt.Fprint(c, b.answer(string(buf[:n])))
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return b
}

func (b *balancer) answer(order string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orders = append(b.orders, order)
	if irqs, ok := strings.CutPrefix(order, "settings ban irqs "); ok {
		b.banned = strings.ReplaceAll(irqs, "NONE", "")
		return ""
	}
	out := "SLEEP 10 "
	for _, n := range strings.Fields(b.banned) {
		out += "IRQ " + n + " LOAD 0 DIFF 0 CLASS 0 "
	}
	return out + "BANNED 00000000"
}

func (b *balancer) has() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.banned
}

func TestIrqbalanceLeavesOursAlone(t *testing.T) {
	h := small(t)
	b := balance(t, h)
	apply(t, h, Want{Profile: Balanced})
	if have := b.has(); have != "8 34 35 36 40" {
		t.Errorf("irqbalance leaves %q alone", have)
	}
	if count := undo(t, h); count[Restored] == 0 {
		t.Errorf("%v", count)
	}
	if have := b.has(); have != "8" {
		t.Errorf("irqbalance leaves %q alone after undo", have)
	}
	files(t, h.Root, map[string]string{"proc/77/comm": "another"})
	apply(t, h, Want{Profile: Balanced})
	if have := b.has(); have != "8" {
		t.Errorf("whoever it is, it was told %q", have)
	}
}

func TestAnIrqbalanceWithoutASocketIsSaid(t *testing.T) {
	h := small(t)
	files(t, h.Root, map[string]string{"proc/77/comm": "irqbalance"})
	d, err := h.Draft(Want{Profile: Balanced})
	must(t, err)
	if text := texts(d.Findings); !strings.Contains(text, "refused irqbalance has no socket") {
		t.Error(text)
	}
	if err = h.ban(77, "34"); err == nil {
		t.Error("told to nobody")
	}
}

func TestMoreThanIrqbalanceReadsIsNotSent(t *testing.T) {
	h := small(t)
	b := balance(t, h)
	many := strings.TrimSpace(strings.Repeat("1234 ", 200))
	if err := h.ban(77, many); err == nil || !strings.Contains(err.Error(), "--banmod") {
		t.Error(err)
	}
	if have := b.has(); have != "8" {
		t.Errorf("it was told %q", have)
	}
}
