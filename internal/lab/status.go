package lab

import (
	"context"
	"fmt"
	"io"
	"time"

	"neutrino/internal/eswitch/veb"
)

// Status is what a lab looks like now.
type Status struct {
	Name      string          `json:"name"`
	Ready     bool            `json:"ready"`
	API       string          `json:"api"`
	Answers   bool            `json:"api_answers"`
	Clouds    string          `json:"clouds_file"`
	Processes []ProcessStatus `json:"processes"`
	Agents    []AgentStatus   `json:"agents"`
	NICs      []NICStatus     `json:"nics"`
	Instances []InstStatus    `json:"instances"`
	Ports     []PortStatus    `json:"ports"`
}

// ProcessStatus of one process of the lab.
type ProcessStatus struct {
	Process
	Alive bool `json:"alive"`
}

// AgentStatus as the API has it.
type AgentStatus struct {
	Type  string `json:"agent_type"`
	Host  string `json:"host"`
	Alive bool   `json:"alive"`
}

// NICStatus of one host's NIC.
type NICStatus struct {
	Host     string `json:"host"`
	Name     string `json:"name"`
	VFs      int    `json:"vfs"`
	InHost   int    `json:"vfs_in_host"` // not handed to anybody
	MTU      int    `json:"mtu"`
	Attached string `json:"attached"` // tcx or clsact
}

// InstStatus is an instance with its port's status.
type InstStatus struct {
	*Instance
	PortStatus string `json:"port_status"`
}

// PortStatus as the API has it.
type PortStatus struct {
	ID      string `json:"id"`
	Network string `json:"network_id"`
	Owner   string `json:"device_owner"`
	Host    string `json:"host"`
	VIFType string `json:"vif_type"`
	MAC     string `json:"mac_address"`
	IPs     string `json:"fixed_ips"`
	Status  string `json:"status"`
}

// Look finds out the state of the lab. What does not answer is shown as such.
func Look(ctx context.Context, n Names) (*Status, error) {
	s, err := Read(n)
	if err != nil {
		return nil, err
	}
	out := &Status{Name: s.Name, Ready: s.Ready, API: s.API, Clouds: n.File("clouds.yaml")}
	for _, p := range s.Processes {
		out.Processes = append(out.Processes, ProcessStatus{p, p.Alive()})
	}
	for _, h := range s.Hosts {
		out.NICs = append(out.NICs, nicStatus(n, s, h))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	api := NewAPI(s.API)
	status := map[string]string{}
	if out.Answers = api.Answers(ctx); out.Answers {
		if err := out.ask(ctx, api, status); err != nil {
			return nil, err
		}
	}
	for _, in := range s.Instances {
		out.Instances = append(out.Instances, InstStatus{in, status[in.PortID]})
	}
	return out, nil
}

func (s *Status) ask(ctx context.Context, api *API, status map[string]string) error {
	all, err := api.Agents(ctx)
	if err != nil {
		return err
	}
	for _, a := range all {
		s.Agents = append(s.Agents, AgentStatus{a.AgentType, a.Host, a.Alive})
	}
	list, err := api.Ports(ctx, "")
	if err != nil {
		return err
	}
	for _, p := range list {
		status[p.ID] = p.Status
		ips := ""
		for i, f := range p.FixedIPs {
			if i > 0 {
				ips += ", "
			}
			ips += f.IPAddress
		}
		s.Ports = append(s.Ports, PortStatus{p.ID, p.NetworkID, p.DeviceOwner, p.HostID, p.VIFType, p.MACAddress, ips, p.Status})
	}
	return nil
}

func nicStatus(n Names, s *State, h Host) NICStatus {
	out := NICStatus{Host: h.Name, Name: NIC, VFs: s.VFs}
	if infos, err := veb.List(n.Pins(h.Name)); err == nil {
		for _, i := range infos {
			if i.Name == NIC {
				out.VFs, out.MTU, out.Attached = i.VFs, i.MTU, string(i.Attached)
			}
		}
	}
	for i := range out.VFs {
		if hasLink(n.Namespace(h.Name), vfName(i)) {
			out.InHost++
		}
	}
	return out
}

// WriteTable prints the status for people.
func (s *Status) WriteTable(w io.Writer, color bool) {
	st := style{color}
	tick := func(ok bool, yes, no string) cell {
		if ok {
			return cell{"✓ " + yes, st.good}
		}
		return cell{"✗ " + no, st.bad}
	}
	ready := tick(s.Ready, "up", "cut short: take it down")
	answers := tick(s.Answers, "answers", "does not answer")
	fmt.Fprintf(w, "%s %s  API %s %s  %s\n", st.bold("Lab "+s.Name), ready.paint(ready.text), s.API, answers.paint(answers.text), st.dim(s.Clouds))

	fmt.Fprintf(w, "\n%s\n", st.bold("Processes"))
	g := &grid{right: []bool{false, false, true}}
	g.row("PROCESS", "HOST", "PID", "", "LOG")
	for _, p := range s.Processes {
		g.row(p.Name, orDash(p.Host), p.PID, tick(p.Alive, "runs", "has ended"), p.Log)
	}
	g.write(w, st)

	fmt.Fprintf(w, "\n%s\n", st.bold("Agents"))
	g = &grid{}
	g.row("TYPE", "HOST", "")
	for _, a := range s.Agents {
		g.row(a.Type, a.Host, tick(a.Alive, "alive", "dead"))
	}
	g.write(w, st)

	fmt.Fprintf(w, "\n%s\n", st.bold("NICs"))
	g = &grid{right: []bool{false, false, true, true, true}}
	g.row("HOST", "NIC", "VFS", "IN HOST", "MTU", "BY")
	for _, x := range s.NICs {
		g.row(x.Host, x.Name, x.VFs, x.InHost, x.MTU, orDash(x.Attached))
	}
	g.write(w, st)

	fmt.Fprintf(w, "\n%s\n", st.bold("Instances"))
	g = &grid{}
	g.row("NAME", "HOST", "NETWORK", "VF", "MAC", "ADDRESS", "PORT", "")
	for _, x := range s.Instances {
		g.row(x.Name, x.Host, x.Network, x.PCISlot, x.MAC, orDash(x.Address), x.PortID, tick(x.PortStatus == "ACTIVE", "ACTIVE", orDash(x.PortStatus)))
	}
	g.write(w, st)

	fmt.Fprintf(w, "\n%s\n", st.bold("Ports"))
	g = &grid{}
	g.row("ID", "OWNER", "HOST", "VIF", "MAC", "ADDRESSES", "STATUS")
	for _, p := range s.Ports {
		g.row(p.ID, orDash(p.Owner), orDash(p.Host), orDash(p.VIFType), p.MAC, orDash(p.IPs), p.Status)
	}
	g.write(w, st)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
