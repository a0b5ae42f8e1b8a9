package quell

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What happens to a job, as its owner tells the state. What is to happen next
// is protocol.go's matter; playbooks that run once for each device are
// devices.go's.

// Assign gives a queued job to a node.
func (s *State) Assign(node string) {
	if s.Status != StatusQueued {
		return
	}
	s.Status, s.Node, s.Reason = StatusStarting, node, ""
}

// Begin marks runs, all of one playbook, as allowed to start. None may be
// started before this is stored.
func (s *State) Begin(runs []RunRef, now time.Time) {
	if s.Status.Final() || len(runs) == 0 {
		return
	}
	s.unshare()
	s.enter(runs[0], now)
	if !runs[0].Recovery && s.StartedAt == nil {
		s.StartedAt = &now
	}
	for _, run := range runs {
		p := s.Playbook(run)
		switch {
		case run.Device > 0:
			s.beginDevice(run, now)
		case p.BegunAt == nil:
			p.BegunAt = &now
		}
	}
	s.fit()
}

// enter sets what holds as soon as a playbook begins: a first recovery
// playbook decides how the job ends.
func (s *State) enter(run RunRef, now time.Time) {
	if !run.Recovery {
		s.Status = StatusInProgress
		return
	}
	if s.Outcome == "" {
		s.Outcome = s.Heading()
		s.Reason = s.reason()
		s.closePlaybooks(now)
	}
	s.Status = StatusRecovering
}

// Started marks the run's process as started.
func (s *State) Started(run RunRef, at time.Time) {
	if s.Status.Final() || !slices.Contains(s.CurrentRuns(), run) {
		return
	}
	s.unshare()
	p := s.Playbook(run)
	if p.Status = PlaybookRunning; p.StartedAt == nil {
		p.StartedAt = &at
	}
	if run.Device > 0 {
		p.run(run).Started = true
		if !run.Recovery {
			s.Devices[run.Device-1].Status = PlaybookRunning
		}
	}
	s.fit()
}

// Survived records what the kills of the current runs have not brought down
// yet. signalledAt may be zero where it is not known.
func (s *State) Survived(survivors []Process, signalledAt time.Time) {
	if s.Status.Final() {
		return
	}
	s.unshare()
	if s.Survivors = nil; s.Abort.Pending() {
		s.Abort.Survivors = someOf(survivors)
		if !signalledAt.IsZero() {
			s.Abort.SignalledAt = &signalledAt
		}
	} else if len(survivors) > 0 {
		s.Survivors = someOf(survivors)
	}
	s.tellHoldUp()
	s.fit()
}

// Ended records how the run ended. It is told once nothing of the run's tree
// is left.
func (s *State) Ended(run RunRef, r RunResult) {
	if s.Status.Final() || !slices.Contains(s.CurrentRuns(), run) {
		return
	}
	s.unshare()
	if r.Error == "" {
		r.Error = r.why()
	}
	r.Error = strings.Join(strings.Fields(r.Error), " ") // one line, in reasons and lists
	p := s.Playbook(run)
	// What a run says that is repeated counts for nothing yet.
	repeated := len(r.Report.Retry) > 0 && p.RetriesLeft > 0
	p.Leftovers = someOf(append(slices.Clone(p.Leftovers), r.Leftovers...))
	p.LeftoverCount += max(r.LeftoverCount, len(r.Leftovers))
	if run.Device > 0 {
		s.endedDevice(run, r)
	} else {
		s.endedPlaybook(run, r)
	}
	if !run.Recovery && !repeated {
		s.EarlyExit = s.EarlyExit || r.Report.EarlyExit && r.Status() == PlaybookSuccess
		if w := r.Report.Warning; w != "" {
			s.warn(w)
		}
	}
	s.Survivors = nil // those of other runs are told anew
	s.recordDeath(run, r)
	s.fit()
}

// FailPlaybook makes a failure of a playbook that has ended well on its
// devices and cannot be gone on from.
func (s *State) FailPlaybook(run RunRef, text string) {
	if s.Status.Final() || s.Playbook(run).Status != PlaybookSuccess {
		return
	}
	s.unshare()
	p := s.Playbook(run)
	p.Status, p.Error = PlaybookFailure, cut(text, maxReason)
	s.fit()
}

// warn adds to what makes the job a WARNING.
func (s *State) warn(text string) {
	if text = cut(text, maxWarning); len(s.Warnings) < maxWarnings && !slices.Contains(s.Warnings, text) {
		s.Warnings = append(s.Warnings, text)
	}
}

