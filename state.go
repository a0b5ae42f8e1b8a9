package quell

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// What every state keeps to, whatever the protocol does with it: its texts,
// its size, and that copies of it do not change each other.

const (
	maxProcesses = 16 // listed in one place
	maxName      = 64 // bytes of a process' name
	maxWord      = 16 // bytes of a signal's name or a process' state
	maxWarnings  = 8
	maxWarning   = 256
	// maxDeviceError bounds the error of one device in the job's status; its
	// log has the whole.
	maxDeviceError = 256
	// statePad is what the store and the methods that only set a few bytes
	// may add to a state that fits.
	statePad = 1 << 10
)

// Clone returns a copy that shares nothing with s that anybody writes to. The
// methods of a state need no clone; who sets fields of a shared one does.
func (s State) Clone() State {
	s.unshare()
	return s
}

// unshare gives s its own copy of all that its methods write to. Times, exit
// codes and lists of processes are replaced, never written to, and stay shared.
func (s *State) unshare() {
	s.Playbooks, s.Recovery = clonePlaybooks(s.Playbooks), clonePlaybooks(s.Recovery)
	s.Devices, s.Warnings = slices.Clone(s.Devices), slices.Clone(s.Warnings)
	if s.Abort != nil {
		a := *s.Abort
		s.Abort = &a
	}
}

func clonePlaybooks(list []PlaybookState) []PlaybookState {
	list = slices.Clone(list)
	for i := range list {
		list[i].Runs = slices.Clone(list[i].Runs)
	}
	return list
}

// fit keeps the state inside its size in etcd, since an abort must not fail
// for what a job has to tell: it gives up lists of leftovers (their counts
// stay), then long errors, then all errors, the oldest first, then texts of
// the abort's record. What is left fits always: see [Template.Check],
// [CheckDeviceIDs] and the texts' own bounds.
func (s *State) fit() {
	excess := encodedSize(s) - (MaxStateSize - statePad)
	give := func(value any, shorten func()) {
		if excess > 0 {
			before := encodedSize(value)
			shorten()
			excess -= before - encodedSize(value)
		}
	}
	for _, shorten := range []func(*PlaybookState, *Device){
		func(p *PlaybookState, _ *Device) { p.Leftovers = nil },
		func(p *PlaybookState, d *Device) { p.Error, d.Error = cut(p.Error, maxName), cut(d.Error, maxName) },
		func(p *PlaybookState, d *Device) { p.Error, d.Error = "", "" },
	} {
		for _, list := range [][]PlaybookState{s.Playbooks, s.Recovery} {
			for i := range list {
				give(&list[i], func() { shorten(&list[i], &Device{}) })
			}
		}
		for i := range s.Devices {
			give(&s.Devices[i], func() { shorten(&PlaybookState{}, &s.Devices[i]) })
		}
	}
	give(&s.Warnings, func() { s.Warnings = s.Warnings[:min(1, len(s.Warnings))] })
	give(&s.Warnings, func() {
		for i := range s.Warnings {
			s.Warnings[i] = cut(s.Warnings[i], maxName)
		}
	})
	if a := s.Abort; a != nil {
		give(a, func() { a.Survivors = a.Survivors[:min(1, len(a.Survivors))] })
		give(a, func() {
			a.Reason, a.Error, a.RequestedBy = cut(a.Reason, maxName), cut(a.Error, maxName), cut(a.RequestedBy, maxName)
		})
	}
	give(&s.Survivors, func() { s.Survivors = s.Survivors[:min(1, len(s.Survivors))] })
	give(&s.Reason, func() { s.Reason = cut(s.Reason, maxName) })
	give(&s.Fault, func() { s.Fault = cut(s.Fault, maxName) })
}

// What a state takes at most, beside its devices and names, when fit has given
// up what it can: in bytes, for all of it and for each playbook.
const (
	restOfState    = 6656
	restOfPlaybook = 420
	restOfRun      = 70
)

