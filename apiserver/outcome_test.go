package apiserver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"quell"
)

// TestOutcomes has what the store holds of a job when the answer is made.
func TestOutcomes(t *testing.T) {
	ours := quell.Intent{Mode: quell.Graceful, RequestedBy: "Ada", RequestedAt: now}
	earlier := now.Add(-time.Minute)
	record := func(mode quell.Mode, by string, at time.Time, o quell.AbortOutcome) *quell.AbortRecord {
		return &quell.AbortRecord{Mode: mode, RequestedBy: by, RequestedAt: &at, Outcome: o}
	}
	key := func(mode quell.Mode, at time.Time) *quell.StoredIntent {
		return &quell.StoredIntent{Intent: quell.Intent{Mode: mode, RequestedAt: at}}
	}
	wrong := &quell.StoredIntent{Err: quell.Errorf(quell.CodeInvalid, "no such word")}
	for name, c := range map[string]struct {
		status quell.Status
		record *quell.AbortRecord
		key    *quell.StoredIntent // as it is after a PutIntent
		wrote  bool
		// What a PutIntent, an abort-all and a dry run answer.
		written, swept, planned outcome
		mode                    quell.Mode
	}{
		"nothing before": {
			quell.StatusInProgress, nil, key(quell.Graceful, now), true,
			accepted, accepted, alreadyAborting, quell.Graceful,
		},
		"its owner has seen it already": {
			quell.StatusAborting, record(quell.Graceful, "Ada", now, ""), key(quell.Graceful, now), true,
			accepted, accepted, alreadyAborting, quell.Graceful,
		},
		"its owner has carried it out already": {
			quell.StatusAborted, record(quell.Graceful, "Ada", now, quell.OutcomeAborted), key(quell.Graceful, now), true,
			accepted, accepted, alreadyFinal, quell.Graceful,
		},
		"somebody's key asks for as much": {
			quell.StatusInProgress, nil, key(quell.Force, earlier), false,
			alreadyAborting, alreadyAborting, alreadyAborting, quell.Force,
		},
		"an abort-all asks for more": {
			quell.StatusAborting, record(quell.Force, "Bob", earlier, ""), key(quell.Graceful, now), true,
			alreadyAborting, alreadyAborting, alreadyAborting, quell.Force,
		},
		"an abort-all of the same moment": {
			quell.StatusAborting, record(quell.Graceful, "Bob", now, ""), key(quell.Graceful, now), true,
			alreadyAborting, alreadyAborting, alreadyAborting, quell.Graceful,
		},
		"one was withdrawn": {
			quell.StatusInProgress, record(quell.Force, "Bob", earlier, quell.OutcomeWithdrawn), nil, true,
			accepted, accepted, accepted, "",
		},
		"what is there cannot be read": {
			quell.StatusInProgress, &quell.AbortRecord{Error: "no such word"}, wrong, true,
			accepted, accepted, accepted, "",
		},
		"it ended by itself": {
			quell.StatusSuccess, nil, nil, false,
			alreadyFinal, alreadyFinal, alreadyFinal, "",
		},
		"final, one was withdrawn": {
			quell.StatusSuccess, record(quell.Graceful, "Bob", earlier, quell.OutcomeWithdrawn), nil, false,
			alreadyFinal, alreadyFinal, alreadyFinal, "",
		},
		"final, with a key that came too late": {
			quell.StatusSuccess, nil, key(quell.Force, earlier), false,
			alreadyFinal, alreadyFinal, alreadyFinal, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			job := quell.Job{Spec: quell.Spec{ID: job1}, State: quell.State{Status: c.status, Abort: c.record}, Intent: c.key}
			got := written(job, c.wrote, ours)
			assert.Equal(t, result{job1, c.written, c.status, c.mode, c.status.Final(), ""}, got)
			assert.Equal(t, c.swept, swept(job, ours).Outcome)
			plan := planned(job, ours)
			assert.Equal(t, c.planned, plan.Outcome)
			if plan.Outcome == accepted {
				assert.Equal(t, quell.Graceful, plan.Mode, "the mode that would hold")
			}
		})
	}
}
