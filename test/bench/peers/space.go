package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"neutrino/internal/netspace"
)

// The two ends of the path.
const (
	near     = "10.255.77.1"
	far      = "10.255.77.2"
	nearLink = "peer0"
)

// space is the path: two namespaces with a veth pair between them.
type space struct{ a, b string }

// newSpace makes it. What a run that was killed left behind under the same name is taken away first.
func newSpace(name string) (*space, error) {
	s := &space{name + "-a", name + "-b"}
	if err := s.remove(); err != nil {
		return nil, err
	}
	for _, n := range []string{s.a, s.b} {
		if err := netspace.Create(n, func() error { return up("lo", "") }); err != nil {
			return nil, errors.Join(err, s.remove())
		}
	}
	if err := s.wire(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the path: %w", err), s.remove())
	}
	return s, nil
}

func (s *space) wire() error {
	other, err := netspace.Open(s.b)
	if err != nil {
		return err
	}
	defer func() { _ = other.Close() }()
	err = netspace.Do(s.a, func() error {
		linkErr := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: nearLink}, PeerName: nearLink, PeerNamespace: netlink.NsFd(int(other)),
		})
		return errors.Join(linkErr, up(nearLink, near))
	})
	return errors.Join(err, netspace.Do(s.b, func() error { return up(nearLink, far) }))
}

// up sets a link up, with an address unless it is "".
func up(link, address string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	if address != "" {
		a, err := netlink.ParseAddr(address + "/24")
		if err != nil {
			return err
		}
		if err = netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return netlink.LinkSetUp(l)
}

func (s *space) remove() error { return errors.Join(netspace.Delete(s.a), netspace.Delete(s.b)) }

// start starts a program at one end of the path, pinned to a processor unless cpu is negative.
func (s *space) start(c *exec.Cmd, at string, cpu int) error {
	return netspace.Do(at, func() error {
		var old, set unix.CPUSet
		if err := unix.SchedGetaffinity(0, &old); err != nil {
			return err
		}
		set.Set(cpu)
		if cpu >= 0 {
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				return fmt.Errorf("pin %s to processor %d: %w", c.Path, cpu, err)
			}
		}
		err := c.Start()
		return errors.Join(err, unix.SchedSetaffinity(0, &old))
	})
}

// run is the output of a program at the near end.
func (s *space) run(ctx context.Context, cpu int, argv ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := s.start(c, s.a, cpu)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", strings.Join(argv, " "), err, tail(errs.String()+out.String()))
	}
	return out.Bytes(), nil
}

func tail(s string) string { return s[max(0, len(s)-400):] }

// server is a program at the far end that goes on until stop is called.
func (s *space) server(cpu int, argv ...string) (stop func(), err error) {
	c := exec.Command(argv[0], argv[1:]...)
	var errs bytes.Buffer
	c.Stderr = &errs
	if err = s.start(c, s.b, cpu); err != nil {
		return nil, fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
	}
	return func() {
		_ = c.Process.Signal(unix.SIGTERM)
		late := time.AfterFunc(3*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		late.Stop()
	}, nil
}

// bound waits until something at the far end listens on a port. A connection that was there before does not
// count, which the kernel goes on listing for a minute (TIME_WAIT).
func (s *space) bound(ctx context.Context, proto string, port int) error {
	want := fmt.Sprintf(":%04X", port)
	state := map[string]string{"tcp": "0A", "udp": "07"}[proto] // TCP_LISTEN, TCP_CLOSE: include/net/tcp_states.h
	for {
		found := false
		err := netspace.Do(s.b, func() error {
			for _, f := range []string{proto, proto + "6"} {
				text, err := os.ReadFile("/proc/thread-self/net/" + f)
				if err != nil {
					return err
				}
				for line := range strings.Lines(string(text)) {
					if words := strings.Fields(line); len(words) > 3 && strings.HasSuffix(words[1], want) && words[3] == state {
						found = true
					}
				}
			}
			return nil
		})
		if err != nil || found {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a server on %s port %d: %w", proto, port, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
