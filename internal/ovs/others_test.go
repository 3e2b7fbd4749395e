package ovs

import (
	"reflect"
	"testing"
)

func TestVLANsOfAPort(t *testing.T) {
	five, text := 5, func(s string) *string { return &s }
	for name, c := range map[string]struct {
		row  portRow
		want VLANs
	}{
		"trunk of all":      {portRow{}, VLANs{All: true}},
		"trunk of some":     {portRow{Trunks: []int{7, 8}}, VLANs{Untagged: -1, Tagged: []int{7, 8}}},
		"trunk of none too": {portRow{Trunks: []int{0, 7}}, VLANs{Untagged: 0, Tagged: []int{0, 7}}},
		"access":            {portRow{Tag: &five}, VLANs{Untagged: 5}},
		"access, said":      {portRow{Tag: &five, VLANMode: text("access")}, VLANs{Untagged: 5}},
		"native":            {portRow{Tag: &five, VLANMode: text("native-untagged")}, VLANs{Untagged: 5, Tagged: []int{5}, All: true}},
		"native, some":      {portRow{Tag: &five, VLANMode: text("native-tagged"), Trunks: []int{9}}, VLANs{Untagged: 5, Tagged: []int{9, 5}}},
		"tunnel":            {portRow{Tag: &five, VLANMode: text("dot1q-tunnel")}, VLANs{Untagged: 5}},
		"buried":            {portRow{}.bury(), VLANs{Untagged: -1, Tagged: []int{deadVLAN}, Dead: true}},
	} {
		if got := c.row.vlans(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
