// Package hostapi is what an agent tells and does for people and programs on its own
// host: JSON over HTTP on a unix socket. "neutrino vif" and "neutrino vf" are its
// clients.
//
//	GET    /v1/vfs                    every VF, with its port, attributes and counters
//	GET    /v1/ports                  every port of the host
//	GET    /v1/vifs                   what is plugged
//	POST   /v1/vifs                   plug a port
//	DELETE /v1/vifs/PORT?generation=N unplug it
//
// Only root, the agent's own user and members of the socket's group are served: the
// kernel says who the peer is (SO_PEERCRED, unix(7)).
//
// The package owns the protocol, its client and who may speak it. It never changes a
// host by itself: internal/plug does.
package hostapi
