package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/google/renameio/v2"
)

// formatName is how a file says what it is; Version is that of the format. A reader reads older ones, too.
const (
	formatName = "neutrino-bench"
	Version    = 1
)

// Bounds of a file that is read.
const (
	maxFile       = 64 << 20
	maxHistograms = 2000
)

// Tests are those that a result can have.
var Tests = []string{"icmp", "udp", "tcp", "stream", "udpstream", "pps"}

// ErrFormat: a file is no result of ours, or of a version that is not known.
var ErrFormat = errors.New("not a result of neutrino bench")

// New begins a result.
func New() *Result { return &Result{Format: formatName, Version: Version} }

// Read reads a result.
func Read(path string) (*Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read result %s: %w", path, err)
	}
	r, err := Decode(data)
	if err != nil {
		return nil, fmt.Errorf("read result %s: %w", path, err)
	}
	return r, nil
}

// Write writes a result; a crash leaves the old file or the new one.
func (r *Result) Write(path string) error {
	data, err := r.Encode()
	if err == nil {
		err = renameio.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("write result %s: %w", path, err)
	}
	return nil
}

// Encode is the text of a result's file.
func (r *Result) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(r, "", " ")
	return append(data, '\n'), err
}

// Decode reads the text of a file. What it does not know, it refuses: a result that is half understood would be
// compared with one that is not.
func Decode(data []byte) (*Result, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("%w: it has more than %d MiB", ErrFormat, maxFile>>20)
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if head.Format != formatName {
		return nil, fmt.Errorf("%w: its format is %q", ErrFormat, head.Format)
	}
	if head.Version < 1 || head.Version > Version {
		return nil, fmt.Errorf("%w: version %d, this neutrino reads up to %d", ErrFormat, head.Version, Version)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	r := &Result{}
	if err := d.Decode(r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// check says what of a result cannot be.
func (r *Result) check() error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, a...))
	}
	type key struct {
		Measurement
		path string
	}
	seen, histograms := map[key]bool{}, 0
	for i, s := range r.Series {
		k := key{s.Measurement, s.Path}
		switch {
		case !slices.Contains(Tests, s.Test):
			return bad("series %d has the test %q", i, s.Test)
		case s.Size < 0 || s.Flows < 1 || !sound(s.Rate):
			return bad("series %d is of %d bytes, %d flows and rate %g", i, s.Size, s.Flows, s.Rate)
		case seen[k]:
			return bad("%s is there twice for the path %q", s.Measurement, s.Path)
		}
		seen[k] = true
		for n, x := range s.Runs {
			if err := x.check(); err != nil {
				return bad("run %d of %s: %s", n, s.Measurement, err)
			}
			if (x.Latency == nil) != (s.Runs[0].Latency == nil) {
				return bad("runs of %s with and without latencies", s.Measurement)
			}
			if histograms += x.histograms(); histograms > maxHistograms {
				return bad("it has more than %d histograms", maxHistograms)
			}
		}
	}
	return nil
}

func (r *Run) histograms() (n int) {
	for _, h := range []*Histogram{r.Latency, r.Late} {
		if h != nil {
			n++
		}
	}
	return n
}

func (r *Run) check() error {
	for what, n := range map[string]int64{
		"messages": r.Messages, "lost": r.Lost, "disorder": r.Disorder, "bytes": r.Bytes, "window": int64(r.Window),
		"wall": int64(r.LocalUsage.Wall), "busy": int64(r.LocalUsage.Busy),
	} {
		if n < 0 {
			return fmt.Errorf("%s is %d", what, n)
		}
	}
	if r.Latency != nil && r.Latency.TotalCount() == 0 {
		return errors.New("its latencies are of no message at all")
	}
	for what, f := range map[string]float64{
		"busy before": r.Noise.BusyBefore, "steal before": r.Noise.StealBefore, "others": r.Noise.Others,
		"steal": r.Noise.Steal, "MHz before": r.Noise.MHzBefore, "MHz after": r.Noise.MHzAfter,
	} {
		if !sound(f) {
			return fmt.Errorf("%s is %g", what, f)
		}
	}
	return nil
}

// sound: a number that a measurement can have.
func sound(f float64) bool { return f >= 0 && f <= math.MaxFloat64 }
