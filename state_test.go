package quell_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// TestStateFitsItsKey drives the largest job there is through the worst there
// is to tell: every text as long as it may be and made of characters that
// JSON writes as six, all leftovers and errors listed.
func TestStateFitsItsKey(t *testing.T) {
	t.Run("a playbook fails, its recovery playbooks too", func(t *testing.T) {
		worst(t, 1, 63, quell.RunResult{ExitCode: math.MinInt64})
	})
	t.Run("an abort and its recovery playbooks", func(t *testing.T) {
		worst(t, 1, 63, quell.RunResult{Killed: quell.CauseAbort, Signal: strings.Repeat("<", 1<<10)})
	})
	t.Run("all end well", func(t *testing.T) { worst(t, 64, 0, quell.RunResult{}) })
	t.Run("a thousand devices fail", func(t *testing.T) { worstOn(t, 1000, 12, 2, quell.RunResult{ExitCode: math.MinInt64}) })
	t.Run("a thousand devices are killed", func(t *testing.T) { worstOn(t, 1000, 12, 2, quell.RunResult{Killed: quell.CauseAbort}) })
}

func worst(t *testing.T, main, recovery int, r quell.RunResult) { worstOn(t, 0, main, recovery, r) }

func worstOn(t *testing.T, devices, main, recovery int, r quell.RunResult) {
	list := func(n int) (list []quell.Playbook) {
		for range n {
			list = append(list, quell.Playbook{URI: strings.Repeat("<", 21-11*min(devices, 1))})
		}
		// The last is enough to have them all, and their errors.
		if devices > 0 {
			list[n-1].MultiDevice = true
		}
		return list
	}
	template := quell.Template{FQName: quell.FQName{"a"}, Playbooks: list(main), RecoveryPlaybooks: list(recovery), Concurrency: quell.ConcurrencyDevice}
	spec := quell.Spec{ID: "x", Template: template, Input: []byte(`{"fabric_fq_name":"` + strings.Repeat("<", 256-236*min(devices, 1)) + `"}`)}
	for i := range devices {
		spec.Params.DeviceList = append(spec.Params.DeviceList, fmt.Sprintf("%036d", i))
	}
	require.NoError(t, spec.Check())
	o := newOwnerOf(t, spec, quell.Limits{MaxDevices: 50})
	if r.ExitCode != 0 || r.Killed != "" {
		r.Error = strings.Repeat("<", 4<<10)
	}
	r.Report.Warning = strings.Repeat("<", 4<<10)
	for i := range 1000 {
		r.Leftovers = append(r.Leftovers, quell.Process{PID: math.MaxInt64 - i, Command: strings.Repeat("<", 100), State: strings.Repeat("<", 100)})
	}
	r.LeftoverCount = 2000
	o.state.Assign(strings.Repeat("<", 253))
	long := quell.Intent{Mode: quell.Graceful, Reason: strings.Repeat("<", 4<<10), RequestedBy: strings.Repeat("<", 4<<10), ForceAfter: 1<<62 - 1}
	at := time.Date(2026, 12, 31, 23, 59, 59, 999999999, time.FixedZone("", 12345-12345%60))
	for {
		step := o.state.Next(o.rules, at)
		switch step.Action {
		case quell.ActBegin:
			o.state.Begin(step.Begin, at)
			for _, run := range step.Begin {
				o.state.Started(run, at)
			}
		case quell.ActPass:
			o.state.Pass(step.Pass, at)
		case quell.ActFinish:
			o.state.Finish(at)
		case quell.ActNone:
			return
		default:
			o.worstEnd(long, r, at)
		}
		fits(t, o.state)
	}
}

// worstEnd ends all runs in progress, the first of a few playbooks under an
// abort.
func (o *owner) worstEnd(long quell.Intent, r quell.RunResult, at time.Time) {
	if len(o.state.Playbooks) < 64 {
		o.state.Observe(quell.Effective{Intent: long, Error: strings.Repeat("<", 4<<10)}, at)
		o.state.Survived(r.Leftovers, at)
		fits(o.t, o.state)
	}
	r.StartedAt, r.EndedAt, r.SignalledAt, r.DeadAt = at, at, at, at
	for _, run := range o.state.CurrentRuns() {
		if run.Recovery && r.Killed != "" { // or the others would be skipped
			r.Killed, r.ExitCode = "", 1
		}
		o.state.Ended(run, r)
		p := o.state.Playbook(run)
		assert.LessOrEqual(o.t, len(p.Leftovers), 16)
		assert.LessOrEqual(o.t, 2000, p.LeftoverCount)
	}
}

