package neutron

import (
	"reflect"
	"sync"
)

// merger turns several watch channels into one and owns the goroutines that do it.
type merger struct {
	mu     sync.Mutex
	closed bool
	done   chan struct{}
	wg     sync.WaitGroup
}

// closedChan is what a closed merger answers: whoever asks again finds the store closed.
var closedChan = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// any returns a channel that closes when one of the channels does, or when the merger is
// closed. Nil channels never fire.
func (m *merger) any(channels ...<-chan struct{}) <-chan struct{} {
	cases := make([]reflect.SelectCase, 0, len(channels)+1)
	var last <-chan struct{}
	for _, c := range channels {
		select {
		case <-c:
			return c
		default:
		}
		if c != nil {
			last = c
			cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)})
		}
	}
	if len(cases) == 1 {
		return last
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return closedChan
	}
	out := make(chan struct{})
	cases = append(cases, reflect.SelectCase{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(m.done)})
	m.wg.Go(func() {
		defer close(out)
		reflect.Select(cases)
	})
	return out
}

func (m *merger) close() {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		close(m.done)
	}
	m.mu.Unlock()
	m.wg.Wait()
}
