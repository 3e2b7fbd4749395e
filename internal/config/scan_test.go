package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestScanReadsAsOsloDoes compares with what testdata/oslo/record.py recorded from
// oslo.config itself.
func TestScanReadsAsOsloDoes(t *testing.T) {
	data, err := os.ReadFile("testdata/oslo/corpus.ini")
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := os.ReadFile("testdata/oslo/corpus.golden")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(recorded)) {
		var row [3]string
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		row[1] = strings.ReplaceAll(row[1], "-", "_")
		row[2] = strings.TrimSuffix(row[2], "\n# indented") // one of the liberties
		want = append(want, strings.Join(row[:], "|"))
	}
	s := scan("corpus.ini", data)
	for _, e := range s.errs {
		t.Error(e)
	}
	for _, a := range s.found {
		got = append(got, a.section+"|"+a.option+"|"+a.oslo())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(want, got) {
		t.Errorf("oslo.config reads\n%q\nwe read\n%q", want, got)
	}
}

// TestWhatIsWrittenIsRead: any value without quotes, breaks and remark signs comes
// back as it was, whatever stands around it.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[a-zA-Z0-9,:_./é中\[\]=-]([a-zA-Z0-9,:_./é中\[\]= -]{0,30}[a-zA-Z0-9,:_./é中\[\]=-])?`).
			Filter(func(v string) bool { return !strings.Contains(v, " //") && !strings.HasPrefix(v, "//") }).Draw(t, "value")
		remark := rapid.SampledFrom([]string{"", "  # 备注", "\t; x = y", "　＃ z", " // w"}).Draw(t, "remark")
		assign := rapid.SampledFrom([]string{" = ", "=", ": ", " : "}).Draw(t, "assign")
		s := scan("x", []byte("[DEFAULT]\nstate_path"+assign+value+remark+"\n"))
		if len(s.errs) > 0 || len(s.found) != 1 {
			t.Fatalf("errors %v, found %v", s.errs, s.found)
		}
		got, cut := s.found[0].value()
		if got != value || (cut == "") != (remark == "") {
			t.Fatalf("wrote %q with remark %q, read %q with %q", value, remark, got, cut)
		}
	})
}

func seeds(f *testing.F) {
	f.Helper()
	for _, pattern := range []string{"testdata/*/*.ini", "testdata/*/*.conf"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("[DEFAULT]\nlog_dir = $state_path$state_path\nstate_path = ${log_dir}$ssl.key_file"))
	f.Add([]byte("[\n[]\n=\n:\n \t\n'\n\""))
}

// FuzzScan: places are within the file, sections and names are in their normal form,
// and nothing panics.
func FuzzScan(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		s := scan("x", data)
		lines := strings.Count(string(data), "\n") + 1
		for _, a := range s.found {
			if a.at.Line < 1 || a.at.Line > lines {
				t.Errorf("%s on line %d of %d", a.option, a.at.Line, lines)
			}
			if a.option == "" || strings.Contains(a.option, "-") || len(a.lines) == 0 {
				t.Errorf("assignment %+v", a)
			}
			a.oslo()
			a.value()
		}
	})
}

// FuzzLoad: a file either gives a whole Config, or errors that each have a text.
func FuzzLoad(f *testing.F) {
	seeds(f)
	options := newTable()
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLoader(options)
		l.add(scan("x", data))
		c, warnings, err := l.result([]string{"x"})
		if (c == nil) == (err == nil) {
			t.Fatalf("Config %v with error %v", c, err)
		}
		for _, w := range warnings {
			if w.Text == "" {
				t.Errorf("empty warning at %v", w.Pos)
			}
		}
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without a text")
			}
			return
		}
		for _, role := range []Role{Both, Controller, Agents} {
			_ = c.Check(role)
		}
	})
}
