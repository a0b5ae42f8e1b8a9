package quell

import (
	"slices"
	"time"
)

// newRecord is the record of an intent that has just been seen.
func newRecord(in Effective, now time.Time) *AbortRecord {
	a := &AbortRecord{SeenAt: &now, Error: cut(in.Error, maxReason), Own: in.Own}
	a.take(in.Intent, now)
	return a
}

// take copies what was asked for and by whom. force_after counts from now,
// unless an earlier one has been counting already.
func (a *AbortRecord) take(i Intent, now time.Time) {
	a.Mode, a.Source = i.Mode, i.Source
	a.RequestedBy, a.Reason = cut(i.RequestedBy, maxRequestedBy), cut(i.Reason, maxReason)
	a.ForceAfter, a.NoRecovery, a.Override = Duration(i.ForceAfter), i.NoRecovery, i.Override
	a.RequestedAt = nil
	if !i.RequestedAt.IsZero() {
		a.RequestedAt = &i.RequestedAt
	}
	if at := now.Add(i.ForceAfter); i.Mode == Graceful && i.ForceAfter > 0 && (a.ForceAt == nil || at.Before(*a.ForceAt)) {
		a.ForceAt = &at
	}
}

// add merges a further intent into the record.
func (a *AbortRecord) add(in Effective, now time.Time) {
	if a.Mode == Graceful && in.Mode == Force {
		a.EscalatedAt = &now
	}
	a.Own = a.Own || in.Own
	a.take(a.Intent().Merge(in.Intent), now)
}

// replace forgets what was asked for in favour of what is left of it.
func (a *AbortRecord) replace(in Effective, now time.Time) {
	if in.Mode == Force {
		a.EscalatedAt = &now
	}
	a.Own, a.ForceAt = in.Own, nil
	a.take(in.Intent, now)
}

// Intent is what was asked for, without who did.
func (a *AbortRecord) Intent() Intent {
	return Intent{Mode: a.Mode, ForceAfter: time.Duration(a.ForceAfter), NoRecovery: a.NoRecovery, Override: a.Override}
}

// Pending says whether an abort was seen that is neither withdrawn nor over.
func (a *AbortRecord) Pending() bool { return a != nil && a.Mode != "" && a.Outcome == "" }

// reason tells in words who aborted the job.
func (a *AbortRecord) reason() string {
	if a == nil {
		return "aborted"
	}
	text := "aborted (" + string(a.Mode) + ")"
	switch {
	case a.RequestedBy != "":
		text += " by " + a.RequestedBy
	case a.Source != "":
		text += " by way of " + string(a.Source)
	default:
		text += " by a request that is no longer stored"
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return cut(text, maxReason)
}

// recordDeath tells the abort's record that the run is dead.
func (s *State) recordDeath(run RunRef, r RunResult) {
	if r.Killed == CauseAbort {
		s.recordKill(run, r)
	}
	a := s.Abort
	if !a.Pending() {
		return
	}
	a.Survivors = nil
	if !r.DeadAt.IsZero() && (r.Killed == CauseAbort || !run.Recovery) {
		a.DeadAt = &r.DeadAt
	}
}

// recordKill sees to it that a run killed by an abort has a force abort on
// record, also where the owner that killed it could not store the intent and
// the intent is gone since. A run that was only kept from starting may have
// been so by a graceful one.
func (s *State) recordKill(run RunRef, r RunResult) {
	at := r.SignalledAt
	if at.IsZero() {
		at = r.EndedAt
	}
	if !s.Abort.Pending() {
		in := Effective{Intent: Intent{Mode: Force}}
		if s.Abort != nil {
			in.Error = s.Abort.Error
		}
		s.Abort = newRecord(in, at)
	}
	a := s.Abort
	if run.Recovery {
		a.NoRecovery = true // nothing else ends a recovery playbook
	}
	if a.Mode == Graceful {
		if r.NeverStarted {
			return
		}
		a.Mode, a.EscalatedAt = Force, &at
	}
	a.SignalledAt = &at
}

// abortOutcome is what the abort on record did to a job that ends as outcome.
func (s *State) abortOutcome(outcome Status) AbortOutcome {
	switch {
	case outcome == StatusAborted:
		return OutcomeAborted
	case slices.ContainsFunc(s.Recovery, PlaybookState.cutShort), s.Abort.NoRecovery && s.recoverable(outcome):
		return OutcomeRecoveryStopped
	}
	return OutcomeFinishedFirst
}
