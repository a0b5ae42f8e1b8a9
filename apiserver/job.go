package apiserver

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"quell"
)

// jobBody is a job as the API shows it (design: What users type).
type jobBody struct {
	ID               string         `json:"job_execution_id"`
	Template         quell.FQName   `json:"job_template_fq_name"`
	TemplateID       *string        `json:"job_template_id"`
	TemplateRevision *int64         `json:"job_template_revision" doc:"Of the store, at which the template was stored that the job has a copy of."`
	DisplayName      string         `json:"display_name"`
	Status           quell.Status   `json:"status" enum:"QUEUED,STARTING,IN_PROGRESS,ABORTING,RECOVERING,SUCCESS,WARNING,FAILURE,ABORTED,LOST"`
	Reason           string         `json:"reason"`
	Warnings         []string       `json:"warnings" doc:"Why a job that ends well ends as WARNING."`
	Node             string         `json:"node"`
	UnreachableSince *time.Time     `json:"unreachable_since"`
	Percentage       float64        `json:"percentage_completed"`
	CurrentTasks     []string       `json:"current_tasks,omitempty"`
	Requester        string         `json:"requester"`
	CreatedAt        time.Time      `json:"created_at"`
	StartedAt        *time.Time     `json:"started_at"`
	EndedAt          *time.Time     `json:"ended_at"`
	Playbooks        []playbookBody `json:"playbooks"`
	Devices          []deviceBody   `json:"devices" doc:"In the order in which they turned up. The number of a device's runs is its place here, from 1."`
	Recovery         []playbookBody `json:"recovery"`
	Locks            *locksBody     `json:"locks" doc:"What the job wants for itself alone."`
	Abort            *abortRecord   `json:"abort"`

	// The input is shown for one job, not in lists: it may have a megabyte.
	Input  json.RawMessage `json:"input,omitempty"`
	Params *quell.Params   `json:"params,omitempty"`
	Output outputBody      `json:"output" doc:"What the playbooks gave back; null: nothing yet."`

	FabricFQName     *string `json:"fabric_fq_name"`
	TransactionID    string  `json:"transaction_id" doc:"The group of jobs that it belongs to: its own id where its request named none."`
	TransactionDescr *string `json:"transaction_descr"`
	ResumedFrom      *string `json:"resumed_from" doc:"The job whose work it goes on with."`
	ResumedAs        *string `json:"resumed_as" doc:"The job that goes on with its work."`
	RerunOf          *string `json:"rerun_of" doc:"The job whose work it does again."`
}

// TransformSchema is for huma.
func (jobBody) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "abort", "locks")
}

// outputBody is an object that is kept as it is, or null.
type outputBody json.RawMessage

// MarshalJSON writes it.
func (o outputBody) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("null"), nil
	}
	return o, nil
}

// UnmarshalJSON reads it.
func (o *outputBody) UnmarshalJSON(text []byte) error {
	return (*json.RawMessage)(o).UnmarshalJSON(text)
}

// Schema is for huma.
func (outputBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{{Type: "object", AdditionalProperties: true}, {Type: "null"}}}
}

type playbookBody struct {
	URI              string               `json:"playbook_uri" doc:"Or the executable."`
	Status           quell.PlaybookStatus `json:"status" enum:"PENDING,RUNNING,SUCCESS,FAILURE,INTERRUPTED,SKIPPED"`
	ExitCode         *int                 `json:"exit_code"`
	Signal           string               `json:"signal"`
	Error            string               `json:"error"`
	Try              int                  `json:"try" doc:"How often it was begun again because its output asked for that."`
	MultiDevice      bool                 `json:"multi_device" doc:"It runs once for each device."`
	Unabortable      bool                 `json:"unabortable" doc:"A force abort waits for its end, unless that overrides."`
	DevicesSucceeded int                  `json:"devices_succeeded"`
	DevicesFailed    int                  `json:"devices_failed"`
	DevicesTotal     *int                 `json:"devices_total" doc:"Of those that it concerns; null where that is not known (yet, or after it was cut short)."`
	From             *string              `json:"from" doc:"The job in which it ended, where that one was resumed."`
	Leftovers        []quell.Process      `json:"leftovers"`
	LeftoverCount    int                  `json:"leftover_count"`
	StartedAt        *time.Time           `json:"started_at"`
	EndedAt          *time.Time           `json:"ended_at"`
}

