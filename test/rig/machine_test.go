package rig

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// machine skips where none can be booted: without QEMU, and in the rig itself.
func machine(t *testing.T) Machine {
	t.Helper()
	if err := Check(t.Context()); err != nil {
		t.Skip(err)
	}
	return Machine{Memory: 512, Share: t.TempDir()}
}

// rack is a network namespace of this goroutine's, with a bridge that has an address.
func rack(t *testing.T, bridge, addr string) {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("needs iproute2: apt-get install iproute2")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"link", "add", bridge, "type", "bridge"}, {"addr", "add", addr, "dev", bridge}, {"link", "set", bridge, "up"},
	} {
		if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
}

func TestMachineOnABridgeRunsItsScriptAndLeavesNothing(t *testing.T) {
	m := machine(t)
	rack(t, "rack", "10.9.0.1/24")
	var out bytes.Buffer
	m.NICs, m.Bridge, m.Output, m.Env = 1, "rack", &out, []string{"WORD=it's here"}
	m.Script = `echo "$WORD" | tee /vm/word
touch /etc/of-the-machine
modprobe igb
nic=$(basename $(dirname $(dirname $(ls -d /sys/class/net/*/device/sriov_numvfs))))
ip addr add 10.9.0.2/24 dev $nic
ip link set $nic up
for try in $(seq 30); do busybox ping -c 1 -W 1 10.9.0.1 && { echo the bridge answers; break; }; done
exit 7
`
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	start := time.Now()
	code, err := m.Run(ctx)
	t.Logf("%.1f s", time.Since(start).Seconds())
	if code != 7 || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	lines := strings.Split(out.String(), "\n")
	if !slices.Contains(lines, "it's here") || !slices.Contains(lines, "the bridge answers") {
		t.Errorf("output %q", out.String())
	}
	if word, err := os.ReadFile(filepath.Join(m.Share, "word")); string(word) != "it's here\n" || err != nil {
		t.Errorf("the shared directory has %q, %v", word, err)
	}
	if _, err := os.Stat("/etc/of-the-machine"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the machine wrote to this one: %v", err)
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name != "lo" && l.Name != "rack" {
			t.Errorf("left behind: %s", l.Name)
		}
	}
}

// trigger calls when a line is written.
type trigger struct {
	line string
	call func()
}

func (w trigger) Write(b []byte) (int, error) {
	if strings.TrimSpace(string(b)) == w.line {
		w.call()
	}
	return len(b), nil
}

func TestMachineIsSwitchedOffWhenItsTimeIsOver(t *testing.T) {
	m := machine(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	over := errors.New("time is over")
	var begun time.Time
	m.Output = trigger{"up", func() { begun = time.Now(); cancel(over) }}
	m.Script = "echo up\nsleep 600\n"
	if _, err := m.Run(ctx); !errors.Is(err, over) {
		t.Error(err)
	}
	if took := time.Since(begun); begun.IsZero() || took > 5*time.Second {
		t.Errorf("off after %s", took)
	}
}

func TestMachineWithTooMuchMemoryIsRefused(t *testing.T) {
	if _, err := (Machine{Memory: maxMemory + 1}).args(kernel{}, "", nil, 0); err == nil {
		t.Error("it is not")
	}
}

func TestMACsOfMachinesOnOneBridgeDiffer(t *testing.T) {
	seen := map[string]bool{}
	for n := range uint32(3) {
		args, err := Machine{NICs: 2}.args(kernel{image: "k"}, "i", nil, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range args {
			if _, mac, ok := strings.Cut(a, "mac="); ok {
				if _, err := net.ParseMAC(mac); err != nil || seen[mac] {
					t.Errorf("MAC %s again, or %v", mac, err)
				}
				seen[mac] = true
			}
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d MACs", len(seen))
	}
}

func TestEnvironmentReachesTheShellAsItIs(t *testing.T) {
	value := rapid.StringMatching(`[^\x00]*`)
	rapid.Check(t, func(t *rapid.T) {
		v := value.Draw(t, "value")
		script, err := environment([]string{"A1=" + v, "B=2"})
		if err != nil {
			t.Fatal(err)
		}
		got, err := exec.Command("/bin/sh", "-c", script+`printf %s "$A1$B"`).Output()
		if err != nil || string(got) != v+"2" {
			t.Errorf("%q for %q, %v", got, v, err)
		}
	})
	for _, bad := range []string{"", "A", "=1", "1A=2", "A B=1", "A=\x00"} {
		if _, err := environment([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// full refuses what is written.
type full struct{ writes int }

func (f *full) Write([]byte) (int, error) { f.writes++; return 0, errors.New("full") }

func TestConsoleIsReadToItsEndWhoeverTakesIt(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	from := strings.NewReader("one\r\n\r\n" + long + "\r\nlast")
	var out bytes.Buffer
	if err := copyConsole(&out, from); err != nil || out.String() != "one\n\n"+long+"\nlast\n" {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	from = strings.NewReader("one\ntwo\nthree\n")
	f := &full{}
	if err := copyConsole(f, from); err == nil || from.Len() != 0 || f.writes != 1 {
		t.Errorf("%v, %d bytes are left, %d writes", err, from.Len(), f.writes)
	}
}

func TestGuestArgumentsNameItsVFsAndAddresses(t *testing.T) {
	address := Address(netip.MustParsePrefix("10.0.0.2/24"), netip.MustParseAddr("10.0.0.1"))
	args := strings.Join(GuestArgs("k", "i", address, "0000:01:10.0", "0000:01:10.2"), " ")
	for _, want := range []string{
		" -append " + GuestAppend + " guest.address=10.0.0.2/24 guest.ping=10.0.0.1 ",
		" -device vfio-pci,host=0000:01:10.0 -device vfio-pci,host=0000:01:10.2",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %q", want, args)
		}
	}
	if a := Address(netip.Prefix{}, netip.Addr{}); a != "" {
		t.Errorf("by DHCP, with nothing to ping: %q", a)
	}
}

func TestHostIsTheSameAtEachBoot(t *testing.T) {
	h := Host{Disk: "d", NICs: 2, Share: "s", Port: "p"}
	one, err := h.args()
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.args()
	if err != nil || !slices.Equal(one, two) {
		t.Errorf("%v and %v, %v", one, two, err)
	}
	if all := strings.Join(one, " "); strings.Count(all, "igb,") != 2 || !strings.Contains(all, "intel-iommu") || strings.Contains(all, "-kernel") {
		t.Error(all)
	}
	h.AMD, h.Kernel, h.Append = true, "k", "words"
	one, err = h.args()
	if all := strings.Join(one, " "); err != nil || !strings.Contains(all, "amd-iommu") || !strings.Contains(all, "-kernel k") || !strings.Contains(all, "-append words") {
		t.Errorf("%s, %v", all, err)
	}
	if _, err = (Host{Memory: maxMemory + 1}).args(); err == nil {
		t.Error("too much memory is taken")
	}
}
