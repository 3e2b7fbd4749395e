package auth

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"
)

// Directory is who the built-in identity knows. It is plain data: from a file, or
// DefaultDirectory.
type Directory struct {
	Region   string          `yaml:"region"`   // of the catalog; default RegionOne
	Projects []ProjectRecord `yaml:"projects"` // projects that only appear in a user's roles are added
	Users    []UserRecord    `yaml:"users"`
}

// ProjectRecord is one project.
type ProjectRecord struct {
	ID          string `yaml:"id"` // default: made from the name, the same at every start
	Name        string `yaml:"name"`
	Description string `yaml:"description"`
}

// UserRecord is one user.
type UserRecord struct {
	ID             string              `yaml:"id"` // default: made from the name
	Name           string              `yaml:"name"`
	Password       string              `yaml:"password"`
	DefaultProject string              `yaml:"default_project"` // a name; scope of a token that asks for none
	Roles          map[string][]string `yaml:"roles"`           // project name -> role names
}

// DefaultDirectory is what an identity without a file knows: one user of each kind,
// all with the password "secret". It is for loopback.
func DefaultDirectory() Directory {
	return Directory{
		Region:   "RegionOne",
		Projects: []ProjectRecord{{Name: "admin"}, {Name: "demo"}, {Name: "alt"}, {Name: "service"}},
		Users: []UserRecord{
			{Name: "admin", Password: "secret", DefaultProject: "admin", Roles: map[string][]string{"admin": {"admin"}, "demo": {"admin"}, "alt": {"admin"}}},
			{Name: "demo", Password: "secret", DefaultProject: "demo", Roles: map[string][]string{"demo": {"member"}}},
			{Name: "alt", Password: "secret", DefaultProject: "alt", Roles: map[string][]string{"alt": {"member"}}},
			{Name: "reader", Password: "secret", DefaultProject: "demo", Roles: map[string][]string{"demo": {"reader"}}},
			{Name: "nova", Password: "secret", DefaultProject: "service", Roles: map[string][]string{"service": {"service"}}},
		},
	}
}

// ParseDirectory reads a directory in YAML. Unknown keys, users without a password or a
// role, and names that appear twice are errors.
func ParseDirectory(text []byte) (Directory, error) {
	var d Directory
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&d); err != nil {
		if errors.Is(err, io.EOF) {
			return d, errors.New("read identity directory: the file is empty")
		}
		return d, fmt.Errorf("read identity directory: %w", err)
	}
	if err := d.complete(); err != nil {
		return d, fmt.Errorf("read identity directory: %w", err)
	}
	return d, nil
}

// complete fills defaults in and checks.
func (d *Directory) complete() error {
	if d.Region == "" {
		d.Region = "RegionOne"
	}
	names, ids := map[string]bool{}, map[string]bool{}
	add := func(kind, name string, id *string) error {
		if strings.TrimSpace(name) == "" {
			return fmt.Errorf("a %s has no name", kind)
		}
		if *id == "" {
			*id = stableID(kind, name)
		}
		if names[kind+"/"+name] || ids[kind+"/"+*id] {
			return fmt.Errorf("%s %q is listed twice", kind, name)
		}
		names[kind+"/"+name], ids[kind+"/"+*id] = true, true
		return nil
	}
	for i := range d.Projects {
		if err := add("project", d.Projects[i].Name, &d.Projects[i].ID); err != nil {
			return err
		}
	}
	for i := range d.Users {
		u := &d.Users[i]
		if err := add("user", u.Name, &u.ID); err != nil {
			return err
		}
		if err := d.completeUser(u, names, add); err != nil {
			return fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	if len(d.Users) == 0 {
		return errors.New("no users")
	}
	return nil
}

func (d *Directory) completeUser(u *UserRecord, names map[string]bool, add func(kind, name string, id *string) error) error {
	if u.Password == "" {
		return errors.New("no password")
	}
	projects := make([]string, 0, len(u.Roles))
	for p, roles := range u.Roles {
		if len(roles) == 0 {
			return fmt.Errorf("no role in project %q", p)
		}
		projects = append(projects, p)
	}
	slices.Sort(projects)
	for _, p := range projects {
		if names["project/"+p] {
			continue
		}
		rec := ProjectRecord{Name: p}
		if err := add("project", p, &rec.ID); err != nil {
			return err
		}
		d.Projects = append(d.Projects, rec)
	}
	if u.DefaultProject != "" && len(u.Roles[u.DefaultProject]) == 0 {
		return fmt.Errorf("no role in its default project %q", u.DefaultProject)
	}
	return nil
}

// stableID makes a Keystone-looking id (32 hexadecimal digits) that is the same at every start.
func stableID(kind, name string) string {
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte("neutrino/identity/"+kind+"/"+name))
	return strings.ReplaceAll(id.String(), "-", "")
}

// digest of a password, so that comparing takes the same time whatever its length.
func digest(password string) [sha256.Size]byte { return sha256.Sum256([]byte(password)) }
