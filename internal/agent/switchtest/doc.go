// Package switchtest is an embedded switch in memory for tests of what sits above
// eswitch.Switch: it keeps to that interface's rules, can lack attributes, and fails,
// lies or hangs where it is told to.
//
// It owns no device and is linked into tests only.
package switchtest
