package quell_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// TestResume lets a job end, resumes it, and lets the new one end well: what
// it does is what was left.
func TestResume(t *testing.T) {
	for name, tt := range map[string]struct {
		template quell.Template
		list     string
		before   string // the earlier job
		does     string
		ends     string
	}{
		"the playbook that was killed": {
			workflow(), "a,b", "place; ok; on a ok; on b ok; put force; dies; ok",
			"begin playbook-2, finish", "SUCCESS - SSS|K: S S",
		},
		"the playbook that failed": {
			workflow(), "", "place; fail; ok",
			"begin playbook-0, pass playbook-1, begin recovery-0, finish", "FAILURE - SFK|S: ",
		},
		"the playbook that was never begun": {
			workflow(), "", found + "on a ok; put graceful; on b ok; on c ok; ok",
			"begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
		},
		"the devices that were killed, or never begun; all of them later": {
			workflow(eachTwice), "a,b,c", "place; on a ok; put force; on b dies; on c dies; ok",
			"begin playbook-0-device-2 playbook-0-device-3, begin playbook-1-device-1 playbook-1-device-2, begin playbook-1-device-3, begin playbook-2, finish",
			"SUCCESS - SSS|K: S S S",
		},
		"who failed before stays out": {
			workflow(eachTwice), "a,b", "place; on a fail; on b ok; put force; on b dies; ok",
			"begin playbook-1-device-2, begin playbook-2, finish", "WARNING - SSS|K: F S",
		},
		"who failed in it has another chance": {
			workflow(), "", found + "on a fail; on b fail; on c fail; ok",
			"begin playbook-1-device-1 playbook-1-device-2, begin playbook-1-device-3, begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
		},
		"in a retry": {
			workflow(), "", found + "on a retry=a; on b ok; on c ok; put force; on a dies; ok",
			"begin playbook-1-device-1, begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
		},
		"a job that struck its limit": {
			workflow(jobLimit), "", found + "on a ok; after 1h; on b dies; on c dies; ok",
			"begin playbook-1-device-2 playbook-1-device-3, begin playbook-2, finish", "SUCCESS - SSS|K: S S S",
		},
		"a job that was aborted in the queue": {
			workflow(), "a", "put force",
			"begin playbook-0, begin playbook-1-device-1, begin playbook-2, finish", "SUCCESS - SSS|K: S",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := quell.Spec{ID: "old", Template: tt.template}
			if tt.list != "" {
				spec.Params.DeviceList = strings.Split(tt.list, ",")
			}
			old := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), tt.before)
			require.True(t, old.state.Status.Final(), "%s %s", old.state.Status, runs(old.state))
			spec.ID, spec.ResumedFrom = "new", "old"
			o := newOwnerOf(t, spec, quell.Limits{MaxDevices: 2})
			var err error
			o.state, err = quell.ResumedState(spec, quell.Job{Spec: quell.Spec{ID: "old"}, State: old.state})
			require.NoError(t, err)
			before := encode(t, old.state)
			o.tell("place")
			for i := 0; !o.state.Status.Final(); i++ {
				require.Less(t, i, 20)
				o.tell("ok")
			}
			assert.Equal(t, tt.does, strings.Join(o.trace, ", "))
			assert.Equal(t, tt.ends, string(o.state.Status)+" "+record(o.state)+" "+runs(o.state)+": "+devices(o.state))
			assert.Equal(t, before, encode(t, old.state), "final is final")
			for _, p := range o.state.Playbooks {
				assert.Contains(t, []string{"", "old"}, p.From)
			}
		})
	}
}

func TestResumeRefused(t *testing.T) {
	for before, want := range map[string]string{
		"place":                        "is not final",
		"place; gives early":           "ended as SUCCESS",
		"place; gives early warning=x": "ended as WARNING",
		"place; on a fail; on b ok; put graceful": "is not final",
	} {
		template := workflow()
		spec := quell.Spec{ID: "old", Template: template}
		if strings.Contains(before, "on a") {
			spec.Template = workflow(eachFirst)
			spec.Params.DeviceList = []string{"a", "b", "c"}
		}
		old := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), before)
		_, err := quell.ResumedState(spec, quell.Job{Spec: spec, State: old.state})
		require.Equal(t, quell.CodeConflict, quell.CodeOf(err), before)
		require.ErrorContains(t, err, want)
	}
	t.Run("all that were left had failed before", func(t *testing.T) {
		spec := quell.Spec{ID: "old", Template: workflow(eachTwice), Params: quell.Params{DeviceList: []string{"a"}}}
		old := live(newOwnerOf(t, spec, quell.Limits{}), "place; on a ok; on a fail; ok")
		old.state.Devices[0].Step = 0 // as where it had failed in the playbook before
		_, err := quell.ResumedState(spec, quell.Job{Spec: spec, State: old.state})
		require.ErrorContains(t, err, "no device of job old is left")
	})
}

// TestResumedTwice: devices that were done are, whatever became of the job that
// was to go on with the others.
func TestResumedTwice(t *testing.T) {
	spec := quell.Spec{ID: "1", Template: workflow(eachFirst), Params: quell.Params{DeviceList: []string{"a", "b"}}}
	first := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), "place; on a ok; put force; on b dies; ok")
	second := newOwnerOf(t, spec, quell.Limits{MaxDevices: 2})
	var err error
	second.state, err = quell.ResumedState(spec, quell.Job{Spec: spec, State: first.state})
	require.NoError(t, err)
	live(second, "put force")
	require.Equal(t, quell.StatusAborted, second.state.Status)
	third := newOwnerOf(t, spec, quell.Limits{MaxDevices: 2})
	third.state, err = quell.ResumedState(spec, quell.Job{Spec: spec, State: second.state})
	require.NoError(t, err)
	live(third, "place; on b ok")
	assert.Equal(t, "begin playbook-0-device-2, finish", strings.Join(third.trace, ", "))
}

// TestResumedAbortedInTheQueue: what the earlier job had started is nothing
// that this one could recover.
func TestResumedAbortedInTheQueue(t *testing.T) {
	spec := quell.Spec{ID: "old", Template: workflow()}
	old := live(newOwnerOf(t, spec, quell.Limits{MaxDevices: 2}), found+"on a ok; put graceful; on b ok; on c ok; ok")
	o := newOwnerOf(t, spec, quell.Limits{})
	var err error
	o.state, err = quell.ResumedState(spec, quell.Job{Spec: spec, State: old.state})
	require.NoError(t, err)
	live(o, "put force")
	assert.Equal(t, "ABORTED force aborted SSK|K: S S S", string(o.state.Status)+" "+record(o.state)+" "+runs(o.state)+": "+devices(o.state))
}
