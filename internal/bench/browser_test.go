package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser starts a headless Chromium.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("NEUTRINO_STRICT") != "" {
			t.Fatal("needs chromium (apt-get install chromium), and NEUTRINO_STRICT is set")
		}
		t.Skip("needs chromium: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(2*time.Minute))
	limited, cancelTime := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancelTime)
	allocator, cancelBrowser := chromedp.NewExecAllocator(limited, options...)
	t.Cleanup(cancelBrowser)
	ctx, cancelTab := chromedp.NewContext(allocator)
	t.Cleanup(cancelTab)
	return ctx
}

// heard is what a page complained about and asked for.
type heard struct {
	sync.Mutex
	complaints, fetched []string
}

func (h *heard) listen(ctx context.Context) error {
	return chromedp.Listen(ctx, func(event any) {
		h.Lock()
		defer h.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			h.complaints = append(h.complaints, e.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			h.complaints = append(h.complaints, "console "+string(e.Type))
		case *log.EventEntryAdded:
			h.complaints = append(h.complaints, e.Entry.Text)
		case *network.EventRequestWillBeSent:
			h.fetched = append(h.fetched, e.Request.URL)
		}
	})
}

// view opens the page in a window, reads it and takes a picture of all of it.
func view(ctx context.Context, url string, width int64, scheme string) (got seen, shot []byte, err error) {
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err = chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return got, nil, err
	}
	if err = chromedp.Do(ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(url)); err != nil {
		return got, nil, err
	}
	if got, err = chromedp.Run(ctx, chromedp.Evaluate[seen](inspect)); err != nil {
		return got, nil, err
	}
	shot, err = chromedp.Run(ctx, chromedp.FullScreenshot(100))
	return got, shot, err
}

// seen is what the browser made of a page.
type seen struct {
	Plots    int     `json:"plots"`    // drawings that have a size on the screen
	Lines    int     `json:"lines"`    // curves in them that have a length
	Bars     int     `json:"bars"`     // bars that have a width
	Whiskers int     `json:"whiskers"` // over them
	Text     float64 `json:"text"`     // smallest text of a drawing in pixels
	Outside  int     `json:"outside"`  // texts that leave their drawing
	Overflow float64 `json:"overflow"` // how far the page is wider than the window
	Dark     bool    `json:"dark"`
}

const inspect = `(() => {
  const shown = [...document.querySelectorAll('svg.plot')].filter(s => s.getBoundingClientRect().width > 100 && s.getBoundingClientRect().height > 50);
  const all = q => shown.flatMap(s => [...s.querySelectorAll(q)]);
  const outside = shown.flatMap(s => { const b = s.getBoundingClientRect(); return [...s.querySelectorAll('text')].filter(t => { const r = t.getBoundingClientRect(); return r.left < b.left - 1 || r.right > b.right + 1 || r.top < b.top - 1 || r.bottom > b.bottom + 1 }) });
  const rgb = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
  return {
    plots: shown.length,
    lines: all('path').filter(p => p.getTotalLength() > 50).length,
    bars: all('rect').filter(r => r.getBoundingClientRect().width > 5).length,
    whiskers: all('line.whisker').length / 3,
    text: Math.min(...all('text').map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)),
    outside: outside.length,
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    dark: rgb[0] < 100,
  };
})()`

// The page is opened in a real browser: its plots are there at both sizes, light and dark, nothing is fetched and
// nothing is complained about.
func TestPageInABrowser(t *testing.T) {
	ctx := browser(t)
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, samplePage(t), 0o644); err != nil {
		t.Fatal(err)
	}
	h := &heard{}
	if err := h.listen(ctx); err != nil {
		t.Fatal(err)
	}
	for _, enable := range []cdp.Command[cdp.Empty, cdp.Empty]{log.Enable, runtime.Enable} {
		if _, err := chromedp.Call(ctx, enable, cdp.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		width  int64
		scheme string
	}{"wide": {1600, "light"}, "narrow": {400, "light"}, "dark": {1600, "dark"}} {
		got, shot, err := view(ctx, "file://"+path, x.width, x.scheme)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if dir := os.Getenv("NEUTRINO_SCREENSHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name+".png"), shot, 0o644); err != nil {
				t.Error(err)
			}
		}
		if got.Plots != 4 || got.Lines != 14 || got.Bars != 14 || got.Whiskers != 14 {
			t.Errorf("%s: %+v, not 4 plots, 14 lines, 14 bars with whiskers", name, got)
		}
		if got.Text < 10 || got.Outside > 0 || got.Overflow > 0 || got.Dark != (x.scheme == "dark") {
			t.Errorf("%s: %+v", name, got)
		}
	}
	h.Lock()
	defer h.Unlock()
	if len(h.complaints) > 0 {
		t.Errorf("complaints: %q", h.complaints)
	}
	for _, url := range h.fetched {
		if url != "file://"+path && !strings.HasPrefix(url, "data:") {
			t.Errorf("fetched %s", url)
		}
	}
	if len(h.fetched) == 0 {
		t.Error("not even the page was asked for: the listener is deaf")
	}
}
