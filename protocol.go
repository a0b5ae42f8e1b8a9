package quell

import (
	"fmt"
	"slices"
	"time"
)

// The abort protocol: what a job's owner (the scheduler while the job is
// QUEUED, its agent afterwards) does next.
//
// The owner folds the effective intent into the state with Observe, asks Next
// what to do, does it, and tells the state with Begin, Started, Ended or
// Finish. It stores the state in transitions that compare the intents that it
// observed; where a compare fails it reads again and asks again. Nothing here
// does I/O or remembers anything outside the state, so that an owner that was
// restarted continues where the stored state says.
//
// No method here writes into what a copy of the state shares with it, so that
// a plain copy is a snapshot: an owner whose transition was refused goes on
// from the copy that it took before. A final state is never changed.

// RunRef names a run of a job: one of its playbooks or recovery playbooks.
type RunRef struct {
	Recovery bool
	Index    int
}

// Name is the run's name, a path component.
func (r RunRef) Name() string {
	if r.Recovery {
		return fmt.Sprintf("recovery-%d", r.Index)
	}
	return fmt.Sprintf("playbook-%d", r.Index)
}

// Action is what a job's owner has to do next.
type Action string

// The actions.
const (
	ActWait   Action = "wait"   // for an event, at the latest until Step.Until
	ActPlace  Action = "place"  // find a node for it
	ActBegin  Action = "begin"  // start Step.Run
	ActKill   Action = "kill"   // kill the tree of Step.Run because of Step.Cause, and wait for its end
	ActFinish Action = "finish" // make it final
	ActNone   Action = "none"   // it is final
)

// Cause says why a run was killed.
type Cause string

// The causes.
const (
	CauseAbort   Cause = "abort"
	CauseTimeout Cause = "timeout"
	CauseDisown  Cause = "disown" // the job belongs to somebody else now
)

// Step is one action with what belongs to it.
type Step struct {
	Action Action
	Run    RunRef
	Cause  Cause
	Until  time.Time // zero: no limit
}

// RunResult is how a run ended.
type RunResult struct {
	NeverStarted  bool
	Killed        Cause // why Quell killed the main process; empty when it ended by itself
	ExitCode      int
	Signal        string // the signal that ended it, such as KILL
	Error         string // what went wrong, in words
	Leftovers     []Process
	LeftoverCount int
	StartedAt     time.Time
	EndedAt       time.Time
	SignalledAt   time.Time // when it was killed
	DeadAt        time.Time // when nothing was left of its tree
}

// Observe folds what is wanted of the job now into its state and says whether
// that changed anything: the record of the abort, or ABORTING and back.
//
// A force abort once observed stays. A graceful one can be withdrawn until it
// has taken effect, and turns to force when its force_after has passed since
// it was first seen. A value that cannot be read withdraws nothing.
func (s *State) Observe(in Effective, now time.Time) bool {
	if s.Status.Final() {
		return false
	}
	s.unshare()
	changed := s.observeError(cut(in.Error, maxReason))
	switch a := s.Abort; {
	case s.withdraws(in) && in.Mode == "":
		a.Outcome, changed = OutcomeWithdrawn, true
	case s.withdraws(in):
		a.replace(in, now)
		changed = true
	case in.Mode == "":
	case !a.Pending():
		s.Abort = newRecord(in, now)
		changed = true
	case a.Intent().Adds(in.Intent):
		a.add(in, now)
		changed = true
	}
	if a := s.Abort; a.Pending() && a.Mode == Graceful && a.ForceAt != nil && !now.Before(*a.ForceAt) {
		a.Mode, a.EscalatedAt = Force, &now
		changed = true
	}
	if s.Status == StatusInProgress && s.Abort.Pending() {
		s.Status, changed = StatusAborting, true
	}
	if s.Status == StatusAborting && !s.Abort.Pending() {
		s.Status, changed = StatusInProgress, true
	}
	if changed {
		s.fit()
	}
	return changed
}

// withdraws says whether what in holds takes back what the record asks for:
// the job's own key was part of it and is gone, or nothing is wanted any
// more. Force stays, and so does what has decided how the job ends.
func (s *State) withdraws(in Effective) bool {
	a := s.Abort
	if !a.Pending() || a.Mode != Graceful || s.AbortTookEffect() {
		return false
	}
	return a.Own && !in.Own || in.Mode == "" && in.Error == ""
}

// AbortTookEffect says whether an abort has decided already how the job ends.
func (s *State) AbortTookEffect() bool {
	return s.Outcome == StatusAborted || s.Outcome == "" && slices.ContainsFunc(s.Playbooks, PlaybookState.cutShort)
}

