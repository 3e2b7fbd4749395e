package rpc

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"neutrino/internal/model"
	"neutrino/internal/rpc/fabricv1"
)

// members is a filter of one rule with n addresses.
func members(n int) *model.Filter {
	out := &model.Filter{Rules: []model.FilterRule{{Protocol: model.AnyProtocol, Remotes: []netip.Prefix{}}}}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		out.Rules[0].Remotes = append(out.Rules[0].Remotes, netip.PrefixFrom(a, 32))
	}
	return out
}

func ported(id string, f *model.Filter) *model.Attachment {
	a := filtered()
	a.PortID, a.Filter = id, f
	return a
}

// TestAFilterIsSaidOnce: by pointer, and by what it says; one that differs in one address is another.
func TestAFilterIsSaidOnce(t *testing.T) {
	one, other := members(3), members(3)
	other.Rules[0].Remotes[2] = netip.MustParsePrefix("10.9.9.9/32")
	in := []*model.Attachment{ported("a", one), ported("b", one), ported("c", members(3)), ported("d", other), ported("e", nil), ported("f", members(0))}
	var s Sharing
	var wire []*fabricv1.Attachment
	for _, a := range in {
		wire = append(wire, s.Encode(a))
	}
	if len(s.Filters) != 3 {
		t.Errorf("%d filters are said, want 3", len(s.Filters))
	}
	shared, err := DecodeFilters(s.Filters)
	if err != nil {
		t.Fatal(err)
	}
	var got []*model.Attachment
	for i, w := range wire {
		a, derr := DecodeAttachment(w, shared)
		if derr != nil || !reflect.DeepEqual(a, in[i]) {
			t.Fatalf("%s came as %+v, %v", in[i].PortID, a, derr)
		}
		got = append(got, a)
	}
	if got[0].Filter != got[2].Filter || got[0].Filter == got[3].Filter {
		t.Error("equal filters are not the same, or others are")
	}
}

// TestSharedFiltersThatNobodySends: an attachment without its filter would let everything pass.
func TestSharedFiltersThatNobodySends(t *testing.T) {
	good := EncodeFilter(members(1))
	bad := &fabricv1.Filter{Rules: []*fabricv1.FilterRule{{Remotes: &fabricv1.Remotes{Prefixes: []string{"nonsense"}}}}}
	shared, err := DecodeFilters([]*fabricv1.Filter{good, bad, nil})
	if err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*fabricv1.Attachment){
		"4, and the message has 3":    func(w *fabricv1.Attachment) { w.SharedFilter = 4 },
		"is not a prefix":             func(w *fabricv1.Attachment) { w.SharedFilter = 2 },
		"missing":                     func(w *fabricv1.Attachment) { w.SharedFilter = 3 },
		"1, and a filter of its own":  func(w *fabricv1.Attachment) { w.SharedFilter, w.Filter = 1, good },
		"a VF has none":               func(w *fabricv1.Attachment) { w.SharedFilter, w.Kind, w.Bridge = 1, "", "" },
		"4294967295, and the message": func(w *fabricv1.Attachment) { w.SharedFilter = 1<<32 - 1 },
	} {
		w := EncodeAttachment(ported("a", nil))
		edit(w)
		if a, derr := DecodeAttachment(w, shared); !errors.Is(derr, ErrInvalid) || !strings.Contains(derr.Error(), want) {
			t.Errorf("%s: %+v, %v", want, a, derr)
		}
	}
	w := EncodeAttachment(ported("a", nil))
	w.SharedFilter = 1
	if a, derr := DecodeAttachment(w, nil); !errors.Is(derr, ErrInvalid) {
		t.Errorf("without a message: %+v, %v", a, derr)
	}
	if _, err = DecodeFilters(make([]*fabricv1.Filter, MaxAttachments+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many filters: %v", err)
	}
}

// TestCheckerRemembersByFilter: what was found of one filter is not said of another.
func TestCheckerRemembersByFilter(t *testing.T) {
	bad := members(1)
	bad.Rules[0].Protocol = 300
	var k Checker
	for range 2 {
		if err := k.Check(ported("a", members(1))); err != nil {
			t.Error(err)
		}
		if err := k.Check(ported("b", bad)); !errors.Is(err, ErrInvalid) {
			t.Errorf("a bad filter: %v", err)
		}
	}
	vf := ported("c", members(1))
	vf.Kind, vf.Bridge = model.AttachVF, ""
	if err := k.Check(vf); err == nil || !strings.Contains(err.Error(), "a VF has none") {
		t.Errorf("a VF with a filter: %v", err)
	}
}

// BenchmarkMembersToOneHost is what one more member of a group of 1,000 costs a host that has 100 of
// its ports: to say and to understand; bytes are those on the wire. Each is what it was before
// filters were shared.
func BenchmarkMembersToOneHost(b *testing.B) {
	f := members(1000)
	var list []*model.Attachment
	for i := range 100 {
		list = append(list, ported(fmt.Sprint("port-", i), f))
	}
	run := func(encode func() *fabricv1.Delta) func(*testing.B) {
		return func(b *testing.B) {
			size := 0
			for b.Loop() {
				data, err := proto.Marshal(encode())
				if err != nil {
					b.Fatal(err)
				}
				size = len(data)
				var d fabricv1.Delta
				if err = proto.Unmarshal(data, &d); err != nil {
					b.Fatal(err)
				}
				shared, err := DecodeFilters(d.GetFilters())
				if err != nil {
					b.Fatal(err)
				}
				for _, w := range d.GetAttachments() {
					if _, err = DecodeAttachment(w, shared); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(size), "wire-B")
		}
	}
	b.Run("each", run(func() *fabricv1.Delta {
		d := &fabricv1.Delta{}
		for _, a := range list {
			d.Attachments = append(d.Attachments, EncodeAttachment(a))
		}
		return d
	}))
	b.Run("shared", run(func() *fabricv1.Delta {
		d, s := &fabricv1.Delta{}, Sharing{}
		for _, a := range list {
			d.Attachments = append(d.Attachments, s.Encode(a))
		}
		d.Filters = s.Filters
		return d
	}))
}
