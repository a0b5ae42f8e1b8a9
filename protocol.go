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

// RunRef names a run of a job: one of its playbooks or recovery playbooks, or
// one of these on one device.
type RunRef struct {
	Recovery bool
	Index    int
	Device   int // its place in the job's devices, from 1; 0: the run is of no device
	Try      int // which repetition, 0 the first run
}

// Name is the run's name, a path component.
func (r RunRef) Name() string {
	name := "playbook"
	if r.Recovery {
		name = "recovery"
	}
	name = fmt.Sprintf("%s-%d", name, r.Index)
	if r.Device > 0 {
		name += fmt.Sprintf("-device-%d", r.Device)
	}
	if r.Try > 0 {
		name += fmt.Sprintf("-try-%d", r.Try)
	}
	return name
}

// Action is what a job's owner has to do next, beside killing.
type Action string

// The actions.
const (
	ActWait   Action = "wait"   // for an event, at the latest until Step.Until
	ActPlace  Action = "place"  // find a node for it
	ActBegin  Action = "begin"  // start Step.Begin
	ActLock   Action = "lock"   // take the locks of LocksToTake, and tell by Locked
	ActPass   Action = "pass"   // tell by Pass that Step.Pass has no device to run on
	ActFinish Action = "finish" // make it final
	ActNone   Action = "none"   // it is final
)

// Cause says why a run was killed.
type Cause string

// The causes.
const (
	CauseAbort   Cause = "abort"
	CauseTimeout Cause = "timeout" // its own time limit has passed
	CauseFault   Cause = "fault"   // the job cannot go on: see State.Fault
	CauseDisown  Cause = "disown"  // the job belongs to somebody else now
)

// Step is what a job's owner has to do: kill some runs, and one action.
type Step struct {
	Action Action
	Begin  []RunRef
	Pass   RunRef
	Kill   []Kill    // kill their trees, and wait for their ends
	Until  time.Time // zero: no limit
}

// Kill is one run that has to die.
type Kill struct {
	Run   RunRef
	Cause Cause
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
	Changed       bool      // a task changed something
	Report        Report    // what its output asks for
}

// Report is what a run's output says of the run and of what comes after it
// (contrail.md: How a job runs there).
type Report struct {
	Failure   string   // why it counts as failed
	Warning   string   // why the job is to end as WARNING
	EarlyExit bool     // the job ends well after this playbook
	Retry     []string // devices for which the playbook is run again
	// Devices are those of device_json, from now on the job's; nil: it has
	// none.
	Devices []string
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
	changed = s.tellHoldUp() || changed
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
	return s.Outcome == StatusAborted || s.Outcome == "" && s.Fault == "" && slices.ContainsFunc(s.Playbooks, PlaybookState.cutShort)
}

// cutShort says whether an abort (or a fault of the job) killed the playbook,
// or kept it from starting, on one of its devices at least.
func (p PlaybookState) cutShort() bool {
	return p.Status == PlaybookInterrupted || p.Status == PlaybookSkipped || p.count("I")+p.count("K") > 0
}

// tellHoldUp keeps the reason of a job that is in progress true, and says
// whether that changed it.
func (s *State) tellHoldUp() bool {
	was := s.Reason
	if s.Outcome == "" && (s.Status == StatusInProgress || s.Status == StatusAborting) {
		s.Reason = s.holdUp()
	}
	return s.Reason != was
}

// holdUp says why a job that is to end does not, if so: a playbook that must
// not be interrupted, or what a kill has not brought down. Under an abort the
// record has the latter.
func (s *State) holdUp() string {
	switch {
	case len(s.Survivors) > 0:
		first := s.Survivors[0]
		return fmt.Sprintf("%d processes were killed and are not dead yet, such as %s (pid %d, state %s)",
			len(s.Survivors), first.Command, first.PID, first.State)
	case !s.forced():
		return ""
	}
	return s.WaitsFor(s.Abort.Intent())
}

