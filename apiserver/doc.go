// Package apiserver is Quell's HTTP interface: routes, payloads, and errors
// turned into statuses.
//
// It promises that a request is checked whole before anything of it is
// written, that an answer never hides what may have been written (504 with
// the ids in doubt), that 503 means that nothing was, and that no request
// hangs because the store does. Every error is a problem document (RFC 9457).
//
// What it keeps in memory is a copy of the store's: a summary of every job,
// from which lists and events come (docs/architecture.md). Any number of
// servers can run side by side. It refuses to know how the store keeps jobs
// and how they are run: the store is the small interface in store.go, a node
// is an URL to fetch a log from.
package apiserver
