package ethtool

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inVeth runs f in a namespace of its own that has a veth pair, v0 and v1.
func inVeth(t *testing.T, f func(c *Conn)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making network devices needs root")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	own, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		own.Close()
		if serr := netns.Set(home); serr != nil {
			t.Fatal(serr)
		}
	}()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0", NumTxQueues: 4, NumRxQueues: 4}, PeerName: "v1", PeerNumTxQueues: 4, PeerNumRxQueues: 4}
	if err = netlink.LinkAdd(veth); err != nil {
		t.Fatalf("make a veth pair: %v", err)
	}
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f(c)
}

func TestChannelsAndFeaturesOfAVeth(t *testing.T) {
	inVeth(t, func(c *Conn) {
		s, err := c.Read("v0")
		if err != nil {
			t.Fatal(err)
		}
		if s["channels rx"].Max != 4 || s["channels rx"].Value == 0 {
			t.Errorf("channels rx %+v, want at most 4 and some", s["channels rx"])
		}
		if f, ok := s["feature rx-gro"]; !ok || f.Fixed {
			t.Errorf("GRO of a veth reads %+v, %v", f, ok)
		}
		for _, want := range []uint32{1 - s["feature rx-gro"].Value, s["feature rx-gro"].Value} {
			if err = c.Set("v0", map[Key]uint32{"feature rx-gro": want}); err != nil {
				t.Error(err)
			}
			if s, _ = c.Read("v0"); s["feature rx-gro"].Value != want {
				t.Errorf("GRO %d, want %d", s["feature rx-gro"].Value, want)
			}
		}
		if err = c.Set("v0", map[Key]uint32{"channels rx": 2, "channels tx": 3}); err != nil {
			t.Error(err)
		}
		if s, _ = c.Read("v0"); s["channels rx"].Value != 2 || s["channels tx"].Value != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhatADeviceLacksIsSaid(t *testing.T) {
	inVeth(t, func(c *Conn) {
		s, err := c.Read("v0")
		if err != nil {
			t.Fatal(err)
		}
		if x, ok := s["coalesce rx-usecs"]; ok {
			t.Errorf("a veth coalesces: %+v", x)
		}
		for _, w := range []map[Key]uint32{{"coalesce rx-usecs": 5}, {"nothing x": 1}, {"rings nothing": 1}, {"pause rx": 7}} {
			if err = c.Set("v0", w); !errors.Is(err, ErrUnsupported) {
				t.Errorf("set %v: %v, want ErrUnsupported", w, err)
			}
		}
		if err = c.Set("v0", map[Key]uint32{"rings rx": 1, "pause rx": 1}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("two groups in one request: %v", err)
		}
		if _, err = c.Read("nothere"); !errors.Is(err, ErrNoDevice) {
			t.Errorf("read of no device: %v", err)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{8, 0, 2, 0, 1, 2, 3, 4})
	f.Add([]byte{5, 0, 11, 0, 1, 0, 0, 0, 20, 0, 2, 128, 16, 0, 3, 128, 12, 0, 1, 128, 8, 0, 2, 0, 'l', 'r', 'o', 0})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, g := range groups {
			s, err := g.decode(body)
			if err != nil && s != nil {
				t.Error("both an answer and an error")
			}
			for k := range s {
				if k.Group() != g.name {
					t.Errorf("%s in %s", k, g.name)
				}
			}
		}
		if s, err := decodeFeatures(body); err == nil {
			for k, x := range s {
				if k.Group() != Feature || x.Value > 1 {
					t.Error(fmt.Sprint(k, x))
				}
			}
		}
	})
}
