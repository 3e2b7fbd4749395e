package cli

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/bench"
	"neutrino/internal/bench/wire"
	"neutrino/internal/machine"
	"neutrino/internal/tune"
)

func benchServe() *cobra.Command {
	var listen, cpus string
	var allow []string
	var sessions int
	limits := wire.DefaultLimits
	cmd := &cobra.Command{
		Use: "serve", Short: "Be the other end of `bench run`, until SIGTERM",
		Long: "Be the other end of `bench run`, until SIGTERM.\n\n" +
			"One TCP port does for control and connections; UDP flows use ports that the kernel chooses. Datagrams are\n" +
			"answered only within a measurement that a client has opened over TCP, to that client, and with no more bytes\n" +
			"than it sends. Who may measure is said by --allow; without it, only hosts on the networks of this host's own\n" +
			"interfaces may. It changes nothing on the host and needs no root.",
		Example: "  neutrino bench serve\n  neutrino bench serve --listen 10.0.0.2:9698 --allow 10.0.0.0/24 --cpu 4-7",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := &wire.Server{Limits: limits, Sessions: sessions, Environment: environment}
			var err error
			if s.CPUs, err = ownCPUs(cpus); err != nil {
				return err
			}
			for _, a := range allow {
				p, bad := parsePrefix(a)
				if bad != nil {
					return usagef("--allow: %q is neither a network like 10.0.0.0/24 nor an address", a)
				}
				s.Allow = append(s.Allow, p)
			}
			if sessions < 1 || limits.Time < time.Second || limits.Flows < 1 || limits.Flows > wire.DefaultLimits.Flows {
				return usagef("--sessions is 1 or more, --max-time 1s or more, --max-flows 1 to %d", wire.DefaultLimits.Flows)
			}
			at, err := net.ResolveTCPAddr("tcp", listen)
			if err != nil {
				return usagef("--listen: %s", err)
			}
			l, err := net.ListenTCP("tcp", at)
			if err != nil {
				return fmt.Errorf("listen for clients: %w; choose another address with --listen", err)
			}
			s.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			fmt.Fprintf(cmd.OutOrStdout(), "listening on %s\n", l.Addr())
			return s.Serve(cmd.Context(), l)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&listen, "listen", fmt.Sprintf(":%d", wire.DefaultPort), "address and port")
	f.StringSliceVar(&allow, "allow", nil, "networks or addresses that may measure (default those of this host's interfaces)")
	f.StringVar(&cpus, "cpu", "", "CPUs that measure, as in 2 or 4-7 (default any, or as the client's --numa asks)")
	f.IntVar(&sessions, "sessions", 1, "how many clients may measure at the same time; they disturb each other")
	f.DurationVar(&limits.Time, "max-time", limits.Time, "how long one measurement may take")
	f.IntVar(&limits.Flows, "max-flows", limits.Flows, "how many flows one measurement may have")
	return cmd
}

// parsePrefix reads a network, or an address as the network of itself.
func parsePrefix(s string) (netip.Prefix, error) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ownCPUs reads a list of CPUs that this process is to use.
func ownCPUs(list string) (machine.CPUList, error) {
	if list == "" {
		return nil, nil
	}
	online := machine.Tree("/").List("sys/devices/system/cpu", "online")
	n := 0
	if len(online) > 0 {
		n = online[len(online)-1] + 1
	}
	cpus, err := machine.ParseCPUList(list, n)
	if err != nil {
		return nil, usagef("--cpu: %s; the CPUs of this host are %s", err, online)
	}
	if off := cpus.Without(online); len(online) > 0 && len(off) > 0 || len(cpus) == 0 {
		return nil, usagef("--cpu %s: the CPUs of this host are %s", list, online)
	}
	return cpus, nil
}

// environment is this machine as results record it.
func environment(link string) bench.Environment {
	e := bench.Look("", link)
	e.Neutrino = Version
	if h, err := tune.New(""); err == nil {
		if s, err := h.Status(); err == nil {
			e.Profile = string(s.Profile)
		}
		h.Close()
	}
	return e
}
