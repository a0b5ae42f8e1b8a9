package apiserver

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quell"
)

// jobBody is a job as the API shows it (design: What users type).
type jobBody struct {
	ID               string         `json:"job_execution_id"`
	Template         quell.FQName   `json:"job_template_fq_name"`
	DisplayName      string         `json:"display_name"`
	Status           quell.Status   `json:"status" enum:"QUEUED,STARTING,IN_PROGRESS,ABORTING,RECOVERING,SUCCESS,WARNING,FAILURE,ABORTED,LOST"`
	Reason           string         `json:"reason"`
	Node             string         `json:"node"`
	UnreachableSince *time.Time     `json:"unreachable_since"`
	Percentage       float64        `json:"percentage_completed"`
	CurrentTasks     []string       `json:"current_tasks,omitempty"`
	Requester        string         `json:"requester"`
	CreatedAt        time.Time      `json:"created_at"`
	StartedAt        *time.Time     `json:"started_at"`
	EndedAt          *time.Time     `json:"ended_at"`
	Playbooks        []playbookBody `json:"playbooks"`
	Devices          []deviceBody   `json:"devices"` // none in this version
	Recovery         []playbookBody `json:"recovery"`
	Abort            *abortRecord   `json:"abort"`

	// The input is shown for one job, not in lists: it may have a megabyte.
	Input  json.RawMessage `json:"input,omitempty"`
	Params *quell.Params   `json:"params,omitempty"`
	Output json.RawMessage `json:"output"`

	FabricFQName  *string `json:"fabric_fq_name"`
	TransactionID *string `json:"transaction_id"`
	ResumedFrom   *string `json:"resumed_from"`
}

// TransformSchema is for huma.
func (jobBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "abort")
}

type playbookBody struct {
	URI           string               `json:"playbook_uri"`
	Status        quell.PlaybookStatus `json:"status" enum:"PENDING,RUNNING,SUCCESS,FAILURE,INTERRUPTED,SKIPPED"`
	ExitCode      *int                 `json:"exit_code"`
	Signal        string               `json:"signal"`
	Error         string               `json:"error"`
	Leftovers     []quell.Process      `json:"leftovers"`
	LeftoverCount int                  `json:"leftover_count"`
	StartedAt     *time.Time           `json:"started_at"`
	EndedAt       *time.Time           `json:"ended_at"`
}

// newJobBody shows one job, whole.
func newJobBody(job quell.Job) jobBody {
	b := newJobSummary(job)
	b.Input = job.Spec.Input
	if len(job.Spec.Params.DeviceList) > 0 {
		b.Params = &job.Spec.Params
	}
	return b
}

// newJobSummary shows a job as lists have it.
func newJobSummary(job quell.Job) jobBody {
	state := job.State
	b := jobBody{
		ID: job.Spec.ID, Template: job.Spec.Template.FQName, DisplayName: job.Spec.Template.DisplayName,
		Status: state.Status, Reason: state.Reason, Node: state.Node, Percentage: state.Percentage,
		Requester: job.Spec.Requester, CreatedAt: job.Spec.CreatedAt.UTC(),
		StartedAt: utc(state.StartedAt), EndedAt: utc(state.EndedAt),
		Playbooks: playbookBodies(state.Playbooks), Recovery: playbookBodies(state.Recovery),
		Devices: []deviceBody{}, Abort: newAbortRecord(job), Output: json.RawMessage("null"),
		FabricFQName: fabricOf(job.Spec.Input),
	}
	// The status is written at transitions only; in between the progress is
	// ahead of it. A percentage never falls.
	if p := job.Progress; p != nil && !state.Status.Final() {
		b.Percentage = max(b.Percentage, p.Percentage)
		b.CurrentTasks = p.Tasks
	}
	return b
}

func playbookBodies(list []quell.PlaybookState) []playbookBody {
	bodies := make([]playbookBody, len(list))
	for i, p := range list {
		bodies[i] = playbookBody{
			URI: p.URI, Status: p.Status, ExitCode: p.ExitCode, Signal: p.Signal, Error: p.Error,
			Leftovers: orEmpty(p.Leftovers), LeftoverCount: p.LeftoverCount,
			StartedAt: utc(p.StartedAt), EndedAt: utc(p.EndedAt),
		}
	}
	return bodies
}