// Warn makes a job that ends well a WARNING.
func (s *State) Warn(text string) {
	if s.Status.Final() {
		return
	}
	s.unshare()
	s.warn(text)
	s.fit()
}

// endedPlaybook records the end of a playbook's only run.
func (s *State) endedPlaybook(run RunRef, r RunResult) {
	p := s.Playbook(run)
	p.EndedAt = &r.EndedAt
	p.Error, p.ExitCode, p.Signal = cut(r.Error, maxReason), nil, ""
	if p.Status = r.Status(); !r.NeverStarted {
		// A run that may have started counts as started, whatever is known of it.
		if p.StartedAt = &r.StartedAt; r.StartedAt.IsZero() {
			p.StartedAt = p.BegunAt
		}
		p.setExit(r)
	}
	if p.Status != PlaybookSuccess || run.Recovery {
		return
	}
	if r.Report.Devices != nil {
		if err := s.setDevices(r.Report.Devices); err != nil {
			p.Status, p.Error = PlaybookFailure, cut("its device_json cannot be used: "+MessageOf(err), maxReason)
			return
		}
	}
	switch {
	case len(r.Report.Retry) == 0:
	case p.RetriesLeft == 0:
		p.Status, p.Error = PlaybookFailure, fmt.Sprintf("it still asked for a repetition (retry_devices) after %d of them", p.Try)
	default:
		p.Status, p.EndedAt, p.BegunAt = PlaybookPending, nil, nil
		p.Try, p.RetriesLeft = p.Try+1, p.RetriesLeft-1
	}
}

func (p *PlaybookState) setExit(r RunResult) {
	if p.Signal = cut(r.Signal, maxWord); r.Signal == "" {
		p.ExitCode = &r.ExitCode
	}
}

// why says what went wrong where nobody else did.
func (r RunResult) why() string {
	switch {
	case r.Killed == CauseTimeout:
		return "its time limit had passed"
	case r.Killed == CauseFault:
		return "killed, since the job could not go on"
	case r.Killed == "" && r.ExitCode == 0 && r.Signal == "":
		return r.Report.Failure
	}
	return ""
}

// Status is the playbook's status after such a run.
func (r RunResult) Status() PlaybookStatus {
	cutShort := r.Killed == CauseAbort || r.Killed == CauseFault
	switch {
	case cutShort && r.NeverStarted:
		return PlaybookSkipped
	case cutShort:
		return PlaybookInterrupted
	case !r.NeverStarted && r.Killed == "" && r.Signal == "" && r.ExitCode == 0 && r.Error == "" && r.Report.Failure == "":
		return PlaybookSuccess
	}
	return PlaybookFailure
}

// Finish makes the state final. It does nothing where the job cannot end yet.
func (s *State) Finish(now time.Time) {
	outcome := s.Heading()
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
	s.closePlaybooks(now)
	s.closeAll(s.Recovery, now)
	s.Status, s.Outcome, s.EndedAt = outcome, "", &now
	if outcome == StatusSuccess || outcome == StatusWarning {
		s.Percentage = 100
	}
	s.fit()
}

// closePlaybooks skips what will not run any more.
func (s *State) closePlaybooks(now time.Time) {
	skip := func(d *Device) { d.Status, d.Locking = PlaybookSkipped, false }
	for i := range s.Devices {
		for _, p := range s.Playbooks {
			if i < len(p.Letters) && upper(p.Letters[i]) == 'P' {
				skip(&s.Devices[i])
			}
		}
		if d := &s.Devices[i]; d.Status == PlaybookPending || d.Status == PlaybookRunning {
			skip(d)
		}
	}
	s.closeAll(s.Playbooks, now)
}

func (s *State) closeAll(list []PlaybookState, now time.Time) {
	for i := range list {
		p := &list[i]
		if p.Letters != "" {
			p.Letters = strings.ReplaceAll(strings.ToUpper(p.Letters), "P", "K")
			if p.BegunAt != nil {
				p.EndedAt = &now
			}
			p.close()
		}
		if p.Status == PlaybookPending || p.Status == PlaybookRunning {
			if p.Status = PlaybookSkipped; p.Try > 0 {
				p.Status, p.EndedAt = PlaybookInterrupted, &now // it was to run again
			}
		}
	}
}
