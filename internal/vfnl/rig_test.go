package vfnl_test

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"neutrino/internal/eswitch"
	"neutrino/internal/vfnl"
)

// rig returns the first PF of NEUTRINO_SRIOV_PFS with its VFs: a real kernel's.
func rig(t testing.TB) *net.Interface {
	name, _, _ := strings.Cut(os.Getenv("NEUTRINO_SRIOV_PFS"), ",")
	if name == "" {
		t.Skip("NEUTRINO_SRIOV_PFS names no SR-IOV NIC: run it in the rig's VM")
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// floor is a bare socket and a request made beforehand: nothing can be faster.
type floor struct {
	fd  int
	buf []byte
}

func openFloor(b *testing.B) *floor {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	return &floor{fd, make([]byte, 256<<10)}
}

func message(typ, flags uint16, body []byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	m = binary.NativeEndian.AppendUint16(m, typ)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|flags)
	return append(append(m, make([]byte, 8)...), body...)
}

func (f *floor) run(b *testing.B, msg []byte) {
	if err := unix.Sendto(f.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		b.Fatal(err)
	}
	n, _, err := unix.Recvfrom(f.fd, f.buf, 0)
	if err != nil || n < 20 {
		b.Fatal(n, err)
	}
	if binary.NativeEndian.Uint16(f.buf[4:]) == unix.NLMSG_ERROR && binary.NativeEndian.Uint32(f.buf[16:]) != 0 {
		b.Fatalf("the kernel answers error %d", int32(binary.NativeEndian.Uint32(f.buf[16:])))
	}
}

func conn(t testing.TB) *vfnl.Conn {
	c, err := vfnl.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func BenchmarkObserve(b *testing.B) {
	i := rig(b)
	b.Run("raw", func(b *testing.B) {
		f, msg := openFloor(b), message(unix.RTM_GETLINK, 0, vfnl.EncodeGet(i.Index, false))
		for b.Loop() {
			f.run(b, msg)
		}
	})
	b.Run("vfnl", func(b *testing.B) {
		c := conn(b)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			if _, err := c.PF(ctx, i.Index, false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSet(b *testing.B) {
	i := rig(b)
	change := vfnl.Change{VF: 0, Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{ID: 77}), SpoofCheck: eswitch.Set(true), Trust: eswitch.Set(false)}}
	b.Cleanup(func() {
		c := conn(b)
		if err := c.Set(context.Background(), i.Index, vfnl.Change{Attrs: vfnl.Attrs{VLAN: eswitch.Set(vfnl.VLAN{})}}); err != nil {
			b.Error(err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		body, err := vfnl.Encode(i.Index, change)
		if err != nil {
			b.Fatal(err)
		}
		f, msg := openFloor(b), message(unix.RTM_SETLINK, unix.NLM_F_ACK, body)
		for b.Loop() {
			f.run(b, msg)
		}
	})
	b.Run("vfnl", func(b *testing.B) {
		c := conn(b)
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		for b.Loop() {
			if err := c.Set(ctx, i.Index, change); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestRealKernelReadsBackWhatWasSet(t *testing.T) {
	i, c := rig(t), conn(t)
	before, err := c.PF(t.Context(), i.Index, true)
	if err != nil || len(before.VFs) == 0 || len(before.Missing()) > 0 {
		t.Fatalf("%d of %d VFs, %v", len(before.VFs), before.NumVFs, err)
	}
	want := vfnl.Attrs{
		MAC: eswitch.Set(vfnl.MAC{0xfa, 0x16, 0x3e, 0, 0, 0x77}), VLAN: eswitch.Set(vfnl.VLAN{ID: 77, QoS: 3, Proto: vfnl.Dot1Q}),
		SpoofCheck: eswitch.Set(false), Trust: eswitch.Set(true),
	}
	old := before.VFs[0].Attrs
	t.Cleanup(func() {
		back := vfnl.Attrs{MAC: old.MAC, VLAN: old.VLAN, SpoofCheck: old.SpoofCheck, Trust: old.Trust}
		if err := c.Set(context.Background(), i.Index, vfnl.Change{Attrs: back}); err != nil {
			t.Error(err)
		}
	})
	if err = c.Set(t.Context(), i.Index, vfnl.Change{Attrs: want}); err != nil {
		t.Fatal(err)
	}
	after, err := c.PF(t.Context(), i.Index, false)
	if err != nil {
		t.Fatal(err)
	}
	got := after.VFs[0]
	if got.MAC != want.MAC || got.VLAN != want.VLAN || got.SpoofCheck != want.SpoofCheck || got.Trust != want.Trust {
		t.Errorf("reads %+v", got)
	}
	if _, ok := before.VFs[0].Stats.Get(); !ok || after.VFs[0].Stats.IsSet() {
		t.Errorf("statistics asked for: %v, not asked for: %v", before.VFs[0].Stats, after.VFs[0].Stats)
	}
}
