package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"neutrino/internal/api"
	"neutrino/internal/config"
	"neutrino/internal/fabric"
	"neutrino/internal/ml2"
	"neutrino/internal/neutron"
	"neutrino/internal/serve"
	"neutrino/internal/store"
)

// Options of the process.
type Options struct {
	Log     *slog.Logger
	Version string
	// Ready is called once, when the API and the fabric accept connections. It is told
	// the API's address.
	Ready func(address string)
}

// Run runs a controller until ctx ends. It returns an error when it cannot start or
// cannot go on; a store that goes away for a while is neither: requests get 503.
func Run(ctx context.Context, cfg *config.Config, o Options) error {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	drivers, err := ml2.New(ml2Config(cfg))
	if err != nil {
		return fmt.Errorf("start controller: %w", err)
	}
	id, err := identity(cfg, o.Log)
	if err != nil {
		return fmt.Errorf("start controller: %w", err)
	}
	who, err := authenticator(cfg, id)
	if err != nil {
		return fmt.Errorf("start controller: %w", err)
	}
	l, err := listenAPI(ctx, cfg)
	if err != nil {
		return fmt.Errorf("start controller: Networking API: %w", err)
	}
	defer l.Close()

	tables := neutron.NewTables()
	db, err := store.Open(ctx, storeConfig(cfg, o.Log), tables.All()...)
	if err != nil {
		return fmt.Errorf("start controller: open the store: %w", err)
	}
	defer db.Close()
	svc := neutron.New(db, tables, drivers, neutronOptions(cfg), o.Log)
	defer svc.Close()

	reg := serve.Registry()
	if err = reg.Register(db.Collector()); err != nil {
		return fmt.Errorf("start controller: metrics of the store: %w", err)
	}
	fab, err := fabric.New(svc, fabric.Options{
		Listen:        cfg.Fabric.Listen,
		TLS:           fabric.TLS{CertFile: cfg.Fabric.TLS.CertFile, KeyFile: cfg.Fabric.TLS.KeyFile, CAFile: cfg.Fabric.TLS.CAFile},
		AgentDownTime: cfg.Default.AgentDownTime,
		Name:          cfg.Default.Host,
		Log:           o.Log,
		Registerer:    reg,
	})
	if err != nil {
		return fmt.Errorf("start controller: fabric: %w", err)
	}
	p := &process{cfg: cfg, o: o, db: db, svc: svc, fab: fab, reg: reg}
	options := api.Options{
		Log:                o.Log,
		Ready:              p.ready,
		Metrics:            reg,
		PaginationMaxLimit: cfg.Default.PaginationMaxLimit,
	}
	if id != nil {
		options.Identity = id
	}
	return p.run(ctx, l, api.New(svc, who, options))
}

// process is what runs once everything is open.
type process struct {
	cfg *config.Config
	o   Options
	db  *store.DB
	svc *neutron.Service
	fab *fabric.Fabric
	reg *prometheus.Registry
}

func (p *process) run(ctx context.Context, l net.Listener, h http.Handler) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve.HTTP(ctx, l, h) })
	g.Go(func() error { return p.fab.Run(ctx) })
	g.Go(func() error { return p.svc.RunScheduler(ctx) })
	g.Go(func() error { return p.svc.RunRouterScheduler(ctx) })
	g.Go(func() error { return p.watchStore(ctx) })
	g.Go(func() error { return giveBack(ctx, lookEvery) })
	if address := p.cfg.Metrics.Listen; address != "" {
		ml, err := serve.Listen(ctx, address, nil)
		if err != nil {
			return fmt.Errorf("start controller: metrics: %w", err)
		}
		ready := func() error { return p.ready(ctx) }
		g.Go(func() error { return serve.HTTP(ctx, ml, serve.Handler(p.reg, ready)) })
	}
	p.o.Log.Info("controller is ready", "api", l.Addr().String(), "fabric", p.cfg.Fabric.Listen, "version", p.o.Version)
	if p.o.Ready != nil {
		p.o.Ready(l.Addr().String())
	}
	return g.Wait()
}

// errStoreFailed ends the process: only a new one can open the embedded etcd again.
var errStoreFailed = errors.New("the embedded etcd has stopped for good; its log says why")

// watchStore ends the process when the embedded etcd has failed. An etcd outside that
// does not answer is waited for instead.
func (p *process) watchStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-p.db.Failed():
		return errStoreFailed
	}
}

// readyIn is how long an etcd outside may take to answer a probe.
const readyIn = 2 * time.Second

// ready says whether the controller can do its work now. An etcd outside is asked: one
// that hangs shows only when it is spoken to.
func (p *process) ready(ctx context.Context) error {
	if len(p.cfg.Store.Endpoints) == 0 {
		return p.db.Ready()
	}
	ctx, cancel := context.WithTimeout(ctx, readyIn)
	defer cancel()
	return p.db.Check(ctx)
}

// listenAPI opens the API's listener first of all: a port that is taken is a mistake
// to be told before anything is started.
func listenAPI(ctx context.Context, cfg *config.Config) (net.Listener, error) {
	var conf *tls.Config
	if cfg.Default.UseSSL {
		var err error
		if conf, err = serve.TLSConfig(cfg.TLS.CertFile, cfg.TLS.KeyFile, cfg.TLS.CAFile); err != nil {
			return nil, err
		}
	}
	return serve.Listen(ctx, cfg.APIAddress(), conf)
}
