package quell

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// What every state keeps to, whatever the protocol does with it: its texts,
// its size, and that copies of it do not change each other.

const (
	maxProcesses = 16 // listed in one place
	maxName      = 64 // bytes of a process' name
	maxWord      = 16 // bytes of a signal's name or a process' state
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
	s.Playbooks, s.Recovery = slices.Clone(s.Playbooks), slices.Clone(s.Recovery)
	if s.Abort != nil {
		a := *s.Abort
		s.Abort = &a
	}
}

// fit keeps the state inside its size in etcd, since an abort must not fail
// for what a job has to tell: it gives up lists of leftovers (their counts
// stay), then long errors, then all errors, the oldest first. What is left
// fits always: see [Template.Check] and the texts' own bounds.
func (s *State) fit() {
	excess := encodedSize(s) - (MaxStateSize - statePad)
	for _, shorten := range []func(*PlaybookState){
		func(p *PlaybookState) { p.Leftovers = nil },
		func(p *PlaybookState) { p.Error = cut(p.Error, maxName) },
		func(p *PlaybookState) { p.Error = "" },
	} {
		for _, list := range [][]PlaybookState{s.Playbooks, s.Recovery} {
			for i := range list {
				if excess <= 0 {
					return
				}
				before := encodedSize(list[i])
				shorten(&list[i])
				excess -= before - encodedSize(list[i])
			}
		}
	}
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
	switch s.decide() {
	case StatusFailure:
		for _, p := range s.Playbooks {
			if p.Status == PlaybookFailure {
				return cut(fmt.Sprintf("playbook %s failed: %s", excerpt(p.URI), p.failure()), maxReason)
			}
		}
	case StatusAborted:
		return s.Abort.reason()
	}
	return ""
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

// SetProgress sets the percentage from the finished playbooks and the
// fraction (0 to 1) of the one in progress.
func (s *State) SetProgress(t Template, fraction float64) {
	if s.Status.Final() {
		return
	}
	if fraction = min(max(fraction, 0), 1); math.IsNaN(fraction) {
		fraction = 0
	}
	done := 0.0
	for i, w := range t.Weights() {
		switch s.Playbooks[i].Status {
		case PlaybookSuccess:
			done += w
		case PlaybookRunning:
			done += w * fraction
		}
	}
	s.Percentage = max(s.Percentage, float64(int(done*1000+0.5))/10)
}