// abortRecord is what became of an abort.
type abortRecord struct {
	Mode        quell.Mode         `json:"mode" enum:"graceful,force,"`
	Source      quell.Source       `json:"source" enum:"api,cli,web,etcdctl,local,"`
	RequestedBy string             `json:"requested_by"`
	Reason      string             `json:"reason"`
	RequestedAt *time.Time         `json:"requested_at"`
	ForceAfter  quell.Duration     `json:"force_after,omitzero"`
	ForceAt     *time.Time         `json:"force_at,omitempty"` // when a graceful one turns to force
	Recovery    bool               `json:"recovery"`
	Override    bool               `json:"override"`
	SeenAt      *time.Time         `json:"seen_at"`
	EscalatedAt *time.Time         `json:"escalated_at"`
	SignalledAt *time.Time         `json:"signalled_at"`
	DeadAt      *time.Time         `json:"dead_at"`
	Survivors   []quell.Process    `json:"survivors"`
	Outcome     quell.AbortOutcome `json:"outcome" enum:"aborted,finished_first,withdrawn,already_final,recovery_stopped,"`
	Error       string             `json:"error"`
}

// newAbortRecord shows the job's record together with its abort key, of which
// the record may not tell yet: one that its owner has not seen (seen_at is
// null), one that cannot be read, one that came when the job was final.
func newAbortRecord(job quell.Job) *abortRecord {
	recd, own := job.State.Abort, job.Intent
	switch {
	case own == nil && recd == nil:
		return nil
	case own == nil:
		return recordBody(*recd)
	case own.Err != nil:
		b := &abortRecord{Recovery: true, Survivors: []quell.Process{}}
		if recd != nil {
			b = recordBody(*recd)
		}
		b.Error = quell.MessageOf(own.Err)
		return b
	}
	final := job.State.Status.Final()
	holds := recd != nil && recd.Mode != "" && recd.Outcome != quell.OutcomeWithdrawn
	switch {
	case holds && !recd.Intent().Adds(own.Intent):
		return recordBody(*recd)
	case holds && final:
		// The final transition had read all that came before it.
		b := recordBody(*recd)
		b.Error = "a later abort (" + string(own.Intent.Mode) + ") came when the job was final already"
		return b
	case holds:
		return intentBody(recd.Intent().Merge(own.Intent))
	}
	b := intentBody(own.Intent)
	if final {
		b.Outcome = quell.OutcomeAlreadyFinal
	}
	return b
}

func recordBody(a quell.AbortRecord) *abortRecord {
	return &abortRecord{
		Mode: a.Mode, Source: a.Source, RequestedBy: a.RequestedBy, Reason: a.Reason,
		RequestedAt: utc(a.RequestedAt), ForceAfter: a.ForceAfter, ForceAt: utc(a.ForceAt), Recovery: !a.NoRecovery, Override: a.Override,
		SeenAt: utc(a.SeenAt), EscalatedAt: utc(a.EscalatedAt), SignalledAt: utc(a.SignalledAt), DeadAt: utc(a.DeadAt),
		Survivors: orEmpty(a.Survivors), Outcome: a.Outcome, Error: a.Error,
	}
}

func intentBody(i quell.Intent) *abortRecord {
	b := &abortRecord{
		Mode: i.Mode, Source: i.Source, RequestedBy: i.RequestedBy, Reason: i.Reason,
		ForceAfter: quell.Duration(i.ForceAfter), Recovery: !i.NoRecovery, Override: i.Override,
		Survivors: []quell.Process{},
	}
	if !i.RequestedAt.IsZero() {
		b.RequestedAt = utc(&i.RequestedAt)
	}
	return b
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// orEmpty makes a list that clients can iterate over, never null.
func orEmpty(list []quell.Process) []quell.Process {
	if list == nil {
		return []quell.Process{}
	}
	return list
}
