package quell

import "cmp"

// ResumedState is the state of a new job that goes on with the work of one
// that was aborted or failed: from the first playbook that did not end well,
// on the devices with which it was not done. What the earlier job had done
// stands in it as done there. A device that had failed in that very playbook
// has another chance; one that failed before stays left out.
//
// CodeConflict says why the job cannot be resumed.
func ResumedState(spec Spec, from Job) (State, error) {
	old := from.State
	switch {
	case !old.Status.Final():
		return State{}, Errorf(CodeConflict, "job %s is not final (%s): abort it first, or wait for its end", from.Spec.ID, old.Status)
	case old.Status != StatusAborted && old.Status != StatusFailure:
		return State{}, Errorf(CodeConflict, "job %s ended as %s: only one that was aborted or failed can be resumed; to do all of it again, rerun it", from.Spec.ID, old.Status)
	}
	next := -1
	for i, p := range old.Playbooks {
		if p.Status != PlaybookSuccess {
			next = i
			break
		}
	}
	if next < 0 {
		return State{}, Errorf(CodeConflict, "all playbooks of job %s ended well: there is nothing left to resume", from.Spec.ID)
	}
	s := NewState(spec)
	s.Warnings = old.Warnings
	s.Devices = nil
	for _, d := range old.Devices {
		d.Locking = false
		switch {
		case d.Status == PlaybookInterrupted, d.Status == PlaybookSkipped, d.Status == PlaybookRunning,
			d.Status == PlaybookFailure && d.Step == next && !d.Gone:
			d.Status, d.Error = PlaybookPending, ""
		}
		s.Devices = append(s.Devices, d)
	}
	if old.Devices != nil && s.Devices == nil {
		s.Devices = []Device{}
	}
	for i := range next {
		p := old.Playbooks[i]
		p.From = cmp.Or(p.From, from.Spec.ID)
		p.Leftovers, p.LeftoverCount = nil, 0 // they were that job's
		s.Playbooks[i] = p
	}
	if p := &s.Playbooks[next]; p.MultiDevice {
		if err := s.resumeDevices(p, old.Playbooks[next], from.Spec.ID); err != nil {
			return State{}, err
		}
	}
	s.unshare()
	return s, nil
}

// resumeDevices opens a playbook that runs once for each device for those
// with which it was not done.
func (s *State) resumeDevices(p *PlaybookState, old PlaybookState, id string) error {
	// One that was resumed and ended before it began anew has counts as well.
	if old.BegunAt == nil && old.Succeeded+old.Failed == 0 || len(s.Devices) == 0 {
		return nil // it had not begun: it opens like any other
	}
	letters, left := make([]byte, len(s.Devices)), false
	for i, d := range s.Devices {
		switch {
		case d.Status == PlaybookFailure || d.Gone:
			letters[i] = '.'
		case d.Status == PlaybookSuccess:
			letters[i] = 'S'
		default:
			letters[i], left = 'P', true
		}
	}
	if !left {
		return Errorf(CodeConflict, "no device of job %s is left to go on with: to do all of it again, rerun it", id)
	}
	p.Letters = string(letters)
	return nil
}
