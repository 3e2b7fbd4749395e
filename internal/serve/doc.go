// Package serve is what both processes offer to whoever watches them: Prometheus
// metrics, /healthz and /readyz, and HTTP servers that end when their context ends.
//
// It knows nothing of networks or NICs.
package serve
