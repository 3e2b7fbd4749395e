// Package config reads the option files operators already have (neutron.conf,
// ml2_conf.ini, mlnx_conf.ini, sriov_agent.ini, ...) into typed options.
//
// It owns the declaration of every option as data ([Options]): name, type, default,
// what is allowed, old names, who reads it, and whether neutrino acts on it. From
// that one table come parsing, error texts, the listing of `neutrino config options`,
// the commented example files in etc/, and the report at start of options that are
// known but not acted on.
//
// It never opens anything but the files it is given, keeps no global state and
// imports nothing else of neutrino. [Load] never panics and reports every error of
// all files together, each with file, line, section, option and value.
//
// # Why an own scanner
//
// The rules are oslo.config's: `key = value` and `key: value`, continuation lines,
// a blank line that ends a value, sections whose case does not matter except
// [DEFAULT], values in quotes, the same key several times, `$other_option`.
// gopkg.in/ini.v1 knows neither the line an option stands on nor what it found after
// the value, and folds continuation lines in another way; so the scanner here is a
// small one of our own (scan.go), with a fuzz target, compared in a test with
// oslo.config itself where that is installed.
//
// Three liberties are taken where oslo.config would fail or would silently take
// something else for the value. Each is reported as a [Warning]: a remark after a
// value (`vnic_type = hostdev  # SR-IOV`), a block that is indented as a whole (as
// guides print it), and a remark after a section's name.
package config
