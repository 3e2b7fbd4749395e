package metadata

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"neutrino/internal/model"
)

const secret = "shared"

func novaAt(t *testing.T, address string, s Nova) *Service {
	u, err := url.Parse(address)
	must(t, err)
	h, port, err := net.SplitHostPort(u.Host)
	must(t, err)
	s.Host, s.Protocol, s.Secret = h, u.Scheme, secret
	s.Port, err = strconv.Atoi(port)
	must(t, err)
	return newService(t, Options{Nova: &s})
}

// ask puts a request through a service as if it came from the address.
func ask(s *Service, r *http.Request, from string) *httptest.ResponseRecorder {
	h := host("000000000001", "10.0.0.7", &model.InstanceData{UserData: "not Nova's"})
	c := newClients([]model.DHCPHost{h}, nil)
	p := &Proxy{s: s, log: s.log}
	p.clients.Store(c)
	r.RemoteAddr = from + ":1234"
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func TestNovaIsToldWhoAsks(t *testing.T) {
	for _, tls := range []bool{false, true} {
		var got *http.Request
		var body string
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			got, body = r.Clone(context.Background()), string(text)
			w.Header().Set("Content-Type", "text/x-nova")
			w.Header().Set("X-Internal", "yes")
			w.Header().Set("ETag", `"e"`)
			_, _ = w.Write([]byte("from nova"))
		})
		nova := httptest.NewServer(handler)
		if tls {
			nova.Close()
			nova = httptest.NewTLSServer(handler)
		}
		t.Cleanup(nova.Close)
		s := novaAt(t, nova.URL, Nova{Insecure: true})
		r := httptest.NewRequest(http.MethodPost, "/openstack/latest/password?x=%2F&y", strings.NewReader("pw"))
		for k, v := range map[string]string{
			"X-Instance-ID": "another", "X-Tenant-ID": "another", "X-Instance-ID-Signature": "forged", "X-Forwarded-For": "10.9.9.9",
			"X-Instance-Id-Signature": "forged", "X-Metadata-Provider": "lb", "Connection": "X-Tenant-ID", "Proxy-Authorization": "p",
			"Content-Type": "text/x-pw", "Authorization": "a", "Upgrade": "h2c",
		} {
			r.Header.Set(k, v)
		}
		w := ask(s, r, "10.0.0.7")
		if w.Code != 200 || w.Body.String() != "from nova" || w.Header().Get("Content-Type") != "text/x-nova" || w.Header().Get("Etag") != `"e"` || w.Header().Get("X-Internal") != "" {
			t.Fatalf("TLS %t: %d %q %v", tls, w.Code, w.Body, w.Header())
		}
		// Nova: hmac.new(secret, instance_id, sha256).hexdigest()
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte("device-000000000001"))
		want := map[string]string{
			"X-Forwarded-For": "10.0.0.7", "X-Instance-Id": "device-000000000001", "X-Tenant-Id": "project", "X-Instance-Id-Signature": hex.EncodeToString(mac.Sum(nil)),
			"Content-Type": "text/x-pw", "Content-Length": "2", "Accept-Encoding": "",
		}
		for k, v := range got.Header {
			if len(v) != 1 || want[k] != v[0] {
				t.Errorf("TLS %t: Nova got %s: %q, want %q", tls, k, v, want[k])
			}
		}
		for k, v := range want {
			if got.Header.Get(k) != v && k != "Content-Length" {
				t.Errorf("TLS %t: Nova did not get %s: %s", tls, k, v)
			}
		}
		if got.URL.RequestURI() != "/openstack/latest/password?x=%2F&y" || body != "pw" || got.Method != http.MethodPost {
			t.Errorf("TLS %t: %s %s %q", tls, got.Method, got.URL, body)
		}
	}
}

func TestNovaErrors(t *testing.T) {
	status := make(chan int, 1)
	nova := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code := <-status
		if code == 0 {
			<-r.Context().Done()
			return
		}
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(code)
		_, _ = w.Write([]byte("inside"))
	}))
	defer nova.Close()
	s := novaAt(t, nova.URL, Nova{AnswerTime: 20 * time.Second})
	for from, want := range map[int]int{
		200: 200, 204: 204, 400: 400, 403: 403, 404: 404, 409: 409, 500: 500, 502: 502, 503: 503, 504: 504, 302: 502, 418: 502,
	} {
		status <- from
		w := ask(s, httptest.NewRequest(http.MethodGet, "/latest", nil), "10.0.0.7")
		if w.Code != want || want >= 400 && strings.Contains(w.Body.String(), "inside") {
			t.Errorf("%d became %d %q, want %d", from, w.Code, w.Body, want)
		}
	}
	late := novaAt(t, nova.URL, Nova{AnswerTime: 50 * time.Millisecond})
	status <- 0
	if w := ask(late, httptest.NewRequest(http.MethodGet, "/latest", nil), "10.0.0.7"); w.Code != 504 {
		t.Errorf("late: %d", w.Code)
	}
	if w := ask(s, httptest.NewRequest(http.MethodGet, "/latest", nil), "10.0.0.8"); w.Code != 404 {
		t.Errorf("unknown: %d", w.Code)
	}
	nova.Close()
	if w := ask(s, httptest.NewRequest(http.MethodGet, "/latest", nil), "10.0.0.7"); w.Code != 503 {
		t.Errorf("away: %d", w.Code)
	}
}

// What is refused never comes to Nova, which is not there.
func TestRefusedRequests(t *testing.T) {
	s := newService(t, Options{Nova: &Nova{Host: "127.0.0.1", Port: 1, Protocol: "http", Secret: secret}})
	for what, want := range map[*http.Request]int{
		httptest.NewRequest(http.MethodGet, "/latest/../openstack", nil):                             400,
		httptest.NewRequest(http.MethodGet, "/latest/%2e%2e/openstack", nil):                         400,
		httptest.NewRequest(http.MethodGet, "/latest%0d%0aX-Instance-ID:%20x", nil):                  400,
		httptest.NewRequest(http.MethodGet, "/"+strings.Repeat("x", maxTarget), nil):                 414,
		httptest.NewRequest(http.MethodTrace, "/", nil):                                              405,
		httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", maxBody+1))): 413,
		httptest.NewRequest(http.MethodGet, "/latest", nil):                                          503,
	} {
		if w := ask(s, what, "10.0.0.7"); w.Code != want {
			t.Errorf("%s %.60s: %d, want %d", what.Method, what.URL, w.Code, want)
		}
	}
}
