package neutron

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"neutrino/internal/fault"
	"neutrino/internal/ml2"
	"neutrino/internal/model"
	"neutrino/internal/store"
)

// Options of a Service. The zero value of each field means Neutron's default, named beside it.
type Options struct {
	BaseMAC           string         // "fa:16:3e:00:00:00"
	DefaultQuotas     map[string]int // over Neutron's defaults; -1 = no limit
	AgentDownTime     time.Duration  // 75 s; heartbeats are written at a third of it
	Clock             func() time.Time
	MaxDNSNameservers int  // 5
	MaxHostRoutes     int  // 20
	MaxAddressPairs   int  // 10
	MaxRoutes         int  // of a router: 30
	NoSNAT            bool // where a request does not say: SNAT
	NoFilters         bool // security groups are not enforced on any host

	DHCPAgentsPerNetwork int    // 1
	DNSDomain            string // "openstacklocal."
	AvailabilityZone     string // of agents that name none: "nova"
	ControllerID         string // who vouches for an agent's liveness; a random id
}

// Service carries out the operations. Its methods may be called from any goroutine.
// Close it before its store.
type Service struct {
	db     *store.DB
	t      *Tables
	ml2    *ml2.ML2
	o      Options
	log    *slog.Logger
	quota  *reservations
	merges merger
}

// New returns a Service on an open store whose tables are t.
func New(db *store.DB, t *Tables, m *ml2.ML2, o Options, log *slog.Logger) *Service {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Service{db: db, t: t, ml2: m, o: o.withDefaults(), log: log, quota: newReservations()}
	s.merges.done = make(chan struct{})
	return s
}

// DB returns the store that the service works on.
func (s *Service) DB() *store.DB { return s.db }

// Tables returns the tables that the service works on.
func (s *Service) Tables() *Tables { return s.t }

// ML2 returns the drivers that the service asks.
func (s *Service) ML2() *ml2.ML2 { return s.ml2 }

// Options returns the options in force, defaults filled in.
func (s *Service) Options() Options { return s.o }

// Close ends the goroutines behind the channels of Attachments and DHCPNetworks and waits
// for them. The channels close.
func (s *Service) Close() {
	s.merges.close()
}

func (o Options) withDefaults() Options {
	set(&o.BaseMAC, "fa:16:3e:00:00:00")
	set(&o.AgentDownTime, 75*time.Second)
	set(&o.MaxDNSNameservers, 5)
	set(&o.MaxHostRoutes, 20)
	set(&o.MaxAddressPairs, 10)
	set(&o.MaxRoutes, 30)
	set(&o.DHCPAgentsPerNetwork, 1)
	set(&o.DNSDomain, "openstacklocal.")
	set(&o.AvailabilityZone, "nova")
	set(&o.ControllerID, newID())
	if o.Clock == nil {
		o.Clock = time.Now
	}
	return o
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func newID() string { return uuid.NewString() }

// now is the time that rows are stamped with: UTC, whole seconds.
func (s *Service) now() time.Time { return s.o.Clock().UTC().Truncate(time.Second) }

// moment is the time that journeys note.
func (s *Service) moment() model.Moment { return model.MomentOf(s.o.Clock()) }

// update runs one transaction and turns the store's failures into faults, keeping the
// cause in the chain.
func (s *Service) update(ctx context.Context, doing string, fn func(tx *store.Tx) error) error {
	err := s.db.Update(ctx, fn)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrConflict):
		f := fault.New("Conflict", http.StatusConflict, "Too many concurrent changes while %s; try again.", doing)
		return fmt.Errorf("%w (%w)", f, err)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrClosed):
		f := fault.Unavailable("The store is unavailable while %s.", doing)
		return fmt.Errorf("%w (%w)", f, err)
	case errors.Is(err, store.ErrTooLarge):
		f := fault.HTTPBadRequest("The request is too large to be carried out at once; split it.")
		return fmt.Errorf("%w (%w)", f, err)
	}
	return err
}

// stamp fills the standard attributes of a new row.
func (s *Service) stamp(m *model.Meta) {
	now := s.now()
	m.Revision, m.CreatedAt, m.UpdatedAt = 1, now, now
}

// bump marks a row as changed.
func (s *Service) bump(m *model.Meta) {
	m.Revision++
	m.UpdatedAt = s.now()
}
