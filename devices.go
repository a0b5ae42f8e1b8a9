package quell

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A playbook that runs once for each device. While it goes on, its Letters say
// how far each device is, and its Runs are those in progress; when no device
// is left the playbook is closed and counts.

// run returns the run in progress on a device.
func (p *PlaybookState) run(run RunRef) *DeviceRun {
	for i := range p.Runs {
		if p.Runs[i].Device == run.Device {
			return &p.Runs[i]
		}
	}
	return nil
}

// setLetter keeps the mark that a repetition was asked for.
func (p *PlaybookState) setLetter(device int, letter byte) {
	letters := []byte(p.Letters)
	if letters[device-1] != upper(letters[device-1]) {
		letter += 'a' - 'A'
	}
	letters[device-1] = letter
	p.Letters = string(letters)
}

func upper(letter byte) byte {
	if letter >= 'a' && letter <= 'z' {
		return letter - 'a' + 'A'
	}
	return letter
}

// count counts the devices with a letter, marked or not.
func (p PlaybookState) count(letter string) int {
	return strings.Count(strings.ToUpper(p.Letters), letter)
}

// letters are those with which the playbook opens: it concerns the devices
// that have not failed and are still listed. A recovery playbook concerns all
// that the job has worked on.
func (s *State) letters(run RunRef) string {
	if p := s.Playbook(run); p.Letters != "" {
		return p.Letters
	}
	letters := make([]byte, len(s.Devices))
	for i, d := range s.Devices {
		letters[i] = '.'
		if run.Recovery || d.Status != PlaybookFailure && !d.Gone {
			letters[i] = 'P'
		}
	}
	return string(letters)
}

// first is the step that begins a playbook, or goes on with one of which no
// run is in progress.
func (s *State) first(run RunRef, most int) Step {
	p := s.Playbook(run)
	run.Try = p.Try
	if !p.MultiDevice {
		return Step{Action: ActBegin, Begin: []RunRef{run}}
	}
	if begin := s.pendingRuns(run, most); len(begin) > 0 {
		return Step{Action: ActBegin, Begin: begin}
	}
	return Step{Action: ActPass, Pass: run}
}

// pendingRuns are up to most runs of the playbook that have not begun.
func (s *State) pendingRuns(run RunRef, most int) []RunRef {
	var runs []RunRef
	letters := s.letters(run)
	for i := range len(letters) {
		if len(runs) >= max(1, most) {
			break
		}
		if upper(letters[i]) == 'P' {
			run.Device = i + 1
			runs = append(runs, run)
		}
	}
	return runs
}

// furtherDevices are the runs of the current playbook that can begin beside
// those in progress.
func (s *State) furtherDevices(run RunRef, room int) []RunRef {
	if run.Device == 0 || room <= 0 || s.Bars(run) != "" {
		return nil
	}
	return s.pendingRuns(run, room)
}

// beginDevice marks one device's run as allowed to start.
func (s *State) beginDevice(run RunRef, now time.Time) {
	p := s.Playbook(run)
	p.Letters = s.letters(run)
	if p.BegunAt == nil {
		p.BegunAt = &now
	}
	if upper(p.Letters[run.Device-1]) != 'P' {
		return
	}
	p.setLetter(run.Device, 'R')
	p.Runs = append(p.Runs, DeviceRun{Device: run.Device, BegunAt: now.Truncate(time.Millisecond)})
}

// endedDevice records the end of one device's run.
func (s *State) endedDevice(run RunRef, r RunResult) {
	p, status := s.Playbook(run), r.Status()
	p.Runs = slices.DeleteFunc(p.Runs, func(d DeviceRun) bool { return d.Device == run.Device })
	p.setLetter(run.Device, letterOf(status))
	if !r.NeverStarted && p.StartedAt == nil {
		at := r.StartedAt
		if at.IsZero() {
			at = *p.BegunAt
		}
		p.StartedAt = &at
	}
	d := &s.Devices[run.Device-1]
	if status != PlaybookSuccess && status != PlaybookSkipped && p.Error == "" {
		p.Error = cut(fmt.Sprintf("device %s: %s", excerpt(d.ID), r.failure()), maxReason)
		if !r.NeverStarted {
			p.setExit(r)
		}
	}
	if run.Recovery {
		s.closeWhenDone(p, r.EndedAt)
		return
	}
	d.Changed = d.Changed || r.Changed
	d.Status, d.Error, d.Step = status, "", run.Index
	if status == PlaybookFailure {
		d.Error = cut(r.failure(), maxDeviceError)
	}
	for _, id := range r.Report.Retry {
		if at := s.deviceIndex(id); at >= 0 && p.Letters[at] != '.' {
			p.Letters = p.Letters[:at] + strings.ToLower(p.Letters[at:at+1]) + p.Letters[at+1:]
		}
	}
	s.again(p)
	s.closeWhenDone(p, r.EndedAt)
}

// failure says in words why a run failed.
func (r RunResult) failure() string {
	if r.Error != "" {
		return r.Error
	}
	p := PlaybookState{Signal: r.Signal}
	if !r.NeverStarted {
		p.ExitCode = &r.ExitCode
	}
	return p.failure()
}

