package tune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// irqbalance is asked and told on its socket, which it has for irqbalance-ui: "setup"
// answers "SLEEP 10 IRQ 34 LOAD 0 DIFF 0 CLASS 0 BANNED 00000000" with one IRQ for each
// that it leaves alone; "settings ban irqs 34 35" makes that list anew. What it was
// started with (--banirq) is in that list too, so it is kept. It is never stopped, and
// what its files say is not changed.
const (
	balancerDir    = "run/irqbalance"
	balancerOrder  = "settings ban irqs "
	balancerBuffer = 480 // it reads no more than 500 bytes of an order
	balancerTime   = 3 * time.Second
)

// irqbalance finds the one that runs; nil = none.
func (h *Host) irqbalance() *Balancer {
	for _, name := range h.tree().Names("proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if comm, ok := h.text("proc", name, "comm"); !ok || comm != "irqbalance" {
			continue
		}
		b := &Balancer{PID: pid}
		for _, at := range []string{h.path(balancerDir, fmt.Sprintf("irqbalance%d.sock", pid)), fmt.Sprintf("@irqbalance%d.sock", pid)} {
			answer, aerr := askBalancer(at, "setup")
			if aerr != nil {
				continue
			}
			if b.Banned, aerr = parseSetup(answer); aerr == nil {
				b.Socket = at
				break
			}
		}
		return b
	}
	return nil
}

// parseSetup reads which IRQs are left alone.
func parseSetup(answer string) ([]int, error) {
	f := strings.Fields(answer)
	if len(f) < 2 || f[0] != "SLEEP" {
		return nil, fmt.Errorf("%.60q is no answer of irqbalance's", answer)
	}
	var out []int
	for i := 0; i+1 < len(f); i++ {
		if f[i] != "IRQ" {
			continue
		}
		n, err := strconv.Atoi(f[i+1])
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%.60q is no answer of irqbalance's", answer)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// ban tells irqbalance the whole list of those that it leaves alone, and waits until it
// says so: it takes the list over when it next looks at its interrupts.
func (h *Host) ban(pid int, irqs string) error {
	b := h.irqbalance()
	if b == nil || b.PID != pid || b.Socket == "" {
		return fmt.Errorf("irqbalance with pid %d: %w", pid, ErrGone)
	}
	order := balancerOrder + irqs
	if irqs == none {
		order = balancerOrder + "NONE"
	}
	if len(order) > balancerBuffer {
		return fmt.Errorf("these are more than irqbalance reads at once: start it with --banmod and the driver of these NICs: %w", ErrNotSettable)
	}
	if _, err := askBalancer(b.Socket, order); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), balancerTime)
	defer cancel()
	for {
		answer, err := askBalancer(b.Socket, "setup")
		if err != nil {
			return err
		}
		if now, perr := parseSetup(answer); perr == nil && list(now) == irqs {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("irqbalance has not taken it within %s: %w", balancerTime, ErrNotSettable)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// askBalancer sends one order with who sends it, and reads the answer.
func askBalancer(socket, order string) (string, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return "", fmt.Errorf("talk to irqbalance: %w", err)
	}
	defer c.Close()
	if err = c.SetDeadline(time.Now().Add(balancerTime)); err != nil {
		return "", err
	}
	who := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	if _, _, err = c.WriteMsgUnix([]byte(order), who, nil); err != nil {
		return "", fmt.Errorf("talk to irqbalance: %w", err)
	}
	answer, err := io.ReadAll(io.LimitReader(c, 1<<20))
	if err != nil && !errors.Is(err, unix.ECONNRESET) {
		return "", fmt.Errorf("talk to irqbalance: %w", err)
	}
	return string(answer), nil
}
