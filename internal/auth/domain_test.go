package auth

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestServiceUserByIDAndByName holds what is sent to Keystone against what Keystone's API
// (v3, password authentication, project scope) takes.
func TestServiceUserByIDAndByName(t *testing.T) {
	type fields = map[string]any
	named := func(key, name string, domain fields) fields {
		return fields{key: fields{"name": name, "domain": domain}}
	}
	for _, tt := range []struct {
		name          string
		o             KeystoneOptions
		user, project fields
	}{
		{
			"names",
			KeystoneOptions{Username: "nova", ProjectName: "service"},
			named("user", "nova", fields{"name": "Default"}), named("project", "service", fields{"name": "Default"}),
		},
		{
			"domains by id",
			KeystoneOptions{Username: "nova", UserDomain: Domain{ID: "default", Name: "Other"}, ProjectName: "service", ProjectDomain: Domain{ID: "d2"}},
			named("user", "nova", fields{"id": "default"}), named("project", "service", fields{"id": "d2"}),
		},
		{
			"a default domain",
			KeystoneOptions{Username: "nova", ProjectName: "service", ProjectDomain: Domain{Name: "Mine"}, DefaultDomain: Domain{ID: "d3"}},
			named("user", "nova", fields{"id": "d3"}), named("project", "service", fields{"name": "Mine"}),
		},
		{
			"ids",
			KeystoneOptions{Username: "nova", UserID: "u1", ProjectName: "service", ProjectID: "p1", ProjectDomain: Domain{ID: "d2"}},
			fields{"user": fields{"id": "u1"}},
			fields{"project": fields{"id": "p1"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sent []byte
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/auth/tokens") {
					sent, _ = io.ReadAll(r.Body)
				}
				w.WriteHeader(http.StatusUnauthorized)
			}))
			defer server.Close()
			o := tt.o
			o.AuthURL, o.Password, o.Client = server.URL, "secret", server.Client()
			defer o.Client.CloseIdleConnections()
			k, err := NewKeystone(o)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = k.Authenticate(withToken("t")); err == nil {
				t.Fatal("authenticated by a Keystone that says 401")
			}
			var got struct {
				Auth struct {
					Identity struct {
						Methods  []string
						Password fields
					}
					Scope fields
				}
			}
			d := json.NewDecoder(bytes.NewReader(sent))
			if err = d.Decode(&got); err != nil {
				t.Fatalf("what was sent: %v: %s", err, sent)
			}
			if user, ok := got.Auth.Identity.Password["user"].(fields); !ok || user["password"] != "secret" {
				t.Errorf("no password in %s", sent)
			} else {
				delete(user, "password")
			}
			if diff := cmp.Diff(tt.user, got.Auth.Identity.Password); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.project, got.Auth.Scope); diff != "" {
				t.Errorf("scope (-want +got):\n%s", diff)
			}
		})
	}
}
