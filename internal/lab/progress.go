package lab

import (
	"fmt"
	"io"
	"time"
)

// Progress tells a person what goes on. The zero Progress says nothing.
type Progress struct {
	w     io.Writer
	style style
	start time.Time
}

// NewProgress writes to w; color when it is a terminal.
func NewProgress(w io.Writer, color bool) Progress {
	return Progress{w: w, style: style{color}, start: time.Now()}
}

// Step reports something done.
func (p Progress) Step(format string, args ...any) {
	if p.w == nil {
		return
	}
	at := p.style.dim(fmt.Sprintf("%6.2fs", time.Since(p.start).Seconds()))
	fmt.Fprintf(p.w, "%s %s %s\n", at, p.style.good("✓"), fmt.Sprintf(format, args...))
}

// Now reports something that begins and takes a while.
func (p Progress) Now(format string, args ...any) {
	if p.w == nil {
		return
	}
	at := p.style.dim(fmt.Sprintf("%6.2fs", time.Since(p.start).Seconds()))
	fmt.Fprintf(p.w, "%s … %s\n", at, fmt.Sprintf(format, args...))
}

// Warn reports something that went wrong and does not stop the work.
func (p Progress) Warn(format string, args ...any) {
	if p.w == nil {
		return
	}
	at := p.style.dim(fmt.Sprintf("%6.2fs", time.Since(p.start).Seconds()))
	fmt.Fprintf(p.w, "%s %s %s\n", at, p.style.bad("✗"), fmt.Sprintf(format, args...))
}

// style colors text for a terminal, and leaves it alone otherwise.
type style struct{ color bool }

func (s style) paint(code, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) good(t string) string { return s.paint("32", t) }
func (s style) bad(t string) string  { return s.paint("31", t) }
func (s style) dim(t string) string  { return s.paint("2", t) }
func (s style) bold(t string) string { return s.paint("1", t) }
