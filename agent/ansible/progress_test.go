package ansible

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgress(t *testing.T) {
	var p Progress
	require.False(t, p.Started())
	require.Zero(t, p.Fraction())
	require.Contains(t, p.Explain(1), "could not begin")

	apply := func(events ...Event) {
		for _, e := range events {
			before := p.Fraction()
			p.Apply(e)
			require.GreaterOrEqual(t, p.Fraction(), before)
		}
	}
	result := func(host, task string, status ResultStatus) Event {
		return Event{Type: TaskResult, Host: host, Task: task, Status: status}
	}

	apply(Event{Type: PlaybookStart, Tasks: 4}, Event{Type: TaskStart, Task: "one"})
	require.True(t, p.Started())
	require.Zero(t, p.Fraction())
	require.Equal(t, []string{"one"}, p.CurrentTasks())

	apply(result("a", "one", ResultOK), Event{Type: TaskStart, Task: "two"})
	require.InDelta(t, 0.25, p.Fraction(), 1e-9)
	require.False(t, p.Changed())

	apply(result("a", "two", ResultChanged), Event{Type: TaskStart, Task: "restart", Handler: true})
	require.InDelta(t, 0.25, p.Fraction(), 1e-9, "handlers were not announced and do not count")
	require.Equal(t, []string{"restart"}, p.CurrentTasks())
	require.True(t, p.Changed())
	require.Equal(t, HostStats{OK: 2, Changed: 1}, p.Hosts()["a"])

	for i := range 20 {
		apply(Event{Type: TaskStart, Task: fmt.Sprint("included ", i)})
	}
	require.InDelta(t, unfinished, p.Fraction(), 1e-9)
	require.Contains(t, p.Explain(1), "in the middle")

	apply(Event{Type: HostSummary, Host: "a", Stats: HostStats{OK: 22, Changed: 3}}, Event{Type: PlaybookStats, Hosts: 1})
	require.True(t, p.Ended())
	require.InDelta(t, 1.0, p.Fraction(), 1e-9)
	require.Empty(t, p.CurrentTasks())
	require.Equal(t, map[string]HostStats{"a": {OK: 22, Changed: 3}}, p.Hosts())
}

func TestProgressFirstFailure(t *testing.T) {
	failed := func(host, task string) Event {
		return Event{Type: TaskResult, Host: host, Task: task, Status: ResultFailed, Message: "boom"}
	}
	ignored := failed("a", "ignored")
	ignored.Ignored = true
	end := func(stats map[string]HostStats) []Event {
		var out []Event
		for host, s := range stats {
			out = append(out, Event{Type: HostSummary, Host: host, Stats: s})
		}
		return append(out, Event{Type: PlaybookStats, Hosts: len(stats)})
	}

	tests := map[string]struct {
		events []Event
		want   string // the task; empty for none
		full   bool
	}{
		"none":         {end(map[string]HostStats{"a": {OK: 1}}), "", true},
		"ignored":      {append([]Event{ignored}, end(map[string]HostStats{"a": {OK: 1, Ignored: 1}})...), "", true},
		"rescued":      {append([]Event{failed("a", "x")}, end(map[string]HostStats{"a": {OK: 1, Rescued: 1}})...), "", true},
		"before end":   {[]Event{failed("a", "x")}, "x", false},
		"rescued once": {append([]Event{failed("a", "x"), failed("a", "y")}, end(map[string]HostStats{"a": {Failures: 1, Rescued: 1}})...), "y", false},
		"of two hosts": {append([]Event{failed("a", "x"), failed("b", "y")}, end(map[string]HostStats{"a": {Rescued: 1}, "b": {Failures: 1}})...), "y", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var p Progress
			p.Apply(Event{Type: PlaybookStart, Tasks: 2})
			for _, e := range tt.events {
				p.Apply(e)
			}
			f, ok := p.FirstFailure()
			require.Equal(t, tt.want != "", ok)
			require.Equal(t, tt.want, f.Task)
			require.Equal(t, tt.full, p.Fraction() == 1)
			if ok {
				require.Contains(t, p.Explain(2), "boom")
			}
		})
	}
}

func TestProgressIsBounded(t *testing.T) {
	var p Progress
	for i := range 3 * maxHosts {
		p.Apply(Event{Type: TaskResult, Host: fmt.Sprint("h", i), Status: ResultFailed, Message: "boom"})
		p.Apply(Event{Type: HostSummary, Host: fmt.Sprint("h", i), Stats: HostStats{Failures: 1}})
	}
	p.Apply(Event{Type: PlaybookStats})
	require.LessOrEqual(t, len(p.Hosts()), maxHosts)
	require.LessOrEqual(t, len(p.failures), maxHosts)
	require.Less(t, p.Fraction(), 1.0)
}
