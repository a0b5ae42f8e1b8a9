package quell

import (
	"fmt"
	"time"
)

// Limits are what holds for jobs whose template and request do not say
// otherwise; 0: no limit.
type Limits struct {
	Playbook   time.Duration // of one run of a playbook
	Recovery   time.Duration // of one run of a recovery playbook
	Job        time.Duration // of a job, from its first playbook's begin
	Queue      time.Duration // of waiting in the queue
	MaxDevices int           // runs at once of a playbook that runs once for each device; 0: one
}

// MaxDevicesAtOnce is the largest MaxDevices.
const MaxDevicesAtOnce = 50

// Rules are what a job keeps to: its template, and the limits that hold for
// it.
type Rules struct {
	Template Template
	Limits
	// requested is the request's limit of a playbook, which one in the template
	// does not win over.
	requested time.Duration
}

// Rules are those of the job where these are the limits by default: the
// request wins over the template, and this over the default.
func (s Spec) Rules(defaults Limits) Rules {
	r := Rules{Template: s.Template, Limits: defaults, requested: time.Duration(s.PlaybookTimeout)}
	for _, l := range []struct {
		limit *time.Duration
		said  []Duration
	}{
		{&r.Job, []Duration{s.Timeout, s.Template.Timeout}},
		{&r.Queue, []Duration{s.QueueTimeout, s.Template.QueueTimeout}},
	} {
		for _, d := range l.said {
			if d > 0 {
				*l.limit = time.Duration(d)
				break
			}
		}
	}
	return r
}

// RunLimit is the time limit of one run of the playbook; 0: none. One that
// must not be interrupted has only a limit that its own template gives it.
func (r Rules) RunLimit(run RunRef) time.Duration {
	p := r.Template.Playbook(run)
	switch {
	case p.Timeout > 0 && (run.Recovery || r.requested == 0 || !p.MayKill()):
		return time.Duration(p.Timeout)
	case !p.MayKill():
		return 0
	case run.Recovery:
		return r.Recovery
	case r.requested > 0:
		return r.requested
	}
	return r.Playbook
}

// QueuedUntil is when a job that was created then has waited too long; zero:
// never.
func (r Rules) QueuedUntil(created time.Time) time.Time {
	if r.Queue <= 0 {
		return time.Time{}
	}
	return created.Add(r.Queue)
}

// WaitedTooLong is the fault of a job that struck its limit in the queue.
func (r Rules) WaitedTooLong(reason string) string {
	text := fmt.Sprintf("it waited in the queue for longer than its limit of %s", Duration(r.Queue))
	if reason != "" {
		text += ": " + reason
	}
	return text
}

// jobUntil is when the job strikes its limit; zero: never.
func (s *State) jobUntil(r Rules) time.Time {
	if r.Job <= 0 || s.StartedAt == nil || s.Outcome != "" || s.Fault != "" {
		return time.Time{}
	}
	return s.StartedAt.Add(r.Job)
}

// Expire records that the job has struck its time limit, where it has, and
// says whether that changed anything. The runs in progress are killed then as
// by a force abort. A force abort that came before is why the job ends.
func (s *State) Expire(r Rules, now time.Time) bool {
	until := s.jobUntil(r)
	if s.Status.Final() || until.IsZero() || now.Before(until) || s.AbortTookEffect() || s.forced() {
		return false
	}
	if outcome := s.Heading(); outcome != "" { // all is done but the end
		if _, running := s.Current(); !running {
			return false
		}
	}
	s.Fail(fmt.Sprintf("the job's time limit of %s has passed", Duration(r.Job)))
	return true
}

// forced says whether a force abort is pending.
func (s *State) forced() bool { return s.Abort.Pending() && s.Abort.Mode == Force }

// Fail records why the job cannot go on, where no playbook's end says it. The
// first fault counts.
func (s *State) Fail(fault string) {
	if s.Status.Final() || s.Outcome != "" || s.Fault != "" {
		return
	}
	s.unshare()
	s.Fault = cut(fault, maxReason)
	s.fit()
}
