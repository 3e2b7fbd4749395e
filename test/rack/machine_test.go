package rack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"neutrino/test/rig"
)

// machine is one host of the rack.
type machine struct {
	name, addr string
	share      string
	console    rig.Console
	stop       context.CancelFunc
	down       chan struct{} // closed when it is
	err        error         // why, after down
}

// hostScript sets a machine up, and lets the test in.
const hostScript = `
for m in igb igbvf virtio_net vfio-pci openvswitch 8021q nf_conntrack nf_nat nft_chain_nat nft_masq nft_redir nft_ct nft_nat nf_tables tun; do modprobe $m || exit 99; done
until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
ip link set eth0 name eth6 && ip link set eth1 name mgmt0 || exit 99
[ "$VFS" = 0 ] || echo $VFS > /sys/class/net/eth6/device/sriov_numvfs
ip link set eth6 up
ip addr add $ADDR/24 dev mgmt0 && ip link set mgmt0 up
mkdir -p /run/neutrino /var/lib/neutrino
cp /vm/neutrino /run/neutrino-bin; cp /vm/hand /run/
exec /run/hand -listen $ADDR:7000
`

// boot starts a machine with one SR-IOV NIC on the trunk and one NIC on the management
// network. It is up when its hand answers; see ready.
func boot(ctx context.Context, name, addr, share string, vfs int) *machine {
	ctx, cancel := context.WithCancel(ctx)
	m := &machine{name: name, addr: addr, share: share, stop: cancel, down: make(chan struct{})}
	go func() {
		defer close(m.down)
		code, err := rig.Machine{
			NICs: 1, Bridge: "trunk", Wires: []string{"mgmt"}, Memory: 1024, Share: share, Output: &m.console,
			Script: hostScript, Env: []string{"ADDR=" + addr, fmt.Sprintf("VFS=%d", vfs)},
		}.Run(ctx)
		if rig.EmulatorFailed(err) {
			frozen.Store(true)
		}
		m.err = fmt.Errorf("%s went down: exit code %d: %w", name, code, err)
	}()
	return m
}

// try runs a shell script in the machine. An error says that it failed there, or that the
// machine is not to be reached.
func (m *machine) try(script string) (string, error) {
	const limit = 3 * time.Minute
	body, err := json.Marshal(map[string]any{"script": script, "limit": limit})
	if err != nil {
		return "", err
	}
	client := http.Client{Timeout: limit + 10*time.Second}
	resp, err := client.Post("http://"+m.addr+":7000/run", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		Code int
		Out  string
	}
	if err = json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Code != 0 {
		return answer.Out, fmt.Errorf("%s: %s: exit code %d: %s", m.name, script, answer.Code, answer.Out)
	}
	return strings.TrimSpace(answer.Out), nil
}

func (m *machine) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := m.try(script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ready waits until the machine can be used.
func (m *machine) ready(t *testing.T) {
	t.Helper()
	eventually(t, m.name+" is up", 5*time.Minute, func() bool {
		select {
		case <-m.down:
			t.Fatalf("%v; its console:\n%s", m.err, m.console.String())
		default:
		}
		client := http.Client{Timeout: 5 * time.Second}
		resp, err := client.Post("http://"+m.addr+":7000/run", "application/json", strings.NewReader(`{"script":"true","limit":1000000000}`))
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})
}

// write puts a file into the machine's shared directory, /vm in there.
func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(m.share, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts a program that goes on, its output in /run/NAME.log of the machine.
func (m *machine) start(t *testing.T, name, command string) {
	t.Helper()
	m.sh(t, fmt.Sprintf("setsid %s >>/run/%s.log 2>&1 </dev/null & echo $! > /run/%s.pid", command, name, name))
}

// tell prints what helps to understand a failure.
func (m *machine) tell(t *testing.T) {
	t.Helper()
	for _, script := range []string{
		"tail -n 60 /run/agent.log", "ip -br link; ip netns", "/run/neutrino-bin vf list", "/run/neutrino-bin vif list",
		"ovs-vsctl show", "ovs-ofctl dump-flows br-eth6", "for n in $(ip netns | cut -d' ' -f1); do echo == $n; ip -n $n -br addr; ip -n $n route; done", "dmesg | tail -n 15",
	} {
		out, err := m.try(script)
		t.Logf("--- %s: %s (%v)\n%s", m.name, script, err, out)
	}
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, limit time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, limit)
		}
	}
}