// cutShort says whether an abort killed the playbook or kept it from starting.
func (p PlaybookState) cutShort() bool {
	return p.Status == PlaybookInterrupted || p.Status == PlaybookSkipped
}

func (s *State) observeError(text string) bool {
	switch {
	case s.Abort == nil && text == "":
		return false
	case s.Abort == nil:
		s.Abort = &AbortRecord{}
	case s.Abort.Error == text:
		return false
	}
	s.Abort.Error = text
	if s.Abort.Mode == "" && text == "" {
		s.Abort = nil
	}
	return true
}

// Next says what the owner has to do. It must have observed the intents.
func (s *State) Next(t Template, now time.Time) Step {
	if s.Status.Final() {
		return Step{Action: ActNone}
	}
	if run, ok := s.Current(); ok {
		return s.nextInRun(t, run, now)
	}
	outcome := s.decide()
	switch {
	case outcome == "" && s.Status == StatusQueued:
		return Step{Action: ActPlace}
	case outcome == "":
		return Step{Action: ActBegin, Run: RunRef{Index: s.firstPending(s.Playbooks)}}
	case s.recovers(outcome):
		return Step{Action: ActBegin, Run: RunRef{Recovery: true, Index: s.firstPending(s.Recovery)}}
	}
	return Step{Action: ActFinish}
}

// nextInRun says what to do while a run is in progress: kill it, or wait.
func (s *State) nextInRun(t Template, run RunRef, now time.Time) Step {
	playbook, state := t.Playbook(run), s.Playbook(run)
	kill := s.Abort.Pending() && s.Abort.Mode == Force
	if run.Recovery {
		kill = kill && s.Abort.NoRecovery
	}
	if kill && (playbook.MayKill() || s.Abort.Override) {
		return Step{Action: ActKill, Run: run, Cause: CauseAbort}
	}
	wait := Step{Action: ActWait, Run: run}
	if limit := time.Duration(playbook.Timeout); limit > 0 {
		wait.Until = state.BegunAt.Add(limit)
		if !now.Before(wait.Until) {
			return Step{Action: ActKill, Run: run, Cause: CauseTimeout}
		}
	}
	if a := s.Abort; a.Pending() && a.Mode == Graceful && a.ForceAt != nil {
		if wait.Until.IsZero() || a.ForceAt.Before(wait.Until) {
			wait.Until = *a.ForceAt
		}
	}
	return wait
}

// Bars says whether a run that was begun, and is known not to have started,
// must not start any more: an abort was seen since.
func (s *State) Bars(run RunRef) bool {
	if run.Recovery {
		return s.Abort.Pending() && s.Abort.NoRecovery
	}
	return s.Abort.Pending()
}

// decide returns the final status that the job is heading for, or "" while
// its playbooks go on.
func (s *State) decide() Status {
	if s.Outcome != "" {
		return s.Outcome
	}
	pending := false
	for _, p := range s.Playbooks {
		switch p.Status {
		case PlaybookFailure:
			return StatusFailure
		case PlaybookInterrupted, PlaybookSkipped:
			return StatusAborted
		case PlaybookPending, PlaybookRunning:
			pending = true
		}
	}
	switch {
	case !pending:
		return StatusSuccess
	case s.Abort.Pending():
		return StatusAborted
	}
	return ""
}

// recovers says whether a recovery playbook has to run before the job ends as
// outcome. A job none of whose playbooks was started has nothing to recover.
func (s *State) recovers(outcome Status) bool {
	return s.recoverable(outcome) && (!s.Abort.Pending() || !s.Abort.NoRecovery)
}

// recoverable is recovers where nobody says recovery: false.
func (s *State) recoverable(outcome Status) bool {
	started := slices.ContainsFunc(s.Playbooks, func(p PlaybookState) bool { return p.StartedAt != nil })
	return outcome != StatusSuccess && started && s.firstPending(s.Recovery) >= 0
}

// Current returns the run that was begun and has not ended.
func (s *State) Current() (RunRef, bool) {
	for _, recovery := range []bool{false, true} {
		list := s.Playbooks
		if recovery {
			list = s.Recovery
		}
		for i, p := range list {
			if p.BegunAt != nil && p.EndedAt == nil {
				return RunRef{Recovery: recovery, Index: i}, true
			}
		}
	}
	return RunRef{}, false
}

// Playbook returns the state of the run's playbook, to be read. The pointer
// holds until the next method that changes the state.
func (s *State) Playbook(run RunRef) *PlaybookState {
	if run.Recovery {
		return &s.Recovery[run.Index]
	}
	return &s.Playbooks[run.Index]
}

