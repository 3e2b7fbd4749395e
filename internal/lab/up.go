package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"neutrino/internal/netspace"
)

// Options of Up.
type Options struct {
	Names    Names
	Binary   string // neutrino itself; "" = /proc/self/exe
	APIPort  int    // 0 = 9696 if it is free, else any
	Identity bool   // serve the built-in identity
	VFs      int    // per host; 0 = 8
	Routers  bool   // network nodes carry routers
	// NetworkNodes is how many hosts serve DHCP, and carry routers; 0 = 1.
	NetworkNodes int
	Progress     Progress
}

// MaxNetworkNodes of a lab.
const MaxNetworkNodes = 4

// MaxVFs per host of a lab.
const MaxVFs = 256

// readyIn is how long the controller and the agents may take to be there.
const readyIn = 30 * time.Second

// labHosts are two computes and so many network nodes.
func labHosts(networkNodes int) []Host {
	hosts := []Host{{Name: "compute1", PF: 0}, {Name: "compute2", PF: 1}}
	for i := range networkNodes {
		hosts = append(hosts, Host{Name: "network" + strconv.Itoa(i+1), PF: len(hosts), DHCP: true})
	}
	return hosts
}

// Up brings the lab up and returns when every agent is alive. After an error nothing
// is left.
func Up(ctx context.Context, o Options) (*State, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("bring the lab up: root is needed, for network namespaces and eBPF")
	}
	unlock, err := o.Names.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err = checkFree(o.Names); err != nil {
		return nil, err
	}
	s, err := up(ctx, o)
	if err == nil {
		return s, nil
	}
	o.Progress.Warn("%v", err)
	o.Progress.Now("taking back what was made")
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return nil, errors.Join(err, takeDown(clean, o.Names, Progress{}))
}

func checkFree(n Names) error {
	s, err := Read(n)
	switch {
	case err == nil && s.Ready:
		return fmt.Errorf("lab %s: %w, with its API at %s; \"neutrino lab down --name %s\" takes it down", n.Lab, ErrUp, s.API, n.Lab)
	case err == nil:
		return fmt.Errorf("lab %s: something is left of one that was cut short; \"neutrino lab down --name %s\" takes it away", n.Lab, n.Lab)
	case !errors.Is(err, ErrDown):
		return err
	}
	left, _, err := n.namespaces()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("lab %s: its namespaces %v are left; \"neutrino lab down --name %s\" takes them away", n.Lab, left, n.Lab)
	}
	return nil
}

func up(ctx context.Context, o Options) (*State, error) {
	n, p := o.Names, o.Progress
	if o.VFs == 0 {
		o.VFs = 8
	}
	if o.VFs < 2 || o.VFs > MaxVFs {
		return nil, fmt.Errorf("lab %s: %d VFs per host: 2 to %d are wanted", n.Lab, o.VFs, MaxVFs)
	}
	if o.NetworkNodes == 0 {
		o.NetworkNodes = 1
	}
	if o.NetworkNodes < 1 || o.NetworkNodes > MaxNetworkNodes {
		return nil, fmt.Errorf("lab %s: %d network nodes: 1 to %d are wanted", n.Lab, o.NetworkNodes, MaxNetworkNodes)
	}
	port, err := apiPort(ctx, o.APIPort)
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, err)
	}
	s := &State{
		Version: stateVersion, Name: n.Lab, CreatedAt: time.Now().UTC(), Identity: o.Identity, VFs: o.VFs,
		API: apiURL(port), Hosts: labHosts(o.NetworkNodes),
	}
	for i := range s.Hosts {
		s.Hosts[i].L3 = o.Routers && s.Hosts[i].DHCP
	}
	if err := os.MkdirAll(n.File("log"), 0o755); err != nil {
		return nil, fmt.Errorf("lab %s: %w", n.Lab, err)
	}
	if err := s.write(n); err != nil {
		return nil, err
	}
	if err := writeFiles(n, s, port); err != nil {
		return nil, err
	}
	if err := makeHosts(ctx, n, s, p); err != nil {
		return nil, err
	}
	if err := startAll(ctx, o, s); err != nil {
		return nil, err
	}
	s.Ready = true
	return s, s.write(n)
}

