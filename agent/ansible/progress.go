package ansible

import (
	"fmt"
	"maps"
)

// maxHosts bounds how many hosts a Progress remembers one by one.
const maxHosts = 1000

// unfinished is the most that Fraction says before a run's end has been seen.
const unfinished = 0.99

// Failure is a task that failed on a host, or a host that could not be reached.
type Failure struct {
	Host        string
	Task        string
	Message     string
	Unreachable bool
}

// String puts the failure in one sentence.
func (f Failure) String() string {
	what := "failed"
	if f.Unreachable {
		what = "could not reach the host"
	}
	s := fmt.Sprintf("task %q %s on %s", f.Task, what, f.Host)
	if f.Message != "" {
		s += ": " + f.Message
	}
	return s
}

// Progress is what the events of one run have told so far. Its zero value is a run of which nothing was seen. It is not
// safe for concurrent use.
type Progress struct {
	started   bool
	ended     bool
	noHosts   bool
	changed   bool
	failed    bool // says the recap: a host ended badly
	tasks     int  // as announced, without rescue sections, handlers and what is included while it runs
	begun     int
	fraction  float64
	current   string
	hosts     map[string]HostStats
	summaries int
	failures  []Failure // the last one of each host, in the order of the hosts' first ones
}

// Apply takes in the next event.
func (p *Progress) Apply(e Event) {
	switch e.Type {
	case PlaybookStart:
		p.started = true
		p.tasks = e.Tasks
	case TaskStart:
		p.current = e.Task
		if e.Handler {
			return
		}
		// A task is through, on every host, when the next one starts.
		if p.tasks > 0 {
			p.advance(min(float64(p.begun)/float64(p.tasks), unfinished))
		}
		p.begun++
	case TaskResult:
		p.result(e)
	case NoHostsMatched:
		p.noHosts = true
	case HostSummary:
		if p.summaries == 0 {
			// From here on the recap counts, which knows what was rescued, instead of what was added up.
			clear(p.hosts)
		}
		p.summaries++
		p.setHost(e.Host, e.Stats)
		p.changed = p.changed || e.Stats.Changed > 0
		p.failed = p.failed || e.Stats.Failed()
	case PlaybookStats:
		p.ended = true
		p.current = ""
		if !p.failed {
			p.advance(1)
		}
	}
}

func (p *Progress) result(e Event) {
	s := p.hosts[e.Host]
	switch e.Status {
	case ResultOK:
		s.OK++
	case ResultChanged:
		s.OK++
		s.Changed++
		p.changed = true
	case ResultSkipped:
		s.Skipped++
	case ResultFailed, ResultUnreachable:
		switch {
		case e.Ignored:
			s.Ignored++
		case e.Status == ResultFailed:
			s.Failures++
		default:
			s.Unreachable++
		}
		if !e.Ignored {
			p.fail(e)
		}
	}
	p.setHost(e.Host, s)
}

// fail remembers the last failure of each host. A failure that is rescued comes before the one that ends the host.
func (p *Progress) fail(e Event) {
	f := Failure{Host: e.Host, Task: e.Task, Message: e.Message, Unreachable: e.Status == ResultUnreachable}
	for i := range p.failures {
		if p.failures[i].Host == e.Host {
			p.failures[i] = f
			return
		}
	}
	if len(p.failures) < maxHosts {
		p.failures = append(p.failures, f)
	}
}

func (p *Progress) setHost(host string, s HostStats) {
	if p.hosts == nil {
		p.hosts = make(map[string]HostStats)
	}
	if _, ok := p.hosts[host]; ok || len(p.hosts) < maxHosts {
		p.hosts[host] = s
	}
}

func (p *Progress) advance(f float64) { p.fraction = max(p.fraction, f) }

// Started reports whether the playbook was begun: ansible-playbook could read it and its variables.
func (p *Progress) Started() bool { return p.started }

// Ended reports whether the playbook came to its end, well or not, rather than being cut off.
func (p *Progress) Ended() bool { return p.ended }

// NoHostsMatched reports whether a play had no host to run on, which Ansible takes for success.
func (p *Progress) NoHostsMatched() bool { return p.noHosts }

// Changed reports whether a task changed anything on any host.
func (p *Progress) Changed() bool { return p.changed }

// Fraction returns how much of the playbook is through, from 0 to 1. It never falls, and is 1 only when the playbook
// has ended without a failure.
func (p *Progress) Fraction() float64 { return p.fraction }

// CurrentTasks returns the names of the tasks that are running: none, or the one that was begun last.
func (p *Progress) CurrentTasks() []string {
	if p.current == "" {
		return nil
	}
	return []string{p.current}
}

// Hosts returns how the tasks of each host ended so far, of at most 1000 hosts.
func (p *Progress) Hosts() map[string]HostStats { return maps.Clone(p.hosts) }

// FirstFailure returns the failure that ended the first of the hosts that failed. Failures that were ignored do not count,
// and neither do rescued ones once the playbook has ended.
func (p *Progress) FirstFailure() (Failure, bool) {
	for _, f := range p.failures {
		if !p.ended || p.hosts[f.Host].Failed() {
			return f, true
		}
	}
	return Failure{}, false
}

// Explain says why ansible-playbook ended with an exit code other than 0, in a sentence for a person. The code alone
// does not tell: 4 is a host out of reach as well as a syntax error.
func (p *Progress) Explain(exitCode int) string {
	if f, ok := p.FirstFailure(); ok {
		return f.String()
	}
	switch {
	case !p.started:
		return fmt.Sprintf("ansible-playbook could not begin the playbook (exit code %d): see the log", exitCode)
	case exitCode == 99:
		return "ansible-playbook was interrupted"
	case !p.ended:
		return fmt.Sprintf("ansible-playbook ended in the middle of the playbook (exit code %d): see the log", exitCode)
	}
	return fmt.Sprintf("ansible-playbook ended with exit code %d: see the log", exitCode)
}

// ExplainExecutable says why an executable ended with an exit code other than 0. There are no events that could tell.
func ExplainExecutable(exitCode int) string {
	return fmt.Sprintf("the executable ended with exit code %d: see the log", exitCode)
}
