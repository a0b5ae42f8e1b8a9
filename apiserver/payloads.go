package apiserver

import (
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quell"
)

// Headers of answers.
const (
	headerCacheAge = "X-Quell-Cache-Age" // seconds since the cache was last proved to be fresh
	headerRevision = "X-Quell-Revision"  // of the store, after a write
	headerLogSize  = "X-Quell-Log-Size"  // bytes that the log had when the answer began
)

const problemType = "application/problem+json"

// summaryBody is a job as lists and events have it: small, whatever its input.
type summaryBody struct {
	ID               string       `json:"job_execution_id"`
	Template         quell.FQName `json:"job_template_fq_name"`
	DisplayName      string       `json:"display_name"`
	Status           quell.Status `json:"status" enum:"QUEUED,STARTING,IN_PROGRESS,ABORTING,RECOVERING,SUCCESS,WARNING,FAILURE,ABORTED,LOST"`
	Reason           string       `json:"reason"`
	Node             string       `json:"node" doc:"Empty until the job has one."`
	UnreachableSince *time.Time   `json:"unreachable_since" doc:"Since when the job's node is out of reach, for a job that is not final."`
	Fabric           *string      `json:"fabric_fq_name"`
	DeviceIDs        []string     `json:"device_ids" doc:"The first of the devices; device_count has them all."`
	DeviceCount      int          `json:"device_count"`
	TransactionID    string       `json:"transaction_id" doc:"The group of jobs that it belongs to: its own id where its request named none."`
	TransactionDescr *string      `json:"transaction_descr"`
	ResumedFrom      *string      `json:"resumed_from" doc:"The job whose work it goes on with."`
	Requester        string       `json:"requester"`
	Percentage       float64      `json:"percentage_completed"`
	CurrentTasks     []string     `json:"current_tasks"`
	CreatedAt        time.Time    `json:"created_at"`
	StartedAt        *time.Time   `json:"started_at"`
	EndedAt          *time.Time   `json:"ended_at"`
	Abort            *abortBrief  `json:"abort" doc:"Null where nobody wanted the job aborted."`
	Revision         int64        `json:"revision" doc:"Of the store, when the job last changed."`
	Deleted          bool         `json:"deleted,omitempty" doc:"In events alone: the job's retention has passed."`

	devices []uint64 // hashes of the device ids, for the filter
}

// TransformSchema is for huma.
func (summaryBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "abort")
}

// abortBrief is the abort record in short.
type abortBrief struct {
	Mode        quell.Mode         `json:"mode" enum:"graceful,force," doc:"Empty where the intent cannot be read: see error."`
	Source      quell.Source       `json:"source" enum:"api,cli,web,etcdctl,local,"`
	RequestedBy string             `json:"requested_by"`
	RequestedAt *time.Time         `json:"requested_at"`
	SeenAt      *time.Time         `json:"seen_at" doc:"Null until whoever acts on it has seen it."`
	Outcome     quell.AbortOutcome `json:"outcome" enum:"aborted,finished_first,withdrawn,already_final,recovery_stopped," doc:"Empty while it is not known."`
	Error       string             `json:"error"`
}

// jobList is the answer of GET /v1/jobs.
type jobList struct {
	Jobs       []*summaryBody `json:"jobs"`
	NextCursor string         `json:"next_cursor" doc:"Empty: that was all."`
	Revision   int64          `json:"revision" doc:"Of the store, up to which the list is complete. As Last-Event-ID of /v1/events it goes on from here."`
}

// intentShown is an abort intent as it is stored.
type intentShown struct {
	Mode        quell.Mode   `json:"mode" enum:"graceful,force"`
	RequestedBy string       `json:"requested_by"`
	Source      quell.Source `json:"source" enum:"api,cli,web,etcdctl,local,"`
	Reason      string       `json:"reason"`
	RequestedAt *time.Time   `json:"requested_at"`
	ForceAfter  string       `json:"force_after" doc:"Such as 5m0s; empty: never." example:"5m0s"`
	Recovery    bool         `json:"recovery"`
	Override    bool         `json:"override"`
}