// WaitsFor says why an abort with this intent would have to wait now; empty:
// it would not, or, being graceful, waits for whatever runs.
func (s *State) WaitsFor(i Intent) string {
	if i.Mode != Force || i.Override {
		return ""
	}
	for _, run := range s.CurrentRuns() {
		if p := s.Playbook(run); p.Unabortable && (!run.Recovery || i.NoRecovery) {
			return fmt.Sprintf("the abort waits for the end of playbook %s, which must not be interrupted; override kills it all the same", excerpt(p.URI))
		}
	}
	return ""
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

// Next says what the owner has to do. It must have observed the intents and
// asked Expire.
func (s *State) Next(r Rules, now time.Time) Step {
	if s.Status.Final() {
		return Step{Action: ActNone}
	}
	step := Step{Action: ActWait}
	current := s.CurrentRuns()
	for _, run := range current {
		s.nextInRun(r, run, now, &step)
	}
	if len(current) > 0 {
		step.soonest(s.forceAt())
		if at := s.jobUntil(r); now.Before(at) { // once passed, Expire has had its say
			step.soonest(at)
		}
		// While some devices are worked on, others can begin.
		if step.Begin = s.furtherDevices(current[0], r.MaxDevices-len(current)); len(step.Begin) > 0 {
			step.Action = ActBegin
		}
		return step
	}
	outcome := s.Heading()
	switch {
	case outcome == "" && s.Status == StatusQueued:
		return Step{Action: ActPlace}
	case outcome == "" && len(s.LocksToTake()) > 0:
		return Step{Action: ActLock}
	case outcome == "":
		return s.first(RunRef{Index: s.firstPending(s.Playbooks)}, r.MaxDevices)
	case s.recovers(outcome):
		return s.first(RunRef{Recovery: true, Index: s.firstPending(s.Recovery)}, r.MaxDevices)
	}
	return Step{Action: ActFinish}
}

// soonest brings the step's time limit forward; zero: no limit.
func (s *Step) soonest(at time.Time) {
	if !at.IsZero() && (s.Until.IsZero() || at.Before(s.Until)) {
		s.Until = at
	}
}

// nextInRun says what to do while a run is in progress: kill it, or wait.
func (s *State) nextInRun(r Rules, run RunRef, now time.Time, step *Step) {
	p := s.Playbook(run)
	var a AbortRecord
	if s.Abort != nil {
		a = *s.Abort
	}
	kill := func(cause Cause) { step.Kill = append(step.Kill, Kill{run, cause}) }
	switch {
	case s.forced() && (!run.Recovery || a.NoRecovery) && (!p.Unabortable || a.Override):
		kill(CauseAbort)
		return
	case s.Fault != "" && !run.Recovery && !p.Unabortable:
		kill(CauseFault)
		return
	}
	if limit := r.RunLimit(run); limit > 0 {
		until := s.begunAt(run).Add(limit)
		if !now.Before(until) {
			kill(CauseTimeout)
			return
		}
		step.soonest(until)
	}
}

// forceAt is when a graceful abort turns to force; zero: never.
func (s *State) forceAt() time.Time {
	if a := s.Abort; a.Pending() && a.Mode == Graceful && a.ForceAt != nil {
		return *a.ForceAt
	}
	return time.Time{}
}

// Bars says why a run that was begun, and is known not to have started, must
// not start any more; empty: it may.
func (s *State) Bars(run RunRef) Cause {
	switch {
	case s.Abort.Pending() && (!run.Recovery || s.Abort.NoRecovery):
		return CauseAbort
	case s.Fault != "" && !run.Recovery:
		return CauseFault
	}
	return ""
}

// Heading returns the final status that the job is heading for, or "" while
// its playbooks go on.
func (s *State) Heading() Status {
	if s.Outcome != "" {
		return s.Outcome
	}
	pending := false
	for _, p := range s.Playbooks {
		switch {
		case p.Status == PlaybookFailure, p.cutShort() && s.Fault != "":
			return StatusFailure
		case p.cutShort():
			return StatusAborted
		case p.Status == PlaybookPending || p.Status == PlaybookRunning:
			pending = true
		}
	}
	switch {
	case pending && s.Fault != "":
		return StatusFailure
	case pending && s.EarlyExit && !s.halfDone():
	case pending && s.Abort.Pending():
		return StatusAborted
	case pending:
		return ""
	}
	// A fault that came when nothing was left but what must not be interrupted
	// has kept nothing from being done.
	if s.Fault != "" || len(s.Warnings) > 0 || slices.ContainsFunc(s.Devices, func(d Device) bool { return d.Status == PlaybookFailure }) {
		return StatusWarning
	}
	return StatusSuccess
}

// halfDone says whether a playbook was begun and has not ended.
func (s *State) halfDone() bool {
	return slices.ContainsFunc(s.Playbooks, func(p PlaybookState) bool {
		return p.EndedAt == nil && (p.BegunAt != nil || p.Letters != "" || p.Try > 0)
	})
}

// recovers says whether a recovery playbook has to run before the job ends as
// outcome. A job none of whose playbooks was started has nothing to recover.
func (s *State) recovers(outcome Status) bool {
	return s.recoverable(outcome) && (!s.Abort.Pending() || !s.Abort.NoRecovery)
}

// recoverable is recovers where nobody says recovery: false.
func (s *State) recoverable(outcome Status) bool {
	if outcome == StatusSuccess || outcome == StatusWarning || s.firstPending(s.Recovery) < 0 {
		return false
	}
	how := RecoveryOnFailure
	if outcome == StatusAborted {
		if how = RecoveryOnGraceful; s.Abort != nil && s.Abort.Mode == Force {
			how = RecoveryOnForce
		}
	}
	// Once they have begun they all run, however the abort goes on.
	begun := slices.ContainsFunc(s.Recovery, func(p PlaybookState) bool { return p.BegunAt != nil })
	if !begun && slices.Contains(s.NoRecoveryOn, how) {
		return false
	}
	return slices.ContainsFunc(s.Playbooks, func(p PlaybookState) bool { return p.StartedAt != nil && p.From == "" })
}

// CurrentRuns returns the runs that were begun and have not ended: one, or
// several of one playbook on as many devices.
func (s *State) CurrentRuns() []RunRef {
	for _, recovery := range []bool{false, true} {
		list := s.Playbooks
		if recovery {
			list = s.Recovery
		}
		for i, p := range list {
			run := RunRef{Recovery: recovery, Index: i, Try: p.Try}
			if !p.MultiDevice && p.BegunAt != nil && p.EndedAt == nil {
				return []RunRef{run}
			}
			var runs []RunRef
			for _, d := range p.Runs {
				run.Device = d.Device
				runs = append(runs, run)
			}
			if len(runs) > 0 {
				return runs
			}
		}
	}
	return nil
}

// Current returns the first of the runs in progress.
func (s *State) Current() (RunRef, bool) {
	if runs := s.CurrentRuns(); len(runs) > 0 {
		return runs[0], true
	}
	return RunRef{}, false
}

// begunAt is when the run in progress was begun.
func (s *State) begunAt(run RunRef) time.Time {
	p := s.Playbook(run)
	if d := p.run(run); d != nil {
		return d.BegunAt
	}
	if p.BegunAt == nil {
		return time.Time{}
	}
	return *p.BegunAt
}

// Running says whether the run's process is known to have been started.
func (s *State) Running(run RunRef) bool {
	p := s.Playbook(run)
	if run.Device > 0 {
		d := p.run(run)
		return d != nil && d.Started
	}
	return p.Status == PlaybookRunning
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

// firstPending is the first that is not through, which, where no run is in
// progress, is the one to begin or to go on with.
func (s *State) firstPending(list []PlaybookState) int {
	for i, p := range list {
		if p.Status == PlaybookPending || p.Status == PlaybookRunning {
			return i
		}
	}
	return -1
}
