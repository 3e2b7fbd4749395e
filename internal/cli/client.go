package cli

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

const defaultEndpoint = "http://127.0.0.1:9696"

// requestTimeout bounds one request.
const requestTimeout = 60 * time.Second

// client reaches the Networking API. It connects when it is first used.
type client struct {
	endpoint string
	cloud    string
	service  *gophercloud.ServiceClient
}

// connect chooses the endpoint: --endpoint, $NEUTRINO_ENDPOINT, clouds.yaml where a
// cloud is named, Keystone where OS_AUTH_URL is set, else the default.
func (c *client) connect(ctx context.Context) (*gophercloud.ServiceClient, error) {
	if c.service != nil {
		return c.service, nil
	}
	first := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	var err error
	endpoint := first(c.endpoint, os.Getenv("NEUTRINO_ENDPOINT"))
	if endpoint == "" && os.Getenv("OS_AUTH_TYPE") == "none" {
		endpoint = first(os.Getenv("OS_ENDPOINT"), defaultEndpoint)
	}
	cloud := first(c.cloud, os.Getenv("OS_CLOUD"))
	switch {
	case endpoint != "":
		c.service, err = open(endpoint)
	case cloud != "":
		c.service, err = fromCloud(ctx, cloud)
	case os.Getenv("OS_AUTH_URL") != "":
		c.service, err = fromEnvironment(ctx)
	default:
		c.service, err = open(defaultEndpoint)
	}
	return c.service, err
}

// open returns a client of an endpoint that asks for no token.
func open(endpoint string) (*gophercloud.ServiceClient, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("endpoint %q is not an http:// or https:// URL", endpoint)
	}
	base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimRight(endpoint, "/"), "/v2.0"), "/") + "/"
	provider := &gophercloud.ProviderClient{HTTPClient: http.Client{Timeout: requestTimeout}}
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: base, ResourceBase: base + "v2.0/", Type: "network"}, nil
}

func fromCloud(ctx context.Context, cloud string) (*gophercloud.ServiceClient, error) {
	auth, where, conf, err := clouds.Parse(clouds.WithCloudName(cloud))
	if err != nil {
		return nil, usagef("cloud %s: %v", cloud, err)
	}
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	provider, err := config.NewProviderClient(ctx, auth, config.WithTLSConfig(conf))
	if err != nil {
		return nil, fmt.Errorf("authenticate with cloud %s: %w", cloud, err)
	}
	return networking(provider, where)
}

func fromEnvironment(ctx context.Context) (*gophercloud.ServiceClient, error) {
	auth, err := openstack.AuthOptionsFromEnv()
	if err != nil {
		return nil, usagef("OS_* environment: %v", err)
	}
	provider, err := openstack.AuthenticatedClient(ctx, auth)
	if err != nil {
		return nil, fmt.Errorf("authenticate at %s: %w", auth.IdentityEndpoint, err)
	}
	return networking(provider, gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")})
}

func networking(p *gophercloud.ProviderClient, where gophercloud.EndpointOpts) (*gophercloud.ServiceClient, error) {
	p.HTTPClient.Timeout = requestTimeout
	s, err := openstack.NewNetworkV2(p, where)
	if err != nil {
		return nil, fmt.Errorf("find the Networking API in Keystone's catalog: %w", err)
	}
	return s, nil
}

// page is one page of a list, of objects as they are.
type page struct {
	pagination.PageResult
	collection string
}

// NextPageURL follows Neutron's "<collection>_links".
func (p page) NextPageURL() (string, error) {
	body, _ := p.Body.(object)
	links, _ := body[p.collection+"_links"].([]any)
	for _, l := range links {
		if link, ok := l.(object); ok && link["rel"] == "next" {
			return fmt.Sprint(link["href"]), nil
		}
	}
	return "", nil
}

// IsEmpty implements pagination.Page.
func (p page) IsEmpty() (bool, error) { return len(p.objects()) == 0, nil }

// GetBody implements pagination.Page.
func (p page) GetBody() any { return p.Body }

func (p page) objects() []object {
	body, _ := p.Body.(object)
	items, _ := body[p.collection].([]any)
	var all []object
	for _, item := range items {
		if x, ok := item.(object); ok {
			all = append(all, x)
		}
	}
	return all
}

// list returns all objects of a collection that pass the filters.
func (c *client) list(ctx context.Context, r *resource, filters url.Values) ([]object, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	address := s.ServiceURL(r.collection)
	if len(filters) > 0 {
		address += "?" + filters.Encode()
	}
	all := []object{}
	key := strings.ReplaceAll(r.collection, "-", "_") // as bodies spell it
	pager := pagination.NewPager(s, address, func(p pagination.PageResult) pagination.Page { return page{p, key} })
	err = pager.EachPage(ctx, func(_ context.Context, p pagination.Page) (bool, error) {
		if got, ok := p.(page); ok {
			all = append(all, got.objects()...)
		}
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", r.collection, err)
	}
	return all, nil
}

// send makes one request with a body and returns the object of the answer.
func (c *client) send(ctx context.Context, method string, r *resource, id string, body object) (object, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	address := s.ServiceURL(r.collection)
	if id != "" {
		address = s.ServiceURL(r.collection, id)
	}
	opts := &gophercloud.RequestOpts{OkCodes: []int{200, 201, 202, 204}}
	if body != nil {
		opts.JSONBody = object{r.singular: body}
	}
	var answer object
	if method != http.MethodDelete {
		opts.JSONResponse = &answer
	}
	resp, err := s.Request(ctx, method, address, opts)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", verbs[method], strings.TrimSpace(r.title+" "+id), err)
	}
	if method == http.MethodDelete {
		return nil, resp.Body.Close()
	}
	x, _ := answer[r.singular].(object)
	return x, nil
}

var verbs = map[string]string{
	http.MethodGet: "show", http.MethodPost: "create", http.MethodPut: "set", http.MethodDelete: "delete",
}

// act makes the request behind an action of an object, whose body and answer are bare.
func (c *client) act(ctx context.Context, method string, r *resource, id, action string, body object) (object, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	var answer object
	resp, err := s.Request(ctx, method, s.ServiceURL(r.collection, id, action), &gophercloud.RequestOpts{ //nolint:bodyclose // read and closed by Request
		JSONBody: body, JSONResponse: &answer, OkCodes: []int{200},
	})
	if err != nil {
		return nil, fmt.Errorf("%s of %s %s: %w", strings.ReplaceAll(action, "_", " "), r.title, id, err)
	}
	return answer, resp.Body.Close()
}

// setTags replaces the tags of an object.
func (c *client) setTags(ctx context.Context, r *resource, id string, tags []string) error {
	s, err := c.connect(ctx)
	if err != nil {
		return err
	}
	var answer object
	resp, err := s.Request(ctx, http.MethodPut, s.ServiceURL(r.collection, id, "tags"), &gophercloud.RequestOpts{ //nolint:bodyclose // read and closed by Request
		JSONBody: object{"tags": tags}, JSONResponse: &answer, OkCodes: []int{200},
	})
	if err != nil {
		return fmt.Errorf("set tags of %s %s: %w", r.title, id, err)
	}
	return resp.Body.Close()
}
