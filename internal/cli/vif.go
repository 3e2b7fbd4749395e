package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"neutrino/internal/hostapi"
	intents "neutrino/internal/journal"
	"neutrino/internal/plug"
)

// local is the agent of this host, as the commands see it.
type local struct{ socket string }

func (l *local) flag(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&l.socket, "socket", os.Getenv("NEUTRINO_AGENT_SOCKET"),
		"agent's socket (default $NEUTRINO_AGENT_SOCKET, else "+hostapi.DefaultSocket+")")
	_ = cmd.MarkPersistentFlagFilename("socket")
}

func (l *local) client() *hostapi.Client { return hostapi.NewClient(l.socket) }

// localError gives what the agent says its exit code.
func localError(err error) error {
	kind := error(nil)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hostapi.ErrNotFound), errors.Is(err, plug.ErrNoPort), errors.Is(err, plug.ErrNotPlugged):
		kind = errNotFound
	case errors.Is(err, hostapi.ErrUnavailable), errors.Is(err, plug.ErrNotReady):
		kind = errUnavailable
	case errors.Is(err, hostapi.ErrForbidden), errors.Is(err, hostapi.ErrAmbiguous), errors.Is(err, plug.ErrPlugged),
		errors.Is(err, plug.ErrFenced), errors.Is(err, plug.ErrRefused), errors.Is(err, intents.ErrBusy):
		kind = errRefused
	default:
		return err
	}
	return coded{kind, err.Error()}
}

// vifCommand is `neutrino vif`.
func vifCommand(o *output) *cobra.Command {
	l := &local{}
	cmd := group("vif", "Plug the ports of this host into domains and namespaces",
		vifPlug(l, o), vifUnplug(l), vifList(l, o), vifShow(l, o))
	cmd.Long = cmd.Short + ".\n\nThese commands speak to the agent of this host, on its socket. A port has to be bound to the\n" +
		"host first: the agent gives it a VF and programs it; `vif plug` hands that VF to an instance."
	cmd.GroupID = "host"
	l.flag(cmd)
	return cmd
}

// vfCommand is `neutrino vf`.
func vfCommand(o *output) *cobra.Command {
	l := &local{}
	cmd := group("vf", "The virtual functions of this host", vfList(l, o))
	cmd.GroupID = "host"
	l.flag(cmd)
	return cmd
}

func vifPlug(l *local, o *output) *cobra.Command {
	var t plug.Target
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "plug PORT", Short: "Plug a port: into a domain, into a namespace, or ready for your own tool (-o xml)",
		Example: "  neutrino vif plug 5f0c --domain vm1\n" +
			"  neutrino vif plug 5f0c --netns lab --ifname eth0\n" +
			"  neutrino vif plug 5f0c -o xml > interface.xml && virsh attach-device vm1 interface.xml",
		Args: args(1, 1, "a port"), ValidArgsFunction: once(l.completePorts),
		RunE: func(cmd *cobra.Command, a []string) error {
			t.External = o.format == formatXML && t.Domain == "" && t.Netns == ""
			if t.Domain == "" && t.Netns == "" && !t.External {
				return usagef("name --domain or --netns, or ask for the interface with -o xml")
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), wait, fmt.Errorf("not plugged within %s", wait))
			defer cancel()
			id, err := l.port(ctx, a[0])
			if err != nil {
				return localError(err)
			}
			stop := l.progress(ctx, cmd.ErrOrStderr(), id)
			v, err := l.client().Plug(ctx, hostapi.PlugRequest{PortID: id, Target: t})
			stop()
			if err != nil {
				return l.why(ctx, id, err)
			}
			return o.vif(cmd.OutOrStdout(), v)
		},
	}
	cmd.Flags().StringVar(&t.Domain, "domain", "", "libvirt domain, by name or UUID")
	cmd.Flags().StringVar(&t.Netns, "netns", "", "network namespace, as `ip netns` names it")
	cmd.Flags().StringVar(&t.Ifname, "ifname", "", "name of the device in the namespace (default eth0)")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for the port's VF and for the guest")
	cmd.MarkFlagsMutuallyExclusive("domain", "netns")
	return cmd
}

func vifUnplug(l *local) *cobra.Command {
	var generation uint64
	cmd := &cobra.Command{
		Use: "unplug PORT", Short: "Take a port from its domain or namespace; the VF is reset",
		Args: args(1, 1, "a port"), ValidArgsFunction: once(l.completeVIFs),
		RunE: func(cmd *cobra.Command, a []string) error {
			v, err := l.vif(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return localError(l.client().Unplug(cmd.Context(), v.PortID, generation))
		},
	}
	cmd.Flags().Uint64Var(&generation, "generation", 0, "only if it is plugged under this generation (`vif list` shows it); 0 = whatever is plugged")
	return cmd
}

func vifList(l *local, o *output) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List what is plugged on this host", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vifs, err := l.client().VIFs(cmd.Context())
			if err != nil {
				return localError(err)
			}
			if o.format.String() != "table" {
				return o.plain(cmd.OutOrStdout(), vifs, idsOf(vifs))
			}
			var rows [][]string
			for _, v := range vifs {
				rows = append(rows, []string{
					v.PortID, string(v.Kind), v.Target.String(), v.PF, vfText(v.Index), v.PCISlot, v.MAC, vlanText(v.VLAN),
					strconv.FormatUint(v.Generation, 10), v.PluggedAt.Local().Format(time.DateTime),
				})
			}
			return grid(cmd.OutOrStdout(), []string{"PORT", "KIND", "PLUGGED INTO", "PF", "VF", "PCI", "MAC", "VLAN", "GENERATION", "SINCE"}, rows)
		},
	}
}

