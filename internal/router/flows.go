package router

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// keeper says which translated flows the present rules would still make. The kernel goes on
// translating a flow as it began, so those of a floating IP or a gateway address that was
// taken away must be ended by hand; all others are left alone.
type keeper struct {
	floating map[netip.Addr]netip.Addr
	gateway  netip.Addr // the zero Addr = none
	snat     bool
}

// flow is the four addresses of a conntrack entry.
type flow struct {
	src, dst            netip.Addr // of the first packet
	answerSrc, answerTo netip.Addr // of its answer
}

func (k *keeper) keeps(f flow) bool {
	toOther := f.answerSrc != f.dst // the destination was translated
	if toOther && f.dst != metadataIP && k.floating[f.dst] != f.answerSrc {
		return false
	}
	if f.answerTo == f.src {
		return true
	}
	if fixed, is := k.floating[f.answerTo]; is {
		return fixed == f.src
	}
	return f.answerTo == k.gateway && (k.snat || toOther)
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter: what matches is ended.
func (k *keeper) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	var f flow
	for from, to := range map[*netip.Addr][]byte{
		&f.src: c.Forward.SrcIP, &f.dst: c.Forward.DstIP, &f.answerSrc: c.Reverse.SrcIP, &f.answerTo: c.Reverse.DstIP,
	} {
		a, ok := netip.AddrFromSlice(to)
		if !ok {
			return false
		}
		*from = a.Unmap()
	}
	return !k.keeps(f)
}

// endFlows ends the flows that are not to be kept, and returns how many.
func endFlows(ns netns.NsHandle, k *keeper) (uint, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("open conntrack: %w", err)
	}
	defer h.Close()
	n, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, k)
	if err != nil {
		return n, fmt.Errorf("end flows that are translated as before: %w", err)
	}
	return n, nil
}