// Playbook returns the run's playbook.
func (t Template) Playbook(run RunRef) Playbook {
	if run.Recovery {
		return t.RecoveryPlaybooks[run.Index]
	}
	return t.Playbooks[run.Index]
}

func (s *State) firstPending(list []PlaybookState) int {
	for i, p := range list {
		if p.Status == PlaybookPending {
			return i
		}
	}
	return -1
}

// Assign gives a queued job to a node.
func (s *State) Assign(node string) {
	if s.Status != StatusQueued {
		return
	}
	s.Status, s.Node, s.Reason = StatusStarting, node, ""
}

// Begin marks the run as allowed to start. Nothing may be started before this
// is stored.
func (s *State) Begin(run RunRef, now time.Time) {
	if s.Status.Final() || s.Playbook(run).BegunAt != nil {
		return
	}
	s.unshare()
	if run.Recovery {
		if s.Outcome == "" {
			s.Outcome = s.decide()
			s.Reason = s.reason()
			s.skipPending(s.Playbooks)
		}
		s.Status = StatusRecovering
	} else {
		s.Status = StatusInProgress
		if s.StartedAt == nil {
			s.StartedAt = &now
		}
	}
	s.Playbook(run).BegunAt = &now
	s.fit()
}

// Started marks the run's process as started.
func (s *State) Started(run RunRef, at time.Time) {
	if s.Status.Final() || s.Playbook(run).EndedAt != nil {
		return
	}
	s.unshare()
	p := s.Playbook(run)
	p.Status, p.StartedAt = PlaybookRunning, &at
	s.fit()
}

// Survived records what a kill of the current run has not brought down yet.
// signalledAt may be zero where it is not known.
func (s *State) Survived(survivors []Process, signalledAt time.Time) {
	if s.Status.Final() || !s.Abort.Pending() {
		return
	}
	s.unshare()
	s.Abort.Survivors = someOf(survivors)
	if !signalledAt.IsZero() {
		s.Abort.SignalledAt = &signalledAt
	}
	s.fit()
}

// Ended records how the run ended. It is told once nothing of the run's tree
// is left.
func (s *State) Ended(run RunRef, r RunResult) {
	if s.Status.Final() || s.Playbook(run).EndedAt != nil {
		return
	}
	s.unshare()
	p := s.Playbook(run)
	p.EndedAt = &r.EndedAt
	p.Error, p.Leftovers = cut(r.Error, maxReason), someOf(r.Leftovers)
	p.LeftoverCount = max(r.LeftoverCount, len(r.Leftovers))
	if p.Status = r.status(); !r.NeverStarted {
		// A run that may have started counts as started, whatever is known of it.
		if p.StartedAt = &r.StartedAt; r.StartedAt.IsZero() {
			p.StartedAt = p.BegunAt
		}
		if p.Signal = cut(r.Signal, maxWord); r.Signal == "" {
			p.ExitCode = &r.ExitCode
		}
	}
	if r.Killed == CauseTimeout && p.Error == "" {
		p.Error = "its time limit had passed"
	}
	s.recordDeath(run, r)
	s.fit()
}

// status is the playbook's status after such a run.
func (r RunResult) status() PlaybookStatus {
	switch {
	case r.Killed == CauseAbort && r.NeverStarted:
		return PlaybookSkipped
	case r.Killed == CauseAbort:
		return PlaybookInterrupted
	case !r.NeverStarted && r.Killed == "" && r.Signal == "" && r.ExitCode == 0 && r.Error == "":
		return PlaybookSuccess
	}
	return PlaybookFailure
}

// Finish makes the state final. It does nothing where the job cannot end yet.
func (s *State) Finish(now time.Time) {
	outcome := s.decide()
	if _, running := s.Current(); running || outcome == "" || s.Status.Final() {
		return
	}
	s.unshare()
	if s.Outcome == "" {
		s.Reason = s.reason()
	}
	if s.Abort.Pending() {
		s.Abort.Outcome = s.abortOutcome(outcome)
	}
	s.skipPending(s.Playbooks)
	s.skipPending(s.Recovery)
	s.Status, s.Outcome, s.EndedAt = outcome, "", &now
	if outcome == StatusSuccess {
		s.Percentage = 100
	}
	s.fit()
}

func (s *State) skipPending(list []PlaybookState) {
	for i := range list {
		if list[i].Status == PlaybookPending {
			list[i].Status = PlaybookSkipped
		}
	}
}
