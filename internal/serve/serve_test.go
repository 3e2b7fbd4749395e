package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadyNamesWhatIsMissing(t *testing.T) {
	h := NewHealth("store", "fabric")
	h.Set("store", nil)
	err := h.Ready()
	if err == nil || !strings.Contains(err.Error(), "fabric: not yet") || strings.Contains(err.Error(), "store") {
		t.Fatalf("Ready() = %v, want only fabric in it", err)
	}
	h.Set("fabric", nil)
	if err = h.Ready(); err != nil {
		t.Fatalf("Ready() = %v with every condition set", err)
	}
	h.Set("store", errors.New("etcd does not answer"))
	if err = h.Ready(); err == nil {
		t.Fatal("ready although the store failed again")
	}
}

func TestHTTPEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := Listen(ctx, "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	health := NewHealth("store")
	done := make(chan error, 1)
	go func() { done <- HTTP(ctx, l, Handler(Registry(), health.Ready)) }()

	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/metrics": 200, "/else": 404} {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("GET %s: %d, want %d\n%s", path, resp.StatusCode, want, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("HTTP returned %v after its context ended", err)
	}
}

func TestListenNamesTheAddress(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err = Listen(t.Context(), l.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("a second listener: %v, want the address in it", err)
	}
}

func TestTLSConfigNamesTheFile(t *testing.T) {
	if _, err := TLSConfig("/nonexistent.pem", "/nonexistent.key", ""); err == nil || !strings.Contains(err.Error(), "/nonexistent.pem") {
		t.Errorf("TLSConfig = %v", err)
	}
}
