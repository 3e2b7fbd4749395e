package store

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// usual are warnings of etcd about things that are as they are on purpose.
var usual = map[string]bool{
	"Running http and grpc server on single port. This is not recommended for production.":             true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
	"ignored file in WAL directory":                true, // a torn end that etcd has repaired and put aside
	"simple token is not cryptographically signed": true,
}

// passing recognises failures that etcd meets at every start or stop and that mend
// themselves: fresh data lacks the term of the first election for some seconds; until the
// first entry is applied, etcd takes its whole log for a backlog and tries again in a
// tight loop; and a member that stops cancels what it was about to do.
func passing(fields []zapcore.Field) bool {
	for _, f := range fields {
		err, ok := f.Interface.(error)
		if !ok {
			continue
		}
		for _, words := range []string{"missing term information", "too many requests", "request cancelled"} {
			if strings.Contains(err.Error(), words) {
				return true
			}
		}
	}
	return false
}

// slogCore hands etcd's log records of level warning and above to slog.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// newLogger returns a zap logger over slog. When etcd wants to end the process (it cannot
// write its log, its data is corrupt), fatal is told instead and the goroutine that met it
// ends: the store turns to reads only. With a nil fatal, only the goroutine ends.
func newLogger(log *slog.Logger, fatal func(reason string)) *zap.Logger {
	end := ending{fatal: fatal}
	// A repeated message is let through five times a second, then every thousandth.
	core := zapcore.NewSamplerWithOptions(&slogCore{log: log}, time.Second, 5, 1000)
	return zap.New(core, zap.WithFatalHook(end), zap.WithPanicHook(end))
}

// Enabled lets warnings and worse through.
func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With returns a core that adds the fields to every record.
func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check takes a record if it is enabled.
func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return ce
	}
	return ce.AddCore(e, c)
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	switch {
	case usual[e.Message] || passing(fields):
		level = slog.LevelDebug
	case e.Level >= zapcore.ErrorLevel:
		level = slog.LevelError
	}
	ctx := context.Background()
	if !c.log.Enabled(ctx, level) {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := make([]slog.Attr, 0, len(enc.Fields)+1)
	attrs = append(attrs, slog.String("says", e.Message))
	for k, v := range enc.Fields {
		if d, ok := v.(time.Duration); ok {
			v = d.String()
		}
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(ctx, level, "etcd has something to say", attrs...)
	return nil
}

// Sync has nothing to do.
func (c *slogCore) Sync() error { return nil }

// ending takes the place of os.Exit and panic in etcd's logger.
type ending struct{ fatal func(reason string) }

// OnWrite reports the record that was to end the process and ends the goroutine.
func (h ending) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	reason := e.Message
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok {
			reason = fmt.Sprintf("%s: %v", reason, err)
		}
	}
	if h.fatal != nil {
		h.fatal(reason)
	}
	runtime.Goexit()
}