func vifShow(l *local, o *output) *cobra.Command {
	return &cobra.Command{
		Use: "show PORT", Short: "Show one plugged port; -o xml prints its libvirt interface",
		Args: args(1, 1, "a port"), ValidArgsFunction: once(l.completeVIFs),
		RunE: func(cmd *cobra.Command, a []string) error {
			v, err := l.vif(cmd.Context(), a[0])
			if err != nil {
				return err
			}
			return o.vif(cmd.OutOrStdout(), v)
		},
	}
}

// vif finds what is plugged by the beginning of its port's id.
func (l *local) vif(ctx context.Context, begin string) (hostapi.VIF, error) {
	vifs, err := l.client().VIFs(ctx)
	if err != nil {
		return hostapi.VIF{}, localError(err)
	}
	id, err := hostapi.Resolve(begin, idsOf(vifs))
	switch {
	case errors.Is(err, hostapi.ErrNotFound):
		return hostapi.VIF{}, coded{errNotFound, fmt.Sprintf("port %s is not plugged on this host", begin)}
	case err != nil:
		return hostapi.VIF{}, localError(err)
	}
	i := slices.IndexFunc(vifs, func(v hostapi.VIF) bool { return v.PortID == id })
	return vifs[i], nil
}

// vif prints one plugged port.
func (o *output) vif(w io.Writer, v hostapi.VIF) error {
	if o.format == formatXML {
		if v.XML == "" {
			return coded{errRefused, fmt.Sprintf("port %s is in a namespace: it has no libvirt interface", v.PortID)}
		}
		_, err := io.WriteString(w, v.XML+"\n")
		return err
	}
	if o.format.String() != "table" {
		return o.plain(w, v, []string{v.PortID})
	}
	where := [][]string{{"PF", v.PF}, {"VF", vfText(v.Index)}, {"PCI", v.PCISlot}}
	if v.Bridge != "" {
		where = [][]string{{"bridge", v.Bridge}, {"interface", v.Netdev}}
	}
	rows := [][]string{
		{"port", v.PortID},
		{"network", v.NetworkID},
		{"kind", string(v.Kind)},
		{"plugged into", v.Target.String()},
	}
	rows = append(append(rows, where...), [][]string{
		{"MAC", v.MAC},
		{"VLAN", vlanText(v.VLAN)},
		{"MTU", strconv.Itoa(v.MTU)},
		{"generation", strconv.FormatUint(v.Generation, 10)},
		{"since", v.PluggedAt.Local().Format(time.DateTime)},
	}...)
	return grid(w, []string{"ATTRIBUTE", "VALUE"}, rows)
}

// vfText is the number of a VF; ports of bridges have none.
func vfText(index int) string {
	if index < 0 {
		return "-"
	}
	return strconv.Itoa(index)
}

func idsOf(vifs []hostapi.VIF) []string {
	out := make([]string, len(vifs))
	for i, v := range vifs {
		out[i] = v.PortID
	}
	return out
}

func vlanText(v int) string {
	if v == 0 {
		return "untagged"
	}
	return strconv.Itoa(v)
}

// port completes the beginning of a port's id. One that the host does not have yet is
// taken as it is: it may be on its way.
func (l *local) port(ctx context.Context, begin string) (string, error) {
	ports, err := l.client().Ports(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, p := range ports {
		ids = append(ids, p.ID)
	}
	id, err := hostapi.Resolve(begin, ids)
	if errors.Is(err, hostapi.ErrNotFound) && isID(begin) {
		return begin, nil
	}
	return id, err
}

// why explains an attempt that ran out of time by what the port is waiting for.
func (l *local) why(ctx context.Context, id string, err error) error {
	if ctx.Err() == nil {
		return localError(err)
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	reason := "the agent does not have it: is it bound to this host?"
	if ports, perr := l.client().Ports(after); perr == nil {
		for _, p := range ports {
			if p.ID == id {
				reason = p.Reason
				if p.Up {
					reason = "its VF is ready; the guest or libvirt takes its time"
				}
			}
		}
	}
	return coded{errUnavailable, fmt.Sprintf("port %s: %v: %s", id, context.Cause(ctx), reason)}
}

// progress says each second what a port is waiting for, from the second second on.
func (l *local) progress(ctx context.Context, w io.Writer, id string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			state := "waiting for the port to be bound here"
			if ports, err := l.client().Ports(ctx); err == nil {
				for _, p := range ports {
					switch {
					case p.ID != id:
					case p.Up:
						state = "VF is ready, plugging"
					default:
						state = p.Reason
					}
				}
			}
			if ctx.Err() == nil {
				fmt.Fprintf(w, "%3.0f s  %s\n", time.Since(start).Seconds(), printable(state))
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (l *local) completePorts(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	ports, _ := l.client().Ports(ctx) //nolint:errcheck // nothing to offer then
	var out []string
	for _, p := range ports {
		out = append(out, cobra.CompletionWithDesc(p.ID, p.MAC))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (l *local) completeVIFs(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	vifs, _ := l.client().VIFs(ctx) //nolint:errcheck // nothing to offer then
	var out []string
	for _, v := range vifs {
		out = append(out, cobra.CompletionWithDesc(v.PortID, v.Target.String()))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