// checkSize says whether a state with these devices fits its key whatever
// comes of the job.
func (s *State) checkSize(devices []Device) error {
	if err := s.Locks.checkLocks(devices); err != nil {
		return err
	}
	size := restOfState
	for _, list := range [][]PlaybookState{s.Playbooks, s.Recovery} {
		for _, p := range list {
			size += restOfPlaybook + encodedSize(p.URI)
		}
	}
	size += len(devices) + min(len(devices), MaxDevicesAtOnce)*restOfRun
	for _, d := range devices {
		size += encodedSize(Device{ID: d.ID, Status: PlaybookFailure, Changed: true, Gone: true, Step: 99}) + 1
	}
	if size > MaxStateSize {
		return Errorf(CodeTooLarge, "%d devices and %d playbooks take up to %d bytes of the job's status: at most %d; give it fewer devices",
			len(devices), len(s.Playbooks)+len(s.Recovery), size, MaxStateSize)
	}
	return nil
}

// encodedSize is 0 for what cannot be encoded; that shows when it is stored.
func encodedSize(v any) int {
	text, _ := json.Marshal(v)
	return len(text)
}

// someOf bounds a list of processes.
func someOf(list []Process) []Process {
	list = slices.Clone(list[:min(len(list), maxProcesses)])
	for i, p := range list {
		list[i].Command, list[i].State = cut(p.Command, maxName), cut(p.State, maxWord)
	}
	return list
}

// reason tells in words why the job ends as it does.
func (s *State) reason() string {
	switch s.Heading() {
	case StatusFailure:
		if s.Fault != "" {
			return s.Fault
		}
		for _, p := range s.Playbooks {
			if p.Status == PlaybookFailure {
				return cut(fmt.Sprintf("playbook %s failed: %s", excerpt(p.URI), p.failure()), maxReason)
			}
		}
	case StatusAborted:
		return s.Abort.reason()
	case StatusWarning:
		texts := append(s.failedDevices(), s.Warnings...)
		if s.Fault != "" {
			texts = append([]string{s.Fault + ", and all playbooks have ended well"}, texts...)
		}
		return cut(strings.Join(texts, "; "), maxReason)
	}
	return ""
}

// failedDevices says in words that devices have failed, if some have.
func (s *State) failedDevices() []string {
	failed, first := 0, Device{}
	for _, d := range s.Devices {
		if d.Status != PlaybookFailure {
			continue
		}
		if failed++; failed == 1 {
			first = d
		}
	}
	if failed == 0 {
		return nil
	}
	text := fmt.Sprintf("%d of %d devices failed", failed, len(s.Devices))
	if first.Error != "" {
		text += fmt.Sprintf(" (%s: %s)", excerpt(first.ID), first.Error)
	}
	return []string{text}
}

func (p PlaybookState) failure() string {
	switch {
	case p.Error != "":
		return p.Error
	case p.Signal != "":
		return "signal " + p.Signal + " ended it"
	case p.ExitCode != nil:
		return fmt.Sprintf("exit code %d", *p.ExitCode)
	}
	return "it never started"
}

// SetProgress sets the percentage from what is finished and from the
// fractions (0 to 1 each) of the runs in progress, added up.
func (s *State) SetProgress(t Template, fractions float64) {
	if s.Status.Final() || math.IsNaN(fractions) {
		return
	}
	done := 0.0
	for i, w := range t.Weights() {
		p := &s.Playbooks[i]
		switch {
		case p.Letters != "":
			total := len(p.Letters) - p.count(".")
			running := min(max(fractions, 0), float64(len(p.Runs)))
			done += w * (float64(p.count("S")+p.count("F")) + running) / float64(max(1, total))
		case p.Status == PlaybookSuccess:
			done += w
		case p.Status == PlaybookRunning:
			done += w * min(max(fractions, 0), 1)
		}
	}
	s.Percentage = max(s.Percentage, float64(int(done*1000+0.5))/10)
}