// newJobBody shows one job, whole.
func newJobBody(job quell.Job) jobBody {
	spec, state := job.Spec, job.State
	b := jobBody{
		ID: spec.ID, Template: spec.Template.FQName, TemplateID: orNull(spec.Template.UUID), TemplateRevision: orNull(spec.TemplateRevision),
		DisplayName: spec.Template.DisplayName, Status: state.Status, Reason: state.Reason, Warnings: append([]string{}, state.Warnings...),
		Node: state.Node, Percentage: state.Percentage, Requester: spec.Requester,
		CreatedAt: spec.CreatedAt.UTC(), StartedAt: utc(state.StartedAt), EndedAt: utc(state.EndedAt),
		Playbooks: playbookBodies(state.Playbooks), Recovery: playbookBodies(state.Recovery), Devices: deviceBodies(state.Devices),
		Abort: newAbortRecord(job), Input: spec.Input, Output: outputBody(job.Output),
		FabricFQName: fabricOf(spec.Input), TransactionID: spec.Transaction(), TransactionDescr: orNull(spec.Params.TransactionDescr),
		ResumedFrom: orNull(spec.ResumedFrom), ResumedAs: orNull(job.ResumedAs), RerunOf: orNull(spec.RerunOf),
	}
	if p := spec.Params; len(p.DeviceList) > 0 || p.TransactionID != "" || p.TransactionDescr != "" {
		b.Params = &p
	}
	if l := state.Locks; l != nil {
		b.Locks = &locksBody{Level: l.Level, Fabric: l.Fabric}
	}
	// The owner may not have seen yet what the job's abort has to wait for.
	if waits := waitsFor(job, holding(job)); waits != "" {
		b.Reason = waits
	}
	// The status is written at transitions only; in between the progress is
	// ahead of it. A percentage never falls.
	if p := job.Progress; p != nil && !state.Status.Final() {
		b.Percentage = max(b.Percentage, p.Percentage)
		b.CurrentTasks = p.Tasks
	}
	return b
}

func deviceBodies(list []quell.Device) []deviceBody {
	bodies := make([]deviceBody, len(list))
	for i, d := range list {
		bodies[i] = deviceBody{ID: d.ID, Status: d.Status, Changed: d.Changed, Error: d.Error}
	}
	return bodies
}

func playbookBodies(list []quell.PlaybookState) []playbookBody {
	bodies := make([]playbookBody, len(list))
	for i, p := range list {
		bodies[i] = playbookBody{
			URI: p.URI, Status: p.Status, ExitCode: p.ExitCode, Signal: p.Signal, Error: p.Error,
			Try: p.Try, MultiDevice: p.MultiDevice, Unabortable: p.Unabortable, From: orNull(p.From),
			Leftovers: orEmpty(p.Leftovers), LeftoverCount: p.LeftoverCount,
			StartedAt: utc(p.StartedAt), EndedAt: utc(p.EndedAt),
		}
		bodies[i].countDevices(p)
	}
	return bodies
}

// countDevices counts in the letters while the playbook goes on. Of one that
// has ended the counts are kept, without those that it was cut short on.
func (b *playbookBody) countDevices(p quell.PlaybookState) {
	total := p.Succeeded + p.Failed
	b.DevicesSucceeded, b.DevicesFailed = p.Succeeded, p.Failed
	if p.Letters != "" {
		count := func(letter string) int { return strings.Count(strings.ToUpper(p.Letters), letter) }
		b.DevicesSucceeded, b.DevicesFailed, total = count("S"), count("F"), len(p.Letters)-count(".")
	}
	if p.MultiDevice && (p.Letters != "" || p.Status == quell.PlaybookSuccess || p.Status == quell.PlaybookFailure) {
		b.DevicesTotal = &total
	}
}

// orNull makes null of what is not there.
func orNull[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
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
