package libvirt

import (
	"context"
	"errors"
	"testing"
	"time"

	rpc "github.com/digitalocean/go-libvirt"
)

func TestWaitingForAGuestEndsWithItsAnswer(t *testing.T) {
	ours, others := rpc.Domain{UUID: rpc.UUID{1}}, rpc.Domain{UUID: rpc.UUID{2}}
	removed := func(d rpc.Domain) any {
		return &rpc.DomainEventCallbackDeviceRemovedMsg{Msg: rpc.DomainEventDeviceRemovedMsg{Dom: d, DevAlias: "ua-x"}}
	}
	refused := func(d rpc.Domain, alias string) any {
		return &rpc.DomainEventCallbackDeviceRemovalFailedMsg{Dom: d, DevAlias: alias}
	}
	ended := func(d rpc.Domain) any {
		return &rpc.DomainEventCallbackLifecycleMsg{Msg: rpc.DomainEventLifecycleMsg{Dom: d, Event: int32(rpc.DomainEventStopped)}}
	}
	for name, c := range map[string]struct {
		say  []any // nil: the connection breaks
		want error
	}{
		"removed":             {[]any{removed(others), removed(ours)}, nil},
		"refused":             {[]any{refused(ours, "ua-y"), refused(others, "ua-x"), refused(ours, "ua-x")}, ErrStillAttached},
		"the domain has gone": {[]any{ended(others), ended(ours)}, nil},
		"connection broken":   {[]any{removed(others), nil}, ErrUnavailable},
		"silence":             {nil, context.DeadlineExceeded},
	} {
		limit := time.Minute
		if errors.Is(c.want, context.DeadlineExceeded) {
			limit = 200 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		say := [3]chan any{make(chan any), make(chan any), make(chan any)}
		told := make(chan struct{})
		go func() {
			defer close(told)
			for _, e := range c.say {
				switch e.(type) {
				case *rpc.DomainEventCallbackDeviceRemovedMsg:
					say[0] <- e
				case *rpc.DomainEventCallbackDeviceRemovalFailedMsg:
					say[1] <- e
				case *rpc.DomainEventCallbackLifecycleMsg:
					say[2] <- e
				default:
					close(say[2])
				}
			}
		}()
		u := unplug{s: &session{ctx: ctx}, alias: "ua-x", asked: true, pause: time.Hour, removed: say[0], refused: say[1], lives: say[2]}
		if err := u.wait(ours); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		<-told
		cancel()
	}
}

func TestAnswersOfLibvirtAreJudged(t *testing.T) {
	const end = -1
	for _, c := range []struct {
		code        rpc.ErrorNumber
		text        string
		first, then time.Duration
	}{
		{rpc.ErrInternalError, "unable to execute QEMU command 'device_del': Device ua-x is already in the process of unplug", 7, 7},
		{rpc.ErrInternalError, "unable to execute QEMU command 'device_del': Hot-unplug failed: guest is busy (power indicator blinking)", 7, 7},
		{rpc.ErrOperationTimeout, "cannot acquire state change lock", busyPause, busyPause},
		{rpc.ErrDeviceMissing, "device not found", 0, end},
		{rpc.ErrInternalError, "no device found with alias ua-x", 0, end},
		{rpc.ErrOperationInvalid, "domain is not running", 0, end},
		{rpc.ErrInternalError, "unable to execute QEMU command 'device_del': Bus 'pcie.0' does not support hotplugging", 0, end},
		{rpc.ErrNoDomain, "no domain", end, end},
	} {
		u, odd := unplug{s: &session{ctx: t.Context()}}, false
		said := rpc.Error{Code: uint32(c.code), Message: c.text}
		for _, want := range []time.Duration{c.first, c.then} {
			u.pause = 7
			err := u.judge(said, &odd)
			if (err != nil) != (want == end) || (err == nil && (u.pause != want || u.why == nil)) {
				t.Errorf("%s: %v, pause %v, why %v", c.text, err, u.pause, u.why)
			}
			if c.code == rpc.ErrNoDomain && !errors.Is(err, ErrNoDomain) {
				t.Error(err)
			}
		}
		if err := u.judge(nil, &odd); err != nil || odd {
			t.Error("after a success:", err, odd)
		}
	}
}
