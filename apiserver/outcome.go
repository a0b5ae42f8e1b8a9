package apiserver

import (
	"quell"
)

// outcome is what a request for an abort meant for one job.
type outcome string

// The outcomes. accepted says that the intent is stored, and not what becomes
// of the job: that is in its abort record.
const (
	accepted        outcome = "accepted"
	alreadyAborting outcome = "already_aborting" // what is stored asks for as much
	alreadyFinal    outcome = "already_final"
	notFound        outcome = "not_found" // also: not an id at all
)

// result is one job in the answer of POST /abort-job.
type result struct {
	JobID   string       `json:"job_execution_id"`
	Outcome outcome      `json:"outcome" enum:"accepted,already_aborting,already_final,not_found"`
	Status  quell.Status `json:"status"`
	Mode    quell.Mode   `json:"abort_mode" enum:"graceful,force,"` // the one that now holds for the job
	Final   bool         `json:"final"`
	// WaitsFor is why a force abort cannot be carried out at once.
	WaitsFor string `json:"waits_for,omitempty" doc:"Why the abort that now holds has to wait: a playbook that must not be interrupted."`
}

func missing(id string) result { return result{JobID: id, Outcome: notFound} }

// newResult is the result for a job that exists.
func newResult(id string, o outcome, job quell.Job) result {
	return result{
		JobID: id, Outcome: o, Status: job.State.Status,
		Mode: holding(job).Mode, Final: job.State.Status.Final(), WaitsFor: waitsFor(job, holding(job)),
	}
}

// with is the result where this is the intent that holds.
func (r result) with(job quell.Job, held quell.Intent) result {
	r.Mode, r.WaitsFor = held.Mode, waitsFor(job, held)
	return r
}

// waitsFor says why an abort with this intent has to wait, if it has to.
func waitsFor(job quell.Job, held quell.Intent) string {
	if job.State.Status.Final() {
		return ""
	}
	return job.State.WaitsFor(held)
}

// written is the result of a PutIntent.
func written(job quell.Job, wrote bool, intent quell.Intent) result {
	switch {
	case wrote && !covered(job, intent):
		return newResult(job.Spec.ID, accepted, job)
	case !wrote && job.State.Status.Final():
		return newResult(job.Spec.ID, alreadyFinal, job)
	}
	return newResult(job.Spec.ID, alreadyAborting, job)
}

// planned is the result that a dry run foresees: the mode is the one that
// would hold.
func planned(job quell.Job, intent quell.Intent) result {
	held := holding(job)
	switch {
	case job.State.Status.Final():
		return newResult(job.Spec.ID, alreadyFinal, job)
	case held.Mode != "" && !held.Adds(intent):
		return newResult(job.Spec.ID, alreadyAborting, job)
	}
	return newResult(job.Spec.ID, accepted, job).with(job, held.Merge(intent))
}

// swept is the result of an abort-all for a job that was active when it was
// written, or just before.
func swept(job quell.Job, intent quell.Intent) result {
	final := job.State.Status.Final()
	switch {
	case final && !requested(job.State.Abort, intent):
		return newResult(job.Spec.ID, alreadyFinal, job)
	case !final && covered(job, intent):
		return newResult(job.Spec.ID, alreadyAborting, job)
	}
	r := newResult(job.Spec.ID, accepted, job)
	if !final {
		r = r.with(job, holding(job).Merge(intent))
	}
	return r
}

// covered says whether an earlier request asks for as much as the intent. It
// is asked after the intent was stored, when the job's owner may have made
// its record of it already: a record of this very request is no earlier one.
func covered(job quell.Job, intent quell.Intent) bool {
	a := job.State.Abort
	if a.Pending() && !requested(a, intent) && !a.Intent().Adds(intent) {
		return true
	}
	own := job.Intent
	return own != nil && own.Err == nil && !own.Intent.RequestedAt.Equal(intent.RequestedAt) && !own.Intent.Adds(intent)
}

// requested says whether the record is that of this intent.
func requested(a *quell.AbortRecord, intent quell.Intent) bool {
	return a != nil && a.RequestedAt != nil && a.RequestedAt.Equal(intent.RequestedAt) && a.RequestedBy == intent.RequestedBy
}

// holding is the intent that holds for the job, as far as its record and its
// own key tell. A final job's is that of its record.
func holding(job quell.Job) quell.Intent {
	var held quell.Intent
	a := job.State.Abort
	if a != nil && a.Outcome != quell.OutcomeWithdrawn {
		held = a.Intent()
	}
	if own := job.Intent; own != nil && own.Err == nil && !job.State.Status.Final() {
		held = held.Merge(own.Intent)
	}
	return held
}
