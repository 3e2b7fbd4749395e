package bench

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram is one whose JSON is the text that every HDR library reads and writes: the compressed form V2 in
// base64.
type Histogram struct{ *hdrhistogram.Histogram }

// maxHistogram bounds the text of one histogram. One of 36,000 counts that are all different has less.
const maxHistogram = 1 << 20

// highestValue bounds what a histogram that is read may have room for, and with it the memory it takes.
const highestValue = int64(time.Hour)

// ErrHistogram: a histogram in a file is none.
var ErrHistogram = errors.New("not a histogram")

// NewHistogram makes one of nanoseconds with three digits.
func NewHistogram() *Histogram {
	return &Histogram{hdrhistogram.New(1, int64(10*time.Minute), 3)}
}

// MarshalJSON implements json.Marshaler.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("encode a histogram: %w", err)
	}
	return json.Marshal(string(text))
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	if err := geometry(text); err != nil {
		return err
	}
	in, err := hdrhistogram.Decode([]byte(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	h.Histogram = in
	return nil
}

// geometry refuses a histogram that would take much memory, before any is taken.
func geometry(text string) error {
	if len(text) > maxHistogram {
		return fmt.Errorf("%w: it has %d bytes", ErrHistogram, len(text))
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	if len(raw) < 8 {
		return fmt.Errorf("%w: it is cut off", ErrHistogram)
	}
	var head [hdrhistogram.ENCODING_HEADER_SIZE]byte
	z, err := zlib.NewReader(bytes.NewReader(raw[8:]))
	if err == nil {
		_, err = io.ReadFull(z, head[:])
		err = errors.Join(err, z.Close())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	digits := binary.BigEndian.Uint32(head[12:])
	lowest, highest := int64(binary.BigEndian.Uint64(head[16:])), int64(binary.BigEndian.Uint64(head[24:]))
	if digits < 1 || digits > 3 || lowest < 1 || highest > highestValue {
		return fmt.Errorf("%w: it has %d digits from %d to %d; 1 to 3 digits, and an hour at most, are read", ErrHistogram, digits, lowest, highest)
	}
	return nil
}

// micros is the value at a quantile in microseconds.
func (h *Histogram) micros(quantile float64) float64 {
	return float64(h.ValueAtQuantile(quantile)) / 1000
}

// Together merges the histograms of all runs; nil if there are none.
func (s Series) Together() *Histogram {
	var out *Histogram
	for _, r := range s.Runs {
		if r.Latency == nil {
			continue
		}
		if out == nil {
			out = &Histogram{hdrhistogram.New(1, highestValue, 3)}
		}
		out.Merge(r.Latency.Histogram)
	}
	return out
}