func writeFiles(n Names, s *State, port int) error {
	files := map[string]string{
		n.File("controller.conf"): controllerFile(n, port, s.Identity),
		n.File("clouds.yaml"):     cloudsFile(s.API, s.Identity),
	}
	for _, h := range s.Hosts {
		files[n.File(h.Name+".conf")] = agentFile(n, h)
	}
	for path, text := range files {
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	return nil
}

// anyPort asks for whatever port is free.
const anyPort = -1

// apiPort finds a free loopback port: the one asked for; for 0 Neutron's, else any.
func apiPort(ctx context.Context, asked int) (int, error) {
	try := []int{asked}
	switch asked {
	case 0:
		try = []int{9696, 0}
	case anyPort:
		try = []int{0}
	}
	var last error
	for _, p := range try {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			last = err
			continue
		}
		port := l.Addr().(*net.TCPAddr).Port
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a port for the API: %w", last)
}

// startAll starts the controller, waits for its API, starts the agents and waits until
// every one is alive.
func startAll(ctx context.Context, o Options, s *State) error {
	n, p := o.Names, o.Progress
	binary := o.Binary
	if binary == "" {
		self, err := filepath.EvalSymlinks("/proc/self/exe")
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		binary = self
	}
	ctx, cancel := context.WithTimeoutCause(ctx, readyIn, fmt.Errorf("not ready after %s", readyIn))
	defer cancel()
	run := &running{n: n, s: s}
	api, err := run.controller(ctx, o, binary)
	if err != nil {
		return err
	}
	p.Step("controller, API at %s", s.API)
	for _, h := range s.Hosts {
		err = netspace.Do(n.Namespace(h.Name), func() error {
			return run.start("agent", h.Name, []string{binary, "agent", "--config-file", n.File(h.Name + ".conf")})
		})
		if err != nil {
			return err
		}
	}
	want := len(s.Hosts)
	for _, h := range s.Hosts {
		if h.DHCP {
			want++
		}
		if h.L3 {
			want++
		}
	}
	err = run.wait(ctx, "the agents", func(ctx context.Context) (bool, error) {
		alive, aliveErr := api.AliveAgents(ctx)
		return alive >= want, aliveErr
	})
	if err == nil {
		p.Step("%d agents alive on %d hosts", want, len(s.Hosts))
	}
	return err
}

// portTries is how often another port is tried when somebody took the one that was free.
const portTries = 5

// controller starts the controller and waits for its API. It is there when its own
// socket is: an answer on the port alone could be another lab's.
func (r *running) controller(ctx context.Context, o Options, binary string) (*API, error) {
	for try := 1; ; try++ {
		if err := r.start("controller", "", []string{binary, "controller", "--config-file", r.n.File("controller.conf")}); err != nil {
			return nil, err
		}
		api := NewAPI(r.s.API)
		err := r.wait(ctx, "the API at "+r.s.API, func(ctx context.Context) (bool, error) {
			return connects(ctx, r.n.Socket()) && api.Answers(ctx), nil
		})
		if err == nil {
			return api, nil
		}
		log := r.n.File("log", "controller.log")
		if o.APIPort != 0 || try == portTries || !strings.Contains(tail(log, 10), syscall.EADDRINUSE.Error()) {
			return nil, err
		}
		port, err := apiPort(ctx, anyPort)
		if err != nil {
			return nil, err
		}
		r.s.API = apiURL(port)
		r.s.Processes, r.ended = nil, nil
		if err := errors.Join(r.s.write(r.n), os.Remove(log), writeFiles(r.n, r.s, port)); err != nil {
			return nil, err
		}
	}
}

func connects(ctx context.Context, socket string) bool {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func apiURL(port int) string { return "http://127.0.0.1:" + strconv.Itoa(port) }

// running watches what was started while waiting for it.
type running struct {
	n     Names
	s     *State
	ended []<-chan struct{}
}

func (r *running) start(name, host string, argv []string) error {
	log := name
	if host != "" {
		log = host
	}
	p, ended, err := spawn(name, host, r.n.File("log", log+".log"), argv)
	if p.PID != 0 {
		r.s.Processes = append(r.s.Processes, p)
		r.ended = append(r.ended, ended)
	}
	if err != nil {
		return err
	}
	return r.s.write(r.n)
}

// wait polls until ok. A process that ends meanwhile ends the wait, with the last
// words of its log.
func (r *running) wait(ctx context.Context, what string, ok func(context.Context) (bool, error)) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		done, err := ok(ctx)
		if done {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		for i, c := range r.ended {
			select {
			case <-c:
				p := r.s.Processes[i]
				return fmt.Errorf("wait for %s: %s %s has ended; its log %s says:\n%s", what, p.Name, p.Host, p.Log, tail(p.Log, 10))
			default:
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w (logs are under %s)", what, context.Cause(ctx), r.n.File("log")), last, r.logs())
		case <-tick.C:
		}
	}
}

// logs are the last lines of each, for an error that takes the files away with it.
func (r *running) logs() error {
	var errs []error
	for _, p := range r.s.Processes {
		errs = append(errs, fmt.Errorf("%s %s: %s", p.Name, p.Host, tail(p.Log, 4)))
	}
	return errors.Join(errs...)
}
