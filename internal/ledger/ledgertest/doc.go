// Package ledgertest holds trees of files against each other, for tests of what is undone: contents, modes,
// owners, times, links, an extended attribute.
//
// [Dies] ends what is tested at a point of it, as a crash does. It is for tests only, and changes nothing.
package ledgertest
