package quell

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Sizes of a job's values in etcd, in bytes (design: Keys in etcd).
const (
	MaxSpecSize     = 1 << 20
	MaxStateSize    = 64 << 10
	MaxProgressSize = 4 << 10
	MaxOutputSize   = 1 << 20
)

// FormatVersion is written into every value; a reader refuses a higher one.
const FormatVersion = 1

// Spec is what a job was asked to do. It is written once.
type Spec struct {
	Version  int      `json:"version"`
	ID       string   `json:"job_execution_id"`
	Template Template `json:"template"` // a snapshot
	// TemplateRevision is the template's mod revision then; 0: not known.
	TemplateRevision int64           `json:"job_template_revision,omitempty"`
	Input            json.RawMessage `json:"input"`
	Params           Params          `json:"params,omitzero"`
	Requester        string          `json:"requester,omitempty"`
	CreatedAt        time.Time       `json:"created_at"`
	// Timeouts of the request; they win over those of the template.
	Timeout         Duration `json:"timeout,omitzero"`
	PlaybookTimeout Duration `json:"playbook_timeout,omitzero"`
	QueueTimeout    Duration `json:"queue_timeout,omitzero"`
	OnLock          OnLock   `json:"on_lock,omitempty"`
	ResumedFrom     string   `json:"resumed_from,omitempty"` // the job whose work this one goes on with
	RerunOf         string   `json:"rerun_of,omitempty"`     // the job of which this one is a repetition
}

// OnLock says what becomes of a job whose locks another job holds.
type OnLock string

// What becomes of it. Empty is the same as wait.
const (
	OnLockWait OnLock = "wait" // it stays QUEUED until it is its turn
	OnLockFail OnLock = "fail" // it fails, as in Contrail
)

// Params are a job's parameters beside its input.
type Params struct {
	DeviceList []string `json:"device_list,omitempty"`
	// TransactionID groups jobs; empty: the job's own id.
	TransactionID    string `json:"transaction_id,omitempty"`
	TransactionDescr string `json:"transaction_descr,omitempty"`
}

// Transaction is the id of the group of jobs that this one belongs to.
func (s Spec) Transaction() string { return cmp.Or(s.Params.TransactionID, s.ID) }

// State is a job's status key: all that changes by transitions.
type State struct {
	Version    int             `json:"version"`
	Status     Status          `json:"status"`
	Reason     string          `json:"reason,omitempty"`
	Node       string          `json:"node,omitempty"`
	Percentage float64         `json:"percentage_completed"`
	Playbooks  []PlaybookState `json:"playbooks"`
	Recovery   []PlaybookState `json:"recovery,omitempty"`
	// Devices are those of the job, in the order in which they turned up; nil
	// where it was never given any. One keeps its place.
	Devices []Device `json:"devices,omitzero"`
	// Locks are what the job wants for itself alone; nil: nothing.
	Locks *LockScope   `json:"locks,omitempty"`
	Abort *AbortRecord `json:"abort,omitempty"`
	// Outcome is the final status to come, decided when recovery begins.
	Outcome Status `json:"outcome,omitempty"`
	// Fault is why the job cannot go on where no playbook's end says it: a
	// time limit, a playbook that is missing. What runs then is killed.
	Fault string `json:"fault,omitempty"`
	// Survivors are what the kill for a time limit or a fault has not brought
	// down yet; those of an abort's kill are in its record.
	Survivors []Process `json:"survivors,omitempty"`
	// EarlyExit: a playbook's output asks to end the job well after it.
	EarlyExit bool `json:"early_exit,omitempty"`
	// Warnings are why a job that ends well ends as WARNING.
	Warnings []string `json:"warnings,omitempty"`
	// NoRecoveryOn are the ends after which recovery playbooks do not run.
	NoRecoveryOn []RecoveryCase `json:"no_recovery_on,omitempty"`
	StartedAt    *time.Time     `json:"started_at,omitempty"` // the first playbook's begin
	EndedAt      *time.Time     `json:"ended_at,omitempty"`
}

// RecoveryCase is an end of a job after which recovery playbooks may run.
type RecoveryCase string

// The cases.
const (
	RecoveryOnFailure  RecoveryCase = "failure"
	RecoveryOnForce    RecoveryCase = "force"
	RecoveryOnGraceful RecoveryCase = "graceful"
)

