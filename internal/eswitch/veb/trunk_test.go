package veb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A trunk learns where stations are, floods what it does not know, and leaves tags
// alone.
func TestTrunk(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, edit func(*Spec)) {
		var how Spec
		edit(&how)
		tor := newHost(t)
		const ports = 4
		var hosts [ports]*host
		var names []string
		for i := range hosts {
			hosts[i] = newHost(t)
			names = append(names, fmt.Sprintf("p%d", i))
			hosts[i].pairTo(t, "eth0", tor, names[i])
		}
		dir := filepath.Join(t.TempDir(), "pin")
		spec := TrunkSpec{Name: "tor", PinDir: dir, Netns: tor.path, Ports: names, Attach: how.Attach}
		must(t, CreateTrunk(t.Context(), spec))
		if err := CreateTrunk(t.Context(), spec); !errors.Is(err, ErrExists) {
			t.Errorf("a second trunk of the name: %v", err)
		}
		if _, err := Open("tor", dir); !errors.Is(err, ErrNotFound) {
			t.Errorf("opened as a NIC: %v", err)
		}
		var heard [ports]*sniffer
		for i, h := range hosts {
			heard[i] = h.listen("eth0")
		}
		expect := func(what string, vlan uint16, want ...int) {
			t.Helper()
			quiet := 60 * time.Millisecond
			for i := range hosts {
				got := heard[i].frames(quiet)
				quiet = 5 * time.Millisecond
				if len(got) != want[i] {
					t.Errorf("%s: host %d got %d of %d", what, i, len(got), want[i])
				}
				for _, c := range got {
					if c.vlan != vlan {
						t.Errorf("%s: host %d got VLAN %d", what, i, c.vlan)
					}
				}
			}
		}
		hosts[0].send("eth0", frame(mac(1), mac(0), 10))
		expect("unknown", 10, 0, 1, 1, 1)
		hosts[1].send("eth0", frame(mac(0), mac(1), 10))
		expect("answer to a known one", 10, 1, 0, 0, 0)
		hosts[0].send("eth0", frame(mac(1), mac(0), 10))
		expect("known", 10, 0, 1, 0, 0)
		hosts[0].send("eth0", frame(mac(1), mac(0), 20))
		expect("known in another VLAN", 20, 0, 1, 1, 1)
		hosts[0].send("eth0", frame(mac(1), mac(0)))
		expect("known in a VLAN, untagged", 0, 0, 1, 1, 1)
		hosts[2].send("eth0", frame(broadcast, mac(1), 10))
		expect("it moves", 10, 1, 1, 0, 1)
		hosts[0].send("eth0", frame(mac(1), mac(0), 10))
		expect("known at its new place", 10, 0, 0, 1, 0)
		hosts[0].send("eth0", frame("01:80:c2:00:00:0e", mac(0)))
		expect("link-local protocol", 0, 0, 0, 0, 0)
		hosts[0].send("eth0", frame(mac(1), broadcast))
		expect("group as source", 0, 0, 0, 0, 0)

		must(t, DestroyTrunk(t.Context(), "tor", dir))
		hosts[0].send("eth0", frame(broadcast, mac(0)))
		expect("after the end", 0, 0, 0, 0, 0)
		wantLinks(t, tor, append(names, "lo")...)
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("pin directory: %v", err)
		}
	})
}

func TestTrunkRefusals(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := filepath.Join(t.TempDir(), "pin")
	for _, s := range []TrunkSpec{
		{PinDir: dir},
		{Name: "a"},
		{Name: "a", PinDir: "rel"},
		{Name: "a", PinDir: dir, Ports: []string{"x", "x"}},
		{Name: "a", PinDir: dir, Ports: []string{""}},
		{Name: "a", PinDir: dir, Ports: []string{"no-such-port"}},
		{Name: "a", PinDir: dir, Netns: "/no/such"},
	} {
		if err := CreateTrunk(t.Context(), s); err == nil {
			t.Errorf("accepted %+v", s)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pin directory: %v", err)
	}
}

// Two hosts over a wire and over a trunk, all checks on, by TCP.
func TestTwoHosts(t *testing.T) {
	t.Parallel()
	for _, trunk := range []bool{false, true} {
		p := veb2Path(t, trunk)
		t.Run(p.name, func(t *testing.T) {
			p.connect(t)
			go func() { _ = whole(unix.Write, p.stream[0], make([]byte, 1<<20)) }()
			if !whole(unix.Read, p.stream[1], make([]byte, 1<<20)) {
				t.Error("a megabyte did not come through")
			}
		})
	}
}
