package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrConflict is returned when a transaction met other writers' changes too often,
	// or claims what its own view says is somebody else's. Nothing was written.
	ErrConflict = errors.New("store: conflicting change")
	// ErrUnavailable is returned when etcd does not answer, has no leader, is out of
	// space or refuses us. Whether a write that met it took place is not known.
	ErrUnavailable = errors.New("store: etcd is not available")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store: closed")
	// ErrTooLarge is returned for a transaction beyond what etcd takes at once. Nothing
	// was written.
	ErrTooLarge = errors.New("store: transaction too large")
	// ErrLeaseGone is returned for a lease that expired or was revoked.
	ErrLeaseGone = errors.New("store: lease is gone")
	// ErrInvalid is returned for names, keys and rows that cannot be stored. Nothing was
	// written.
	ErrInvalid = errors.New("store: invalid")
)

// ClaimedError says whose a claim is that a transaction wanted. It is an ErrConflict.
type ClaimedError struct {
	Kind, Key, Owner string
}

// Error names the claim and its owner.
func (e *ClaimedError) Error() string {
	return fmt.Sprintf("store: %s %s is claimed by %s", e.Kind, e.Key, e.Owner)
}

// Is makes a ClaimedError an ErrConflict.
func (e *ClaimedError) Is(target error) bool { return target == ErrConflict }

// classify gives an error of the etcd client the sentinel that callers act on, and keeps
// the original in the chain.
func classify(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrLeaseNotFound), is(err, rpctypes.ErrGRPCLeaseNotFound):
		return fmt.Errorf("%s: %w", doing, ErrLeaseGone)
	case is(err, rpctypes.ErrGRPCTooManyOps), is(err, rpctypes.ErrGRPCRequestTooLarge), tooLongToSend(err):
		return fmt.Errorf("%s: %w: %w", doing, ErrTooLarge, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: no answer in time: %w", doing, ErrUnavailable, err)
	default:
		return fmt.Errorf("%s: %w: %w", doing, ErrUnavailable, err)
	}
}

// is compares by gRPC code and description, which is all that survives the wire.
func is(err, want error) bool {
	have := rpctypes.Error(err)
	if errors.Is(have, rpctypes.Error(want)) {
		return true
	}
	s, ok := status.FromError(err)
	w, wok := status.FromError(want)
	return ok && wok && s.Code() == w.Code() && s.Message() == w.Message() && s.Code() != codes.OK
}

// tooLongToSend recognises gRPC's own limit on our side of the wire.
func tooLongToSend(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), "larger than max")
}

func outOfSpace(err error) bool { return is(err, rpctypes.ErrGRPCNoSpace) }

func compacted(err error) bool { return is(err, rpctypes.ErrGRPCCompacted) }
