package ethtool

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Key names one setting: its group and its name, as ethtool(8) has them.
type Key string

// Groups of settings; a request reads or sets one.
const (
	Channels = "channels"
	Rings    = "rings"
	Coalesce = "coalesce"
	Pause    = "pause"
	Feature  = "feature"
)

// Group is the first word of the key.
func (k Key) Group() string {
	g, _, _ := strings.Cut(string(k), " ")
	return g
}

// Name is what follows the group.
func (k Key) Name() string {
	_, n, _ := strings.Cut(string(k), " ")
	return n
}

// attribute is how a setting is carried: its type, that of its maximum (0 = none), and
// whether it is a byte that says yes or no.
type attribute struct {
	key  Key
	typ  uint16
	most uint16
	bool bool
}

// group is one pair of requests.
type group struct {
	name     string
	get, set uint8
	attrs    []attribute
}

func (g group) attr(k Key) (attribute, bool) {
	for _, a := range g.attrs {
		if a.key == k {
			return a, true
		}
	}
	return attribute{}, false
}

// groups are those that consist of numbers; features are bits, see feature.go.
var groups = []group{
	{Channels, unix.ETHTOOL_MSG_CHANNELS_GET, unix.ETHTOOL_MSG_CHANNELS_SET, []attribute{
		{"channels rx", unix.ETHTOOL_A_CHANNELS_RX_COUNT, unix.ETHTOOL_A_CHANNELS_RX_MAX, false},
		{"channels tx", unix.ETHTOOL_A_CHANNELS_TX_COUNT, unix.ETHTOOL_A_CHANNELS_TX_MAX, false},
		{"channels combined", unix.ETHTOOL_A_CHANNELS_COMBINED_COUNT, unix.ETHTOOL_A_CHANNELS_COMBINED_MAX, false},
	}},
	{Rings, unix.ETHTOOL_MSG_RINGS_GET, unix.ETHTOOL_MSG_RINGS_SET, []attribute{
		{"rings rx", unix.ETHTOOL_A_RINGS_RX, unix.ETHTOOL_A_RINGS_RX_MAX, false},
		{"rings tx", unix.ETHTOOL_A_RINGS_TX, unix.ETHTOOL_A_RINGS_TX_MAX, false},
	}},
	{Coalesce, unix.ETHTOOL_MSG_COALESCE_GET, unix.ETHTOOL_MSG_COALESCE_SET, []attribute{
		{"coalesce adaptive-rx", unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_RX, 0, true},
		{"coalesce adaptive-tx", unix.ETHTOOL_A_COALESCE_USE_ADAPTIVE_TX, 0, true},
		{"coalesce rx-usecs", unix.ETHTOOL_A_COALESCE_RX_USECS, 0, false},
		{"coalesce rx-frames", unix.ETHTOOL_A_COALESCE_RX_MAX_FRAMES, 0, false},
		{"coalesce tx-usecs", unix.ETHTOOL_A_COALESCE_TX_USECS, 0, false},
		{"coalesce tx-frames", unix.ETHTOOL_A_COALESCE_TX_MAX_FRAMES, 0, false},
	}},
	{Pause, unix.ETHTOOL_MSG_PAUSE_GET, unix.ETHTOOL_MSG_PAUSE_SET, []attribute{
		{"pause autoneg", unix.ETHTOOL_A_PAUSE_AUTONEG, 0, true},
		{"pause rx", unix.ETHTOOL_A_PAUSE_RX, 0, true},
		{"pause tx", unix.ETHTOOL_A_PAUSE_TX, 0, true},
	}},
}

func groupOf(name string) (group, bool) {
	for _, g := range groups {
		if g.name == name {
			return g, true
		}
	}
	return group{}, false
}
