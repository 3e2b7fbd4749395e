package tune

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// inside runs the named test once more in network and mount namespaces of its own, where
// sysfs shows that network, and reports whether this is there.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv("TUNE_INSIDE") == t.Name() {
		must(t, syscall.Mount("sysfs", "/sys", "sysfs", 0, ""))
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("namespaces of its own need root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	cmd.Env = append(os.Environ(), "TUNE_INSIDE="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// until waits for something that has no event.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatalf("no sign of it: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// veth makes a pair with four queues each way, and the machine that has it.
func veth(t testing.TB) *Host {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "v0", NumTxQueues: 4, NumRxQueues: 4}, PeerName: "v1", PeerNumTxQueues: 4, PeerNumRxQueues: 4,
	}))
	for _, name := range []string{"v0", "v1"} {
		l, err := netlink.LinkByName(name)
		must(t, err)
		must(t, netlink.LinkSetUp(l))
	}
	h, err := New("")
	must(t, err)
	t.Cleanup(func() { h.Close() })
	h.Dir = t.TempDir()
	return h
}

func masks(h *Host) string {
	var out []string
	for q := range 4 {
		v, _ := h.text("sys/class/net/v0/queues", fmt.Sprintf("tx-%d", q), "xps_cpus")
		out = append(out, setOfMask(v))
	}
	return strings.Join(out, " ")
}

func setMask(t testing.TB, h *Host, q int, mask string) {
	t.Helper()
	must(t, h.put(fmt.Sprintf("sys/class/net/v0/queues/tx-%d/xps_cpus", q), mask))
}

func TestAVethIsTunedAndPutBack(t *testing.T) {
	if !inside(t) {
		return
	}
	h := veth(t)
	before, err := h.Ethtool.Read("v0")
	must(t, err)
	was := masks(h)
	apply(t, h, Want{Profile: Latency, NICs: []string{"v0"}})
	if masks(h) == was && len(mustFacts(t, h).CPUs) > 1 {
		t.Errorf("masks are still %s", was)
	}
	must(t, h.Ethtool.Set("v0", nil)) // nothing asked is nothing done
	undo(t, h)
	after, err := h.Ethtool.Read("v0")
	must(t, err)
	if now := masks(h); now != was || fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("masks %s, want %s; settings\n%v\nwant\n%v", now, was, after, before)
	}
}

func mustFacts(t testing.TB, h *Host) *Facts {
	t.Helper()
	f, err := h.Facts([]string{"v0"})
	must(t, err)
	return f
}

// keeper runs one until stop, which says how it ended.
func keeper(t testing.TB, h *Host, audit time.Duration) (stop func() error) {
	t.Helper()
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	k := &Keeper{Host: h, Log: slog.New(slog.DiscardHandler), Ready: func() { close(ready) }, Audit: audit, Quiet: time.Millisecond, Gap: time.Millisecond}
	go func() { ended <- k.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatalf("the keeper ended at once: %v", err)
	}
	return func() error {
		cancel()
		return <-ended
	}
}

func TestTheKeeperPutsBackWhatALinkChangeUndid(t *testing.T) {
	if !inside(t) {
		return
	}
	h := veth(t)
	if len(mustFacts(t, h).CPUs) < 2 {
		t.Skip("one CPU has nothing to be divided")
	}
	was := masks(h)
	apply(t, h, Want{Profile: Balanced, NICs: []string{"v0"}, Persist: true})
	tuned := masks(h)
	stop := keeper(t, h, time.Hour) // so only events make it look
	setMask(t, h, 0, "0")           // as a driver that makes its queues anew
	l, err := netlink.LinkByName("v0")
	must(t, err)
	must(t, netlink.LinkSetDown(l))
	must(t, netlink.LinkSetUp(l))
	until(t, "the masks as they were tuned", func() bool { return masks(h) == tuned })
	until(t, "it tells", func() bool { k := h.Keeping(); return k != nil && k.Mended > 0 })
	if err = stop(); err != context.Canceled { //nolint:errorlint // it is the context's own
		t.Error(err)
	}
	if k := h.Keeping(); k != nil {
		t.Errorf("it has ended, and still tells %+v", k)
	}
	undo(t, h)
	if now := masks(h); now != was {
		t.Errorf("masks %s, want %s", now, was)
	}
}

func TestTheKeeperLeavesToOthersWhatTheyInsistOn(t *testing.T) {
	if !inside(t) {
		return
	}
	h := veth(t)
	if len(mustFacts(t, h).CPUs) < 2 {
		t.Skip("one CPU has nothing to be divided")
	}
	apply(t, h, Want{Profile: Balanced, NICs: []string{"v0"}, Persist: true})
	tuned := masks(h)
	stop := keeper(t, h, 2*time.Millisecond)
	for range contestLimit {
		setMask(t, h, 0, "0")
		until(t, "it puts it back", func() bool { return masks(h) == tuned })
	}
	setMask(t, h, 0, "0")
	until(t, "it says that it leaves it", func() bool { k := h.Keeping(); return k != nil && len(k.Contested) == 1 })
	if masks(h) == tuned {
		t.Error("it still insists")
	}
	_ = stop()
	_, err := h.Undo(t.Context(), true)
	must(t, err)
}

func TestTheKeeperEndsWithItsRecord(t *testing.T) {
	if !inside(t) {
		return
	}
	h := veth(t)
	was := masks(h)
	apply(t, h, Want{Profile: Balanced, NICs: []string{"v0"}, Persist: true})
	ended := make(chan error, 1)
	ready := make(chan struct{})
	k := &Keeper{Host: h, Log: slog.New(slog.DiscardHandler), Audit: 2 * time.Millisecond, Ready: func() { close(ready) }}
	go func() { ended <- k.Run(t.Context()) }()
	<-ready
	until(t, "it lets the lock go", func() bool { _, err := h.Undo(t.Context(), false); return err == nil })
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if now := masks(h); now != was {
		t.Errorf("masks %s, want %s", now, was)
	}
}

// A NIC that is made anew has no original of before: what it came with is its own.
func TestADeviceMadeAnewBeginsAnew(t *testing.T) {
	if !inside(t) {
		return
	}
	h := veth(t)
	apply(t, h, Want{Profile: Balanced, NICs: []string{"v0"}, Persist: true})
	l, err := netlink.LinkByName("v0")
	must(t, err)
	must(t, netlink.LinkDel(l))
	stop := keeper(t, h, time.Hour)
	again := veth(t)
	was := "?"
	until(t, "the new device is tuned", func() bool {
		s, serr := h.Status()
		must(t, serr)
		for _, v := range s.Values {
			if v.Target.Kind == KindQueue && v.As == "kept" {
				was = v.Before
				return true
			}
		}
		return len(mustFacts(t, again).CPUs) < 2
	})
	_ = stop()
	undo(t, h)
	if now := masks(h); was != "?" && now != strings.Join([]string{was, was, was, was}, " ") {
		t.Errorf("masks %s, the new device came with %s", now, was)
	}
}
