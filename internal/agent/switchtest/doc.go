// Package switchtest is an embedded switch in memory for tests of what sits above
// eswitch.Switch: it keeps to that interface's rules (attributes that a driver lacks are
// Unsupported, a failed change may be half done, events carry no truth), and it fails,
// lies, goes blind or is changed from outside where a test tells it to.
//
// It owns its VFs and nothing else: it never touches a device, never runs a goroutine,
// and is linked into tests only. What a real NIC does is shown by the tests on
// eswitch/veb.
package switchtest
