package hostprep

import (
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestMLX4Values(t *testing.T) {
	for text, want := range map[string]string{
		"8": "8", "4,4,0": "4,4,0", "2,2": "2,2",
		"0000:04:00.0-8,05:00.0-1;2;3": "0000:04:00.0-8,0000:05:00.0-1;2;3",
	} {
		v, err := parseMLX4(text)
		if err != nil || v.String() != want {
			t.Errorf("%s: %s, %v", text, v, err)
		}
	}
	for _, text := range []string{"", "x", "1,2,3,4", "-1", "0000:04:00.0-", "0000:04:00.0-1,0000:04:00.0-2", "0000:04:00.0-1;2;3;4", "04-1", "128", "1;2"} {
		if v, err := parseMLX4(text); !errors.Is(err, ErrBadOption) {
			t.Errorf("%q is %v, %v", text, v, err)
		}
	}
	v, err := parseMLX4("4,4,0")
	must(t, err)
	cards := []string{"0000:04:00.0", "0000:05:00.0"}
	if got := v.with(cards[1], mlx4Counts{8}, cards).String(); got != "0000:04:00.0-4;4;0,0000:05:00.0-8" {
		t.Errorf("one of two: %s", got)
	}
	if got := (mlx4Value{}).with(cards[1], mlx4Counts{8}, cards).String(); got != "0000:05:00.0-8" {
		t.Errorf("the first: %s", got)
	}
}

func TestMLX4Limits(t *testing.T) {
	for _, c := range []struct {
		counts mlx4Counts
		err    error
	}{
		{mlx4Counts{63}, nil},
		{mlx4Counts{64}, ErrTooMany},
		{mlx4Counts{63, 63, 0}, nil},
		{mlx4Counts{32, 32, 31}, nil},
		{mlx4Counts{32, 32, 32}, ErrTooMany}, // 64 on each port
		{mlx4Counts{63, 64, 0}, ErrTooMany},
		{mlx4Counts{0, 64}, ErrTooMany},
		{mlx4Counts{-1}, ErrBadOption},
		{mlx4Counts{}, ErrBadOption},
		{mlx4Counts{1, 2, 3, 4}, ErrBadOption},
	} {
		if err := c.counts.check(); !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%v: %v", c.counts, err)
		}
	}
	for _, o := range [][2]string{
		{"port_type_array", "2,2"}, {"port_type_array", "1"}, {"log_num_mgm_entry_size", "-1"}, {"log_num_mgm_entry_size", "10"}, {"enable_64b_cqe_eqe", "0"}, {"debug_level", "1"},
	} {
		must(t, checkMLX4Option(o[0], o[1]))
	}
	for _, o := range [][2]string{
		{"port_type_array", "3"},
		{"port_type_array", "2,2,2"},
		{"log_num_mgm_entry_size", "6"},
		{"log_num_mgm_entry_size", "0"},
		{"enable_64b_cqe_eqe", "yes"},
		{"num_vfs", "8"},
		{"probe_vf", "8"},
		{"nonsense", "1"},
		{"msi_x", "1 evil=1"},
	} {
		if err := checkMLX4Option(o[0], o[1]); !errors.Is(err, ErrBadOption) {
			t.Errorf("%s=%s: %v", o[0], o[1], err)
		}
	}
}

// TestMLX4RoundTrip: what is written is read back.
func TestMLX4RoundTrip(t *testing.T) {
	counts := rapid.Custom(func(t *rapid.T) mlx4Counts { return rapid.SliceOfN(rapid.IntRange(0, 127), 1, 3).Draw(t, "counts") })
	rapid.Check(t, func(t *rapid.T) {
		v := mlx4Value{all: counts.Draw(t, "all")}
		if rapid.Bool().Draw(t, "per card") {
			v = mlx4Value{}.with("0000:04:00.0", counts.Draw(t, "one"), nil)
			v = v.with("0000:84:00.0", counts.Draw(t, "two"), []string{"0000:04:00.0", "0000:84:00.0"})
		}
		back, err := parseMLX4(v.String())
		if err != nil || back.String() != v.String() {
			t.Fatalf("%s became %s, %v", v, back, err)
		}
	})
}

func FuzzParseMLX4(f *testing.F) {
	for _, s := range []string{"8", "4,4,0", "0000:04:00.0-8,05:00.0-1;2;3", "-", "1,,2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseMLX4(text)
		if err != nil {
			return
		}
		if back, berr := parseMLX4(v.String()); berr != nil || back.String() != v.String() {
			t.Errorf("%q: %s became %s, %v", text, v, back, berr)
		}
	})
}

func FuzzDecodeOriginals(f *testing.F) {
	f.Add([]byte(`{"pfs":[{"slot":"0000:03:00.0","name":"eth6","numvfs":1,"autoprobe":true,"vfs":[{"index":0,"slot":"0000:03:10.0","driver":"igbvf"}]}]}`))
	f.Add([]byte(`{"pfs":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := DecodeOriginals(data)
		if err != nil {
			return
		}
		for _, p := range o.PFs {
			if len(p.VFs) > p.NumVFs {
				t.Errorf("%+v", p)
			}
		}
	})
}