// putAbortBody is the body of PUT /v1/jobs/{id}/abort.
type putAbortBody struct {
	Mode       quell.Mode `json:"mode" enum:"graceful,force"`
	Reason     string     `json:"reason,omitempty" doc:"Longer ones are cut at 1024 bytes."`
	ForceAfter string     `json:"force_after,omitempty" doc:"A graceful abort turns to force this long after it was first seen." example:"5m"`
	Recovery   bool       `json:"recovery,omitempty" default:"true" doc:"false: the recovery playbooks are skipped."`
	Override   bool       `json:"override,omitempty" doc:"Kill even a playbook that is not abortable."`
}

// putAbortAnswer is what became of a PUT.
type putAbortAnswer struct {
	ID      string       `json:"job_execution_id"`
	Outcome outcome      `json:"outcome" enum:"accepted,already_aborting,already_final" doc:"accepted: the intent is stored. What becomes of the job its record tells."`
	Status  quell.Status `json:"status" doc:"Of the job when the intent was stored."`
	Final   bool         `json:"final"`
	Intent  *intentShown `json:"intent" doc:"What now holds for the job; null where it was final before any abort."`
	// WaitsFor is why a force abort cannot be carried out at once.
	WaitsFor string `json:"waits_for,omitempty" doc:"Why the abort that now holds has to wait: a playbook that must not be interrupted."`
	DryRun   bool   `json:"dry_run,omitempty"`
}

// TransformSchema is for huma.
func (putAbortAnswer) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "intent")
}

// abortResource is the answer of GET and DELETE /v1/jobs/{id}/abort.
type abortResource struct {
	ID          string       `json:"job_execution_id"`
	Status      quell.Status `json:"status"`
	Final       bool         `json:"final"`
	Intent      *intentShown `json:"intent" doc:"The job's own abort key as it is stored; null: there is none, or it cannot be read."`
	IntentError string       `json:"intent_error" doc:"Why the stored key is not acted on."`
	Record      *abortRecord `json:"record" doc:"What became of it."`
}

// TransformSchema is for huma.
func (abortResource) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "intent", "record")
}

// nodeBody is a node as lists and events have it.
type nodeBody struct {
	Node             string            `json:"node"`
	Address          string            `json:"address"`
	Release          string            `json:"release"`
	Labels           map[string]string `json:"labels"`
	Capacity         int               `json:"capacity" doc:"Jobs at once; 0 where it is not known."`
	JobsRunning      int               `json:"jobs_running" doc:"Jobs that the node owns and that are not final."`
	Unreachable      bool              `json:"unreachable" doc:"It is not registered, and has jobs that are not final."`
	UnreachableSince *time.Time        `json:"unreachable_since" doc:"When this server saw its registration vanish, or first saw it missing."`
	Deleted          bool              `json:"deleted,omitempty" doc:"In events alone: it is not registered any more, and has no jobs."`
}

// nodeList is the answer of GET /v1/nodes.
type nodeList struct {
	Nodes    []nodeBody `json:"nodes"`
	Revision int64      `json:"revision"`
}

// templateBrief is a job template in a list.
type templateBrief struct {
	FQName      quell.FQName `json:"fq_name"`
	UUID        string       `json:"job_template_id"`
	Name        string       `json:"name" doc:"The last part of the fq_name."`
	DisplayName string       `json:"display_name"`
	Revision    int64        `json:"revision"`
}

// templateList is the answer of GET /v1/job-templates.
type templateList struct {
	Templates []templateBrief `json:"job_templates"`
}

// deviceBody is a device of a job.
type deviceBody struct {
	ID      string               `json:"device_id"`
	Status  quell.PlaybookStatus `json:"status" enum:"PENDING,RUNNING,SUCCESS,FAILURE,INTERRUPTED,SKIPPED" doc:"Of its last run; SKIPPED: the job ended without it. One in FAILURE is left out of later playbooks."`
	Changed bool                 `json:"changed" doc:"A task changed something on it."`
	Error   string               `json:"error"`
}

// locksBody is what a job wants for itself alone.
type locksBody struct {
	Level  quell.Concurrency `json:"level" enum:"device,fabric"`
	Fabric string            `json:"fabric" doc:"The fabric of the devices, or the fabric itself."`
}