func fits(t testing.TB, s quell.State) {
	require.LessOrEqual(t, len(encode(t, s)), quell.MaxStateSize)
}

// TestFitGivesUpTheOldestFirst also tells what is never given up.
func TestFitGivesUpTheOldestFirst(t *testing.T) {
	o := live(newOwner(t, template(many(62, 100))), "place")
	var leftovers []quell.Process
	for i := range 16 {
		leftovers = append(leftovers, quell.Process{PID: 1000 + i, Command: strings.Repeat("c", 64)})
	}
	size := 0
	for range 62 {
		before := size
		o.end(quell.RunResult{Leftovers: leftovers, LeftoverCount: 20})
		o.react()
		size = len(encode(t, o.state))
		assert.Greater(t, size, before-2<<10, "no more is given up than has to be")
	}
	assert.Equal(t, quell.StatusSuccess, o.state.Status)
	listed := 0
	for i, p := range o.state.Playbooks {
		assert.Equal(t, 20, p.LeftoverCount)
		if listed += len(p.Leftovers); listed > 0 {
			assert.Len(t, p.Leftovers, 16, i)
		}
	}
	assert.Greater(t, listed, 16*8)
}

func TestCopiesAreIndependent(t *testing.T) {
	o := live(newOwner(t, template()), "place; put graceful")
	clone := o.state.Clone()
	before := encode(t, o.state)
	clone.Abort.Mode = quell.Force
	clone.Playbooks[0].Status = quell.PlaybookFailure
	clone.Recovery[0].Status = quell.PlaybookFailure
	assert.Equal(t, before, encode(t, o.state))

	snapshot := o.state // a plain copy: the methods leave it alone
	o.own = o.read("", forceNow)
	o.state.Observe(o.effective(), o.now)
	o.state.Survived([]quell.Process{{PID: 1}}, o.now)
	o.state.Ended(quell.RunRef{}, quell.RunResult{Killed: quell.CauseAbort})
	o.state.Finish(o.now)
	assert.Equal(t, quell.StatusAborted, o.state.Status)
	assert.Equal(t, before, encode(t, snapshot))
}

func TestSetProgress(t *testing.T) {
	ninety := 90.0
	first := template(func(t *quell.Template) { t.Playbooks[0].Weight = &ninety })
	o := live(newOwner(t, first), "place")
	for _, tt := range []struct{ fraction, want float64 }{
		{math.NaN(), 0}, {-1, 0}, {0.1, 9}, {0.3333, 30}, {0.2, 30}, {0.5005, 45}, {math.Inf(-1), 45}, {7, 90},
	} {
		o.state.SetProgress(o.template, tt.fraction)
		assert.InDelta(t, tt.want, o.state.Percentage, 0.01, fmt.Sprint(tt.fraction))
	}
	o.tell("ok")
	o.state.SetProgress(o.template, 0.5)
	assert.InDelta(t, 95, o.state.Percentage, 0.01)
	o.tell("fail")
	o.state.SetProgress(o.template, 1)
	assert.InDelta(t, 95, o.state.Percentage, 0.01, "recovery is no progress")
}

func TestStatuses(t *testing.T) {
	final := 0
	for _, s := range quell.Statuses {
		assert.True(t, s.Known())
		if s.Final() {
			final++
		}
	}
	assert.Equal(t, 5, final)
	for _, s := range []quell.Status{"", "success", "UNKNOWN"} {
		assert.False(t, s.Known())
		assert.False(t, s.Final())
	}
}

func TestNames(t *testing.T) {
	assert.Equal(t, "playbook-3", quell.RunRef{Index: 3}.Name())
	assert.Equal(t, "recovery-0", quell.RunRef{Recovery: true}.Name())
	for _, name := range []string{"node-1", "n", "ü.example.net", strings.Repeat("x", 253)} {
		require.NoError(t, quell.CheckNodeName(name))
	}
	for _, name := range []string{"", "a b", "a/b", "a\n", "\x7f", strings.Repeat("x", 254)} {
		require.Error(t, quell.CheckNodeName(name), name)
	}
	require.NoError(t, quell.CheckVersion("/k", quell.FormatVersion))
	require.ErrorContains(t, quell.CheckVersion("/k", quell.FormatVersion+1), "/k has format version 2")
}
