// Package quell is the domain of Quell: job templates, jobs, their statuses,
// abort intents, and the protocol that says what each status does with each
// intent.
//
// It promises that every decision about an abort is a pure function of values
// that its callers read from the store. It refuses to know how those values
// are stored, how a playbook is run, or what time it is; it imports the
// standard library alone and does no I/O.
//
// Read status.go, intent.go, protocol.go and life.go, in this order, to know
// what an abort does.
package quell