// Transaction is a group of jobs as the API shows it. It is exported to be a
// part of what shows one with its jobs.
type Transaction struct {
	ID         string       `json:"transaction_id"`
	Descr      *string      `json:"transaction_descr"`
	Status     quell.Status `json:"status" enum:"QUEUED,IN_PROGRESS,SUCCESS,WARNING,FAILURE,ABORTED,LOST" doc:"QUEUED while all of its jobs are, IN_PROGRESS until all are final; then their status where all agree, else WARNING."`
	Final      bool         `json:"final" doc:"All of its jobs are. A further job opens it again."`
	JobCount   int          `json:"job_count"`
	JobIDs     []string     `json:"job_execution_ids" doc:"The first 100 of its jobs, the oldest first."`
	CreatedAt  time.Time    `json:"created_at" doc:"With its first job."`
	StartedAt  *time.Time   `json:"started_at" doc:"With the first of its jobs that started."`
	EndedAt    *time.Time   `json:"ended_at" doc:"With the last of its jobs; null until it is final."`
	Percentage float64      `json:"percentage_completed" doc:"The mean of its jobs."`
}

// transactionList is the answer of GET /v1/transactions.
type transactionList struct {
	Transactions []Transaction `json:"transactions"`
	NextCursor   string        `json:"next_cursor" doc:"Empty: that was all."`
	Revision     int64         `json:"revision" doc:"Of the store, up to which the list is complete."`
}

// transactionDetail is the answer of GET /v1/transactions/{id}.
type transactionDetail struct {
	Transaction
	Jobs     []*summaryBody `json:"jobs" doc:"The first 500 of its jobs, the oldest first; GET /v1/jobs?transaction= pages through all."`
	Revision int64          `json:"revision" doc:"Of the store, up to which this is complete."`
}

// bulkBody is the body of POST /v1/aborts.
type bulkBody struct {
	Filter     bulkFilter `json:"filter" doc:"What the jobs have in common. One condition at least: POST /abort-job without ids aborts every active job."`
	IDs        []string   `json:"job_execution_ids,omitempty" doc:"Of the jobs that match, only these: those that a dry run has shown."`
	Mode       quell.Mode `json:"mode" enum:"graceful,force"`
	Reason     string     `json:"reason,omitempty" doc:"Longer ones are cut at 1024 bytes."`
	ForceAfter string     `json:"force_after,omitempty" doc:"A graceful abort turns to force this long after it was first seen." example:"5m"`
	Recovery   bool       `json:"recovery,omitempty" default:"true" doc:"false: the recovery playbooks are skipped."`
	Override   bool       `json:"override,omitempty" doc:"Kill even a playbook that is not abortable."`
	Expect     int        `json:"expect,omitempty" minimum:"0" doc:"Abort only where just so many jobs match; else 409, and nothing is written."`
}

// bulkFilter chooses jobs as the parameters of GET /v1/jobs do.
type bulkFilter struct {
	Status      statusWords `json:"status,omitempty"`
	Fabric      string      `json:"fabric,omitempty"`
	Device      string      `json:"device,omitempty"`
	Node        string      `json:"node,omitempty"`
	Template    string      `json:"template,omitempty"`
	Requester   string      `json:"requester,omitempty"`
	Transaction string      `json:"transaction,omitempty"`
	Since       string      `json:"since,omitempty"`
	Until       string      `json:"until,omitempty"`
	Text        string      `json:"text,omitempty"`
}

// statusWords are one status or a list of them.
type statusWords struct{}

// Schema is for huma.
func (statusWords) Schema(huma.Registry) *huma.Schema {
	word := &huma.Schema{Type: "string"}
	return &huma.Schema{OneOf: []*huma.Schema{word, {Type: "array", Items: word}}}
}

// bulkAnswer is the answer of POST /v1/aborts and …/transactions/{id}/abort.
type bulkAnswer struct {
	Count   int      `json:"count" doc:"Jobs that matched and were not final."`
	Results []result `json:"results"`
	DryRun  bool     `json:"dry_run"`
}

// logMatches is the answer of GET /v1/jobs/{id}/log?search=.
type logMatches struct {
	Matches   []logMatch `json:"matches"`
	Truncated bool       `json:"truncated" doc:"There are more than were asked for."`
	Size      int64      `json:"size" doc:"Bytes of the log that were searched."`
}

type logMatch struct {
	Line   int64  `json:"line" doc:"From 1."`
	Offset int64  `json:"offset" doc:"Of the line's first byte in the log."`
	Text   string `json:"text" doc:"The line, or the part of a long one that matches."`
}
