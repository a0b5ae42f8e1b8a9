package storetest

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// each runs something for every number below n, all at once.
func each(n int, run func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-start
			run(i)
		})
	}
	close(start)
	all.Wait()
}

func testBatches(t *testing.T, endpoint string) {
	const n = 300
	k := newKit(t, endpoint)
	specs, created := make([]quell.Spec, n), make([]quell.Transition, n)
	for i := range specs {
		specs[i] = newSpec()
	}
	each(n, func(i int) { assert.NoError(t, k.newJob(specs[i])) })
	for i := range created {
		created[i] = k.load(specs[i].ID)
	}
	leader, node := k.leader(), k.node("n1")
	revisions := make([]int64, n)
	each(n, func(i int) {
		tr := created[i]
		tr.State.Assign("n1")
		if i%3 == 0 {
			tr.StateRevision-- // stale: it fails alone
		}
		var err error
		if revisions[i], err = k.s.Assign(k.ctx, leader, tr, node, 1, 0); i%3 == 0 {
			assert.Equal(t, quell.CodeStale, quell.CodeOf(err))
			return
		}
		assert.NoError(t, err)
	})
	shared := map[int64]int{}
	jobs, err := k.s.Jobs(k.ctx, n, "")
	require.NoError(t, err)
	require.Len(t, jobs, n)
	for i := range specs {
		job := jobs[n-1-i]
		if i%3 == 0 {
			require.Equal(t, quell.StatusQueued, job.State.Status)
			require.Equal(t, created[i].StateRevision, job.StateRevision)
			continue
		}
		require.Equal(t, quell.StatusStarting, job.State.Status)
		require.Equal(t, revisions[i], job.Token)
		require.Equal(t, revisions[i], job.StateRevision)
		shared[revisions[i]]++
	}
	t.Logf("%d assignments in %d transactions", n*2/3, len(shared))
	require.Less(t, len(shared), n/3, "they share transactions")
}

// testRivals has many transitions of one job at once: one wins.
func testRivals(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	tr := k.running()
	codes := make([]quell.Code, 100)
	each(len(codes), func(i int) {
		mine := tr
		mine.State.Percentage = float64(i)
		_, err := k.s.Commit(k.ctx, mine)
		codes[i] = quell.CodeOf(err)
	})
	won := 0
	for i, code := range codes {
		if code == "" {
			won++
			require.InDelta(t, i, k.load(tr.ID).State.Percentage, 0)
			continue
		}
		require.Equal(t, quell.CodeStale, code)
	}
	require.Equal(t, 1, won)
}

// testNoSkew has the ends of jobs meet aborts in the same Store: either the
// end has seen the intent, or the intent has seen the end.
func testNoSkew(t *testing.T, endpoint string) {
	const n = 150
	k := newKit(t, endpoint)
	ends := make([]quell.Transition, n)
	for i := range ends {
		ends[i] = k.running()
	}
	ended, aborted := make([]int64, n), make([]bool, n)
	var all sync.WaitGroup
	all.Go(func() {
		each(n, func(i int) {
			tr := ends[i]
			tr.State = tr.State.Clone()
			fail(&tr.State)
			var err error
			if ended[i], err = k.s.Commit(k.ctx, tr); err != nil {
				assert.Equal(t, quell.CodeStale, quell.CodeOf(err))
			}
		})
	})
	all.Go(func() {
		each(n, func(i int) {
			var err error
			_, aborted[i], err = k.s.PutIntent(k.ctx, ends[i].ID, quell.Intent{Mode: quell.Force})
			assert.NoError(t, err)
		})
	})
	var allAborted int64
	all.Go(func() {
		var err error
		allAborted, err = k.s.PutAbortAll(k.ctx, quell.Intent{Mode: quell.Force})
		assert.NoError(t, err)
	})
	all.Wait()
	for i := range ends {
		require.False(t, ended[i] > 0 && aborted[i], "job %d ended without the intent, which was taken as in time", i)
		if ended[i] > 0 {
			require.Less(t, ended[i], allAborted, "no job ends past the abort-all")
		}
	}
}

// testUnevenBatch mixes large and refused members among small ones.
func testUnevenBatch(t *testing.T, endpoint string) {
	k := newKit(t, endpoint)
	large := strings.Repeat("x", quell.MaxSpecSize-1000)
	each(60, func(i int) {
		spec := newSpec()
		switch i % 10 {
		case 0:
			spec.Input = []byte(`"` + large + `"`)
			assert.NoError(t, k.newJob(spec))
		case 5:
			name := quell.FQName{"t", strconv.Itoa(i)}
			_, err := k.s.PutTemplate(k.ctx, quell.Template{FQName: name, DisplayName: large[:400<<10]})
			assert.NoError(t, err)
		default:
			assert.NoError(t, k.newJob(spec))
		}
	})
	active, _, err := k.s.ActiveJobs(k.ctx)
	require.NoError(t, err)
	require.Len(t, active, 54)
}
