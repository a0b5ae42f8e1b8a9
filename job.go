package quell

import (
	"encoding/json"
	"fmt"
	"time"
)

// Sizes of a job's values in etcd, in bytes (design: Keys in etcd).
const (
	MaxSpecSize     = 1 << 20
	MaxStateSize    = 64 << 10
	MaxProgressSize = 4 << 10
)

// FormatVersion is written into every value; a reader refuses a higher one.
const FormatVersion = 1

// Spec is what a job was asked to do. It is written once.
type Spec struct {
	Version   int             `json:"version"`
	ID        string          `json:"job_execution_id"`
	Template  Template        `json:"template"` // a snapshot
	Input     json.RawMessage `json:"input"`
	Params    Params          `json:"params,omitzero"`
	Requester string          `json:"requester,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
}

// Params are a job's parameters beside its input.
type Params struct {
	DeviceList []string `json:"device_list,omitempty"`
}

// State is a job's status key: all that changes by transitions.
type State struct {
	Version    int             `json:"version"`
	Status     Status          `json:"status"`
	Reason     string          `json:"reason,omitempty"`
	Node       string          `json:"node,omitempty"`
	Percentage float64         `json:"percentage_completed"`
	Playbooks  []PlaybookState `json:"playbooks"`
	Recovery   []PlaybookState `json:"recovery,omitempty"`
	Abort      *AbortRecord    `json:"abort,omitempty"`
	// Outcome is the final status to come, decided when recovery begins.
	Outcome   Status     `json:"outcome,omitempty"`
	StartedAt *time.Time `json:"started_at,omitempty"` // the first playbook's begin
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// PlaybookState is the state of one playbook of a job.
type PlaybookState struct {
	URI      string         `json:"playbook_uri"`
	Status   PlaybookStatus `json:"status"`
	ExitCode *int           `json:"exit_code,omitempty"`
	Signal   string         `json:"signal,omitempty"` // such as KILL
	Error    string         `json:"error,omitempty"`
	// Leftovers are processes that were still there when the main one had
	// ended, and were killed; LeftoverCount counts those not listed, too.
	Leftovers     []Process `json:"leftovers,omitempty"`
	LeftoverCount int       `json:"leftover_count,omitempty"`
	// BegunAt is when the transition that allows the start was made; the
	// process itself was started at StartedAt.
	BegunAt   *time.Time `json:"begun_at,omitempty"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
}

// Process names a process of a run. Its arguments are left out, since they
// may hold secrets.
type Process struct {
	PID     int    `json:"pid"`
	Command string `json:"command"`
	State   string `json:"state,omitempty"` // as in /proc/<pid>/stat: D waits in the kernel
}

// AbortRecord is what became of an abort (design: What users type).
type AbortRecord struct {
	Mode        Mode         `json:"mode,omitempty"`
	Source      Source       `json:"source,omitempty"`
	RequestedBy string       `json:"requested_by,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	RequestedAt *time.Time   `json:"requested_at,omitempty"`
	ForceAfter  Duration     `json:"force_after,omitzero"`
	ForceAt     *time.Time   `json:"force_at,omitempty"` // when a graceful one turns to force
	NoRecovery  bool         `json:"no_recovery,omitempty"`
	Override    bool         `json:"override,omitempty"`
	SeenAt      *time.Time   `json:"seen_at,omitempty"`      // by whoever acts on it
	EscalatedAt *time.Time   `json:"escalated_at,omitempty"` // a graceful one turned to force
	SignalledAt *time.Time   `json:"signalled_at,omitempty"` // the kill was made
	DeadAt      *time.Time   `json:"dead_at,omitempty"`      // nothing of the run is left
	Survivors   []Process    `json:"survivors,omitempty"`    // what could not be killed yet
	Outcome     AbortOutcome `json:"outcome,omitempty"`
	Error       string       `json:"error,omitempty"` // why the intent is not acted on
	// Own says that the job's own key was part of what was asked for, so that
	// deleting that key withdraws it.
	Own bool `json:"own_key,omitempty"`
}

// AbortOutcome says how an abort ended.
type AbortOutcome string

// The outcomes; empty while it is not known.
const (
	OutcomeAborted       AbortOutcome = "aborted"        // the abort ended the job
	OutcomeFinishedFirst AbortOutcome = "finished_first" // the job ended by itself before it took effect
	OutcomeWithdrawn     AbortOutcome = "withdrawn"      // its key was deleted before it took effect
	OutcomeAlreadyFinal  AbortOutcome = "already_final"  // the job was final when it came
	// OutcomeRecoveryStopped: the job had failed by itself, and the abort kept
	// its recovery playbooks from running to their end.
	OutcomeRecoveryStopped AbortOutcome = "recovery_stopped"
)

// Progress is a job's progress key.
type Progress struct {
	Percentage float64  `json:"percentage_completed"`
	Tasks      []string `json:"current_tasks,omitempty"`
}

// Job is one job as it was read from the store.
type Job struct {
	Spec          Spec
	State         State
	Progress      *Progress // nil: none stored
	Intent        *StoredIntent
	SpecRevision  int64 // the spec's create revision: the job's age
	StateRevision int64 // the status' mod revision
	Token         int64 // the mod revision of the /active key; 0: the job is final
	ActiveNode    string
	Attempt       int
}

// NewState is the state of a job that has just been accepted.
func NewState(t Template) State {
	s := State{Version: FormatVersion, Status: StatusQueued}
	for _, p := range t.Playbooks {
		s.Playbooks = append(s.Playbooks, PlaybookState{URI: p.URI, Status: PlaybookPending})
	}
	for _, p := range t.RecoveryPlaybooks {
		s.Recovery = append(s.Recovery, PlaybookState{URI: p.URI, Status: PlaybookPending})
	}
	return s
}

// NodeInfo is what an agent tells of its node.
type NodeInfo struct {
	Version  int               `json:"version"`
	Node     string            `json:"node"`
	Address  string            `json:"address"` // the URL at which the agent serves logs
	Release  string            `json:"release"` // of the agent
	Labels   map[string]string `json:"labels,omitempty"`
	Capacity int               `json:"capacity"` // jobs at once
	Instance string            `json:"instance"` // the agent's data folder, for life
}

// Node is a registered node.
type Node struct {
	Info     NodeInfo
	Revision int64 // the info's create revision
}

// Active is the /active key of a job.
type Active struct {
	Node    string `json:"node,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
}

// ActiveJob is one entry of the list of jobs that are not final.
type ActiveJob struct {
	ID           string
	Active       Active
	SpecRevision int64 // the key is made together with the spec
	Token        int64
}

// CheckNodeName says what is wrong with a node's name, if anything.
func CheckNodeName(name string) error {
	if name == "" || len(name) > 253 {
		return Errorf(CodeInvalid, "the node name %q is empty or longer than 253 bytes", excerpt(name))
	}
	for _, r := range name {
		if r <= ' ' || r == '/' || r == 0x7f {
			return Errorf(CodeInvalid, "the node name %q holds a '/', a space or a control character", excerpt(name))
		}
	}
	return nil
}

// CheckVersion refuses a value that a newer release wrote.
func CheckVersion(key string, version int) error {
	if version > FormatVersion {
		return fmt.Errorf("%s has format version %d, this release reads up to %d: upgrade it", key, version, FormatVersion)
	}
	return nil
}
