package quell

import "time"

// Changes tells what has changed in the store, in the order in which it did.
type Changes struct {
	// Reset says that all that was told before counts no more: what is stored
	// now follows.
	Reset bool
	Jobs  []JobChange
	Nodes []NodeChange
	// Revision is up to which everything has been told; 0: more of a full
	// read is to come.
	Revision int64
	// Fresh is a moment at which nothing was stored beyond Revision; zero
	// where that is not known.
	Fresh time.Time
}

// JobChange is a change of one of a job's keys, or, in a full read, what is
// stored there. One of the parts is told of; all are nil where the key that
// Gone names was deleted.
type JobChange struct {
	ID       string
	Revision int64
	Spec     *Spec
	State    *State
	Progress *Progress
	Intent   *StoredIntent
	Gone     JobPart
}

// JobPart names a key of a job.
type JobPart string

// The keys of a job that changes are told of.
const (
	PartSpec     JobPart = "spec"
	PartState    JobPart = "status"
	PartProgress JobPart = "progress"
	PartIntent   JobPart = "abort"
)

// NodeChange is a change of a node's registration.
type NodeChange struct {
	Name     string
	Revision int64
	Info     *NodeInfo // nil: it is gone
}

// StoredTemplate is a job template as it was read.
type StoredTemplate struct {
	Template Template
	Revision int64 // its mod revision
}
