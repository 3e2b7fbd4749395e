// Package controller assembles the controller process from the configuration files:
// the store, the drivers, the operations, the API with its authentication, and the
// fabric that agents connect to.
//
// It owns the wiring and the order of start and stop, and nothing else.
package controller
