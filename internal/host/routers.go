package host

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"neutrino/internal/agent"
	"neutrino/internal/metadata"
	"neutrino/internal/router"
)

// routerRole starts the router node when the agent's loop asks for it.
type routerRole struct {
	log  *slog.Logger
	reg  prometheus.Registerer
	meta *metadata.Service // nil = none
	node *router.Node
}

func (r *routerRole) start(find agent.FindVF) (agent.RouterServer, error) {
	node, err := router.NewNode(router.Options{
		FindVF:     netdevs(find),
		Log:        r.log,
		Registerer: r.reg,
		Beside:     besideRouters(r.meta),
	})
	if err != nil {
		return nil, err
	}
	r.node = node
	return node, nil
}

func (r *routerRole) close() {
	if r.node != nil {
		_ = r.node.Close()
	}
}
