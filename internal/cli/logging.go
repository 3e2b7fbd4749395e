package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"

	"neutrino/internal/config"
)

// newLogger makes the log the options ask for: into a file or to standard error; text
// with colours on a terminal, without times but with priorities under journald, plain
// text or JSON elsewhere. Done closes the file.
func newLogger(cfg *config.Config, stderr io.Writer, name string) (log *slog.Logger, done func() error, err error) {
	level := slog.LevelInfo
	if cfg.Default.Debug {
		level = slog.LevelDebug
	}
	out, done := stderr, func() error { return nil }
	file := logFile(cfg, name)
	if file != "" {
		f, openErr := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
		if openErr != nil {
			return nil, nil, fmt.Errorf("open the log ([DEFAULT] log_file, log_dir): %w", openErr)
		}
		out, done = f, f.Close
	}
	options := &slog.HandlerOptions{Level: level}
	switch {
	case cfg.Default.UseJSON:
		return slog.New(slog.NewJSONHandler(out, options)), done, nil
	case file == "" && isTerminal(stderr) && os.Getenv("NO_COLOR") == "":
		return slog.New(tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: time.TimeOnly})), done, nil
	case file == "" && os.Getenv("JOURNAL_STREAM") != "":
		return slog.New(newJournal(out, options)), done, nil
	}
	return slog.New(slog.NewTextHandler(out, options)), done, nil
}

// logFile is the file to log to; "" = standard error.
func logFile(cfg *config.Config, name string) string {
	file, dir := cfg.Default.LogFile, cfg.Default.LogDir
	switch {
	case file == "" && dir == "":
		return ""
	case file == "":
		file = "neutrino-" + name + ".log"
	}
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// journal writes lines as journald takes them from standard error: a priority in
// front, and no time, which journald adds itself.
type journal struct {
	text slog.Handler
	line *line
}

// line is where a record is put together before it is written in one piece.
type line struct {
	mu  sync.Mutex
	buf bytes.Buffer
	out io.Writer
}

func newJournal(out io.Writer, options *slog.HandlerOptions) journal {
	l := &line{out: out}
	o := *options
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	return journal{text: slog.NewTextHandler(&l.buf, &o), line: l}
}

// Enabled implements slog.Handler.
func (j journal) Enabled(ctx context.Context, level slog.Level) bool {
	return j.text.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (j journal) Handle(ctx context.Context, r slog.Record) error {
	priority := 7 // as syslog's, see sd-daemon(3)
	switch {
	case r.Level >= slog.LevelError:
		priority = 3
	case r.Level >= slog.LevelWarn:
		priority = 4
	case r.Level >= slog.LevelInfo:
		priority = 6
	}
	j.line.mu.Lock()
	defer j.line.mu.Unlock()
	j.line.buf.Reset()
	fmt.Fprintf(&j.line.buf, "<%d>", priority)
	if err := j.text.Handle(ctx, r); err != nil {
		return err
	}
	_, err := j.line.out.Write(j.line.buf.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (j journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return journal{j.text.WithAttrs(attrs), j.line}
}

// WithGroup implements slog.Handler.
func (j journal) WithGroup(name string) slog.Handler { return journal{j.text.WithGroup(name), j.line} }
