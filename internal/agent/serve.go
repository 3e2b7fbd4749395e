package agent

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"neutrino/internal/model"
)

// saveGap bounds how often the networks are written: what a DHCP server needs to start
// without a controller may lag by this much.
const saveGap = time.Second

// dhcpWorker keeps the DHCP server and the file at the desired networks. One goroutine
// runs it.
type dhcpWorker struct {
	server  DHCPServer
	table   *table
	state   *stateFile
	moved   <-chan struct{} // a VF came or went
	log     *slog.Logger
	written map[string]*model.DHCPNetwork
	served  map[string]*model.DHCPNetwork
	fails   int
}

func (w *dhcpWorker) run(ctx context.Context) {
	retry, save := time.NewTimer(0), time.NewTimer(saveGap)
	defer retry.Stop()
	defer save.Stop()
	for {
		force := false
		select {
		case <-ctx.Done():
			w.save()
			return
		case <-w.table.networks:
		case <-w.moved:
			force = true
		case <-retry.C:
			force = true
		case <-save.C:
			if !w.save() {
				save.Reset(10 * saveGap)
			}
			continue
		}
		view := w.table.get()
		if !view.Known || (!force && w.fails == 0 && w.served != nil && maps.Equal(w.served, view.Networks)) {
			continue
		}
		if !maps.Equal(w.written, view.Networks) {
			save.Reset(saveGap)
		}
		if err := w.server.Set(ctx, view.networkList()); err != nil {
			if ctx.Err() != nil {
				continue
			}
			w.fails++
			w.log.Warn("DHCP server is not as asked", "networks", len(view.Networks), "error", err, "tries", w.fails)
			retry.Reset(backoff(w.fails, firstRetry, lastRetry))
			continue
		}
		w.fails, w.served = 0, view.Networks
	}
}

// save writes what changed; it reports whether the file is current.
func (w *dhcpWorker) save() bool {
	view := w.table.get()
	if !view.Known || maps.Equal(w.written, view.Networks) {
		return true
	}
	if err := w.state.recordNetworks(w.written, view.Networks); err != nil {
		w.log.Error("cannot record the DHCP networks", "error", err)
		return false
	}
	w.written = view.Networks
	return true
}
