package host

import (
	"log/slog"
	"net/netip"

	"neutrino/internal/model"
	"neutrino/internal/ra"
	"neutrino/internal/router"
)

// routerAdverts makes a router known on one of its interfaces.
type routerAdverts struct {
	*ra.Server
	settings ra.Settings
}

// Set implements router.Advertiser.
func (r routerAdverts) Set(port model.RouterPort) error {
	r.Update(toldOf(port, r.settings))
	return nil
}

// toldOf is silent where no subnet of the port is advertised by us.
func toldOf(port model.RouterPort, set ra.Settings) ra.Config {
	set.MTU = port.MTU
	c, ok := ra.Of(port.Subnets, set)
	c.Silent = !ok
	return c
}

func advertiseRouters(dns []netip.Addr, domain string, log *slog.Logger) func(string, model.RouterPort) (router.Advertiser, error) {
	set := ra.Settings{Lifetime: ra.DefaultLifetime, DNS: dns}
	if domain != "" {
		set.Search = []string{domain}
	}
	return func(netdev string, port model.RouterPort) (router.Advertiser, error) {
		s, err := ra.NewServer(netdev, toldOf(port, set), log)
		if err != nil {
			return nil, err
		}
		return routerAdverts{s, set}, nil
	}
}