// again opens the next round of a playbook whose runs asked for a repetition
// on some devices, once all of the round have ended. Devices for which that
// was asked too often fail.
func (s *State) again(p *PlaybookState) {
	letters := []byte(p.Letters)
	if p.count("P")+p.count("R") > 0 || !strings.ContainsAny(p.Letters, "sf") {
		return
	}
	goOn := p.RetriesLeft > 0
	for i, letter := range letters {
		d := &s.Devices[i]
		switch {
		case goOn && (letter == 's' || letter == 'f'):
			letters[i] = 'P'
			d.Status, d.Error = PlaybookPending, ""
		case letter == 's':
			letters[i] = 'F'
			d.Status, d.Error = PlaybookFailure, fmt.Sprintf("a repetition (retry_devices) was still asked for after %d of them", p.Try)
			if p.Error == "" {
				p.Error = fmt.Sprintf("device %s: %s", excerpt(d.ID), d.Error)
			}
		default:
			letters[i] = upper(letter)
		}
	}
	if p.Letters = string(letters); goOn {
		p.Try, p.RetriesLeft = p.Try+1, p.RetriesLeft-1
		// What is said so far may be of a run that is made good now.
		p.Error, p.ExitCode, p.Signal = "", nil, ""
		if first := strings.Index(p.Letters, "F"); first >= 0 {
			p.Error = cut(fmt.Sprintf("device %s: %s", excerpt(s.Devices[first].ID), s.Devices[first].Error), maxReason)
		}
	}
}

// closeWhenDone closes a playbook once all of its devices are through.
func (s *State) closeWhenDone(p *PlaybookState, now time.Time) {
	if p.count("P")+p.count("R") > 0 {
		return
	}
	p.EndedAt = &now
	p.close()
}

// close turns the letters into the playbook's status and counts.
func (p *PlaybookState) close() {
	p.Succeeded, p.Failed = p.count("S"), p.count("F")
	total := p.Succeeded + p.Failed + p.count("I") + p.count("K")
	switch {
	case p.count("I") > 0, p.count("K") > 0 && p.StartedAt != nil:
		p.Status = PlaybookInterrupted
	case p.count("K") > 0:
		p.Status = PlaybookSkipped
	case p.Succeeded == 0 && p.Failed > 0:
		p.Status = PlaybookFailure
		p.Error = cut(fmt.Sprintf("it failed on all of its %d devices: %s", p.Failed, p.Error), maxReason)
	case p.Failed > 0:
		p.Status, p.ExitCode, p.Signal = PlaybookSuccess, nil, ""
		p.Error = cut(fmt.Sprintf("it failed on %d of %d devices: %s", p.Failed, total, p.Error), maxReason)
	default:
		p.Status, p.Error, p.ExitCode, p.Signal = PlaybookSuccess, "", nil, ""
	}
	p.Letters, p.Runs = "", nil
}

// Pass records that a playbook has no device to run on. A job that never had
// any, or of whose devices all have failed, fails by it.
func (s *State) Pass(run RunRef, now time.Time) {
	if s.Status.Final() || s.Playbook(run).EndedAt != nil {
		return
	}
	s.unshare()
	s.enter(run, now)
	p := s.Playbook(run)
	p.BegunAt, p.EndedAt = &now, &now
	listed := slices.ContainsFunc(s.Devices, func(d Device) bool { return !d.Gone })
	switch {
	case run.Recovery, s.Devices != nil && !listed:
		p.Status, p.Error = PlaybookSuccess, ""
	case s.Devices == nil:
		p.Status, p.Error = PlaybookFailure, "it runs once for each device, and the job has none: give params.device_list, or device_json in the output of an earlier playbook"
	default:
		p.Status, p.Error = PlaybookFailure, "no device is left to run it on: all have failed"
		for _, d := range s.Devices {
			if d.Status == PlaybookFailure && d.Error != "" {
				p.Error += fmt.Sprintf(" (device %s: %s)", excerpt(d.ID), d.Error)
				break
			}
		}
		p.Error = cut(p.Error, maxReason)
	}
	s.fit()
}

// setDevices makes these the devices of the playbooks to come. New ones are
// added; those that are not among them stay, and no playbook runs on them any
// more.
func (s *State) setDevices(ids []string) error {
	if err := CheckDeviceIDs(ids); err != nil {
		return err
	}
	listed := make(map[string]bool, len(ids))
	for _, id := range ids {
		listed[id] = true
	}
	known := make(map[string]bool, len(s.Devices))
	next := slices.Clone(s.Devices)
	if next == nil {
		next = []Device{}
	}
	for i := range next {
		known[next[i].ID] = true
		next[i].Gone = !listed[next[i].ID]
	}
	for _, id := range ids {
		if !known[id] {
			next = append(next, Device{ID: id, Status: PlaybookPending, Locking: s.Locks != nil && s.Locks.Level == ConcurrencyDevice})
		}
	}
	if err := s.checkSize(next); err != nil {
		return err
	}
	s.Devices = next
	return nil
}
