// Package rpc is the language between controllers and agents: the protobuf messages
// of neutrino.fabric.v1 (fabricv1, with its Connect code), and their conversion to and
// from internal/model.
//
// Conversion from the wire validates every field and says which one is wrong; nothing
// that arrives is trusted to be sane because a peer of ours sent it. Conversion to the
// wire never fails: senders that want to know beforehand use the Check functions.
//
// The package owns no connection and keeps no state. Code under fabricv1 is generated
// from neutrino/fabric/v1/fabric.proto by the go:generate line below (Go alone is
// needed: buf is pinned in tools/proto, its plugins come from the product's go.mod).
package rpc

//go:generate go tool -modfile=../../tools/proto/go.mod buf generate
//go:generate go tool -modfile=../../tools/proto/go.mod buf lint