// PlaybookState is the state of one playbook of a job.
type PlaybookState struct {
	URI      string         `json:"playbook_uri"` // or the executable
	Status   PlaybookStatus `json:"status"`
	ExitCode *int           `json:"exit_code,omitempty"`
	Signal   string         `json:"signal,omitempty"` // such as KILL
	Error    string         `json:"error,omitempty"`
	// MultiDevice: there is a run for each device. While it goes on, ExitCode,
	// Signal and Error are those of the first that failed; Error says so in
	// the end, too.
	MultiDevice bool `json:"multi_device,omitempty"`
	Unabortable bool `json:"unabortable,omitempty"`
	// Try counts the repetitions that the playbook's output asked for, and
	// RetriesLeft those that it may still ask for.
	Try         int `json:"try,omitempty"`
	RetriesLeft int `json:"retries_left,omitempty"`
	// Letters has a letter for each device while the playbook goes on with
	// them: as in Device, and '.' where the playbook does not concern it. A
	// small letter says that a run asked for a repetition on this device.
	Letters string      `json:"device_states,omitempty"`
	Runs    []DeviceRun `json:"device_runs,omitempty"` // in progress
	// Counts of the devices whose run ended well and badly, once it has ended.
	Succeeded int `json:"devices_succeeded,omitempty"`
	Failed    int `json:"devices_failed,omitempty"`
	// From is the job in which the playbook ended, where that one was resumed.
	From string `json:"from,omitempty"`
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

// DeviceRun is a run in progress of a playbook on one device.
type DeviceRun struct {
	Device  int       `json:"device"` // its place in the job's devices, from 1
	BegunAt time.Time `json:"begun_at"`
	Started bool      `json:"started,omitempty"` // its process has been
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
	Progress      *Progress       // nil: none stored
	Output        json.RawMessage // an object; nil: its playbooks gave nothing back yet
	ResumedAs     string          // the job that goes on with this one's work
	Intent        *StoredIntent
	SpecRevision  int64 // the spec's create revision: the job's age
	StateRevision int64 // the status' mod revision
	Token         int64 // the mod revision of the /active key; 0: the job is final
	ActiveNode    string
	Attempt       int
}

// NewState is the state of a job that has just been accepted.
func NewState(spec Spec) State {
	t := spec.Template
	return State{
		Version: FormatVersion, Status: StatusQueued,
		Playbooks: newPlaybooks(t.Playbooks), Recovery: newPlaybooks(t.RecoveryPlaybooks),
		Devices: newDevices(spec.Params.DeviceList), Locks: newLockScope(spec), NoRecoveryOn: t.Recovery.excluded(),
	}
}

// Check says what is wrong with what a job is asked to do, if anything:
// devices that are missing or are not names, a status that would not fit, an
// input that no playbook can be given.
func (s Spec) Check() error {
	if err := CheckDeviceIDs(s.Params.DeviceList); err != nil {
		return err
	}
	state := NewState(s)
	if state.Locks != nil && len(state.Locks.Fabric) > maxFabric {
		return Errorf(CodeInvalid, "the fabric_fq_name %q is longer than %d bytes", excerpt(state.Locks.Fabric), maxFabric)
	}
	// The devices of a first playbook can come from nowhere else.
	if p := s.Template.Playbooks; len(p) > 0 && p[0].MultiDevice && len(s.Params.DeviceList) == 0 {
		return Errorf(CodeInvalid, "the job template %s runs %s once for each device: give params.device_list", s.Template.FQName, excerpt(p[0].Name()))
	}
	for _, text := range []string{s.Params.TransactionID, s.Params.TransactionDescr} {
		if len(text) > maxTransaction || !utf8.ValidString(text) {
			return Errorf(CodeInvalid, "the transaction_id or transaction_descr %q is longer than %d bytes or no UTF-8", excerpt(text), maxTransaction)
		}
	}
	if id := s.Params.TransactionID; id == "." || id == ".." || strings.ContainsFunc(id, func(r rune) bool { return unicode.IsControl(r) || r == '/' }) {
		return Errorf(CodeInvalid, "the transaction_id %q is '.' or '..', or holds a '/' or a control character", excerpt(id))
	}
	if err := CheckVariables(s.Input); err != nil {
		return Errorf(CodeInvalid, "the input cannot be handed to playbooks: %w", err)
	}
	return state.checkSize(state.Devices)
}

const (
	maxFabric      = 256
	maxTransaction = 1024
)

func newPlaybooks(list []Playbook) []PlaybookState {
	var states []PlaybookState
	for _, p := range list {
		retries := DefaultRetries
		if p.MaxRetries != nil {
			retries = *p.MaxRetries
		}
		states = append(states, PlaybookState{
			URI: p.Name(), Status: PlaybookPending, MultiDevice: p.MultiDevice, Unabortable: !p.MayKill(), RetriesLeft: retries,
		})
	}
	return states
}

func (p RecoveryPolicy) excluded() []RecoveryCase {
	var list []RecoveryCase
	for _, c := range []struct {
		runs *bool
		name RecoveryCase
	}{{p.OnFailure, RecoveryOnFailure}, {p.OnForce, RecoveryOnForce}, {p.OnGraceful, RecoveryOnGraceful}} {
		if c.runs != nil && !*c.runs {
			list = append(list, c.name)
		}
	}
	return list
}

// Output is a job's output key: what its playbooks gave back.
type Output struct {
	Version int             `json:"version"`
	Output  json.RawMessage `json:"output"` // an object
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
