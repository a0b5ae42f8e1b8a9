package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/metrics"
)

// begun leaves the node with a run that was begun and not started.
func begun(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	n.store.hook(nil, func(quell.Transition) { n.cancel() })
	n.store.assign(job1, n.template("echo one"))
	n.start()
	n.crashed()
	n.store.hook(nil, nil)
	require.NotNil(t, n.store.state(job1).Playbooks[0].BegunAt)
	require.Empty(t, n.starts())
	return n
}

// left leaves the node with a run that goes on without an agent.
func left(t *testing.T, scripts ...string) (*node, int) {
	t.Helper()
	n := newNode(t)
	n.store.assign(job1, n.template(scripts...))
	n.start()
	pid := n.running(0)
	n.stop()
	require.False(t, dead(pid))
	return n, pid
}

func TestRestartedBegunAndNotClaimed(t *testing.T) {
	t.Run("starts", func(t *testing.T) {
		n := begun(t)
		n.start()
		require.Equal(t, quell.StatusSuccess, n.final().Status)
		require.Equal(t, "0", n.starts())
	})
	for _, mode := range []string{"graceful", "force"} {
		t.Run(mode, func(t *testing.T) {
			n := begun(t)
			n.store.abort(job1, mode)
			n.start()
			s := n.final()
			require.Equal(t, quell.StatusAborted, s.Status)
			require.Equal(t, quell.PlaybookSkipped, s.Playbooks[0].Status)
			require.Empty(t, n.starts())
			sealed, err := n.sup.Seal(job1, "playbook-0")
			require.NoError(t, err)
			require.False(t, sealed) // it was: no shim can come
		})
	}
	t.Run("on another disk", func(t *testing.T) {
		n := begun(t)
		require.NoError(t, os.RemoveAll(n.data))
		require.NoError(t, os.Mkdir(n.data, 0o700))
		n.start()
		s := n.final()
		require.Equal(t, quell.StatusFailure, s.Status)
		require.Contains(t, s.Playbooks[0].Error, "another data folder")
		require.Empty(t, n.starts())
	})
}

func TestRestartedWhileARunGoesOn(t *testing.T) {
	t.Run("it is taken over", func(t *testing.T) {
		n, _ := left(t, gated, "echo two")
		n.start()
		n.eventually("the job has an owner", func() bool { return n.agent.Running() == 1 })
		n.write("go", "")
		require.Equal(t, quell.StatusSuccess, n.final().Status)
		require.Equal(t, "01", n.starts())
	})
	t.Run("it has ended meanwhile", func(t *testing.T) {
		n, pid := left(t, gated+"\nexit 3")
		n.write("go", "")
		n.eventually("it ends", func() bool { return dead(pid) })
		n.start()
		s := n.final()
		require.Equal(t, quell.StatusFailure, s.Status)
		require.Equal(t, 3, *s.Playbooks[0].ExitCode)
		require.Equal(t, "0", n.starts())
	})
	t.Run("it was aborted meanwhile, by a value that was overwritten", func(t *testing.T) {
		n, pid := left(t, forever)
		n.store.abort(job1, "force", "graceful")
		n.start()
		require.Equal(t, quell.StatusAborted, n.final().Status)
		require.True(t, dead(pid))
	})
	t.Run("its shim has died", func(t *testing.T) {
		n, pid := left(t, forever)
		shimPID := parentOf(t, pid)
		require.NoError(t, syscall.Kill(shimPID, syscall.SIGKILL))
		n.start()
		s := n.final()
		require.Equal(t, quell.StatusFailure, s.Status)
		require.True(t, dead(pid))
		require.Equal(t, "0", n.starts())
	})
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	parent, err := strconv.Atoi(strings.Fields(rest)[1])
	require.NoError(t, err)
	return parent
}

// The job is somebody else's now: its tree is killed, and nothing is written.
func TestDisown(t *testing.T) {
	t.Run("the index key is gone", func(t *testing.T) {
		n := newNode(t)
		n.store.assign(job1, n.template(forever))
		n.start()
		pid := n.running(0)
		made := len(n.store.made())
		n.store.lose(job1, true)
		require.Equal(t, quell.StatusLost, n.final().Status)
		require.True(t, dead(pid))
		require.Len(t, n.store.made(), made)
	})
	t.Run("a transition is refused", func(t *testing.T) {
		n := newNode(t)
		n.store.assign(job1, n.template(forever))
		n.start()
		pid := n.running(0)
		made := len(n.store.made())
		n.store.lose(job1, false)
		n.store.abort(job1, "graceful")
		require.Equal(t, quell.StatusLost, n.final().Status)
		require.True(t, dead(pid))
		require.Len(t, n.store.made(), made)
		loads := n.store.loads
		n.store.do(func(revision int64) { n.store.index["0190a000-0000-7000-8000-00000000000b"] = revision })
		n.eventually("the other is looked at", func() bool { n.store.mu.Lock(); defer n.store.mu.Unlock(); return n.store.loads > loads })
		require.Equal(t, loads+1, n.store.loads) // the key that still shows starts no second runner
	})
	t.Run("while no agent ran", func(t *testing.T) {
		n, pid := left(t, forever)
		n.store.lose(job1, false)
		n.start()
		n.eventually("it is dead", func() bool { return dead(pid) })
		n.final()
	})
}

func TestSweep(t *testing.T) {
	n, pid := left(t, forever)
	n.store.lose(job1, true)
	// One that crashed between the final transition and the clean-up, and one
	// that is another agent's on the same machine.
	crashed, others := filepath.Join(n.temp, "quell-crashed"), filepath.Join(n.temp, "quell-others")
	for _, dir := range []string{crashed, others, filepath.Join(RunsDir(n.data), "crashed")} {
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	// The stray's temp folder has fallen to somebody's cleaner already.
	require.NoError(t, os.RemoveAll(filepath.Join(n.temp, "quell-"+job1)))
	n.start()
	n.eventually("the stray is dead", func() bool { return dead(pid) })
	n.eventually("the temp folder is gone", func() bool { _, err := os.Stat(crashed); return os.IsNotExist(err) })
	require.DirExists(t, others)
	require.FileExists(t, n.sup.LogPath(job1, "playbook-0"))
}

// A run that was ordered and that no shim has claimed yet is sealed, or taken
// over where the shim is quicker.
func TestDisownSealsWhatIsNotClaimed(t *testing.T) {
	n := begun(t)
	n.store.lose(job1, true)
	require.NoError(t, os.Mkdir(filepath.Join(n.temp, "quell-"+job1), 0o700))
	n.start()
	n.eventually("the temp folder is gone", func() bool { _, err := os.Stat(filepath.Join(n.temp, "quell-"+job1)); return os.IsNotExist(err) })
	sealed, err := n.sup.Seal(job1, "playbook-0")
	require.NoError(t, err)
	require.False(t, sealed)
}

func TestNewer(t *testing.T) {
	intent := func(revision int64) quell.StoredIntent { return quell.StoredIntent{Revision: revision} }
	known := quell.Intents{All: []quell.StoredIntent{intent(10), intent(20)}, AllRevision: 50, StarRevision: 20}
	for name, c := range map[string]struct {
		view     quell.AbortAll
		all      []int64
		revision int64
		star     int64
	}{
		"older in all":          {quell.AbortAll{Revision: 40}, []int64{10, 20}, 50, 20},
		"newer aborts":          {quell.AbortAll{Revision: 60, Star: 20, Intents: []quell.StoredIntent{intent(60), intent(20)}}, []int64{60, 20}, 60, 20},
		"newer, the star lags":  {quell.AbortAll{Revision: 60}, []int64{20}, 60, 20},
		"older, the star newer": {quell.AbortAll{Revision: 5, Star: 55, Intents: []quell.StoredIntent{intent(5), intent(55)}}, []int64{10, 55}, 50, 55},
	} {
		t.Run(name, func(t *testing.T) {
			got := newer(known, c.view)
			var all []int64
			for _, i := range got.All {
				all = append(all, i.Revision)
			}
			require.Equal(t, c.all, all)
			require.Equal(t, c.revision, got.AllRevision)
			require.Equal(t, c.star, got.StarRevision)
		})
	}
}

// Values of the past are observed, and are not what a transition compares.
func TestValuesOfThePast(t *testing.T) {
	n := newNode(t)
	r := newRunner(Options{Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewAgent(prometheus.NewRegistry())}, job1, nil)
	n.store.assign(job1, n.template("echo one"))
	n.store.abort(job1, "force", "graceful")
	job, intents, err := n.store.Load(t.Context(), job1)
	require.NoError(t, err)
	r.job, r.intents, r.state = job, intents, &job.State
	r.setOwn(n.store.values[job1][0])
	r.collect(time.Now())
	require.Equal(t, quell.Force, r.state.Abort.Mode)
	require.Equal(t, intents.OwnRevision(), r.intents.OwnRevision())
	r.setOwn(nil)
	r.collect(time.Now())
	require.Zero(t, r.intents.OwnRevision())
}

// A run that floods its events does not keep the runner, and an endless line
// is skipped.
func TestEventsAreReadInParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	start := `{"event":"playbook_start","ts":1,"tasks":3}` + "\n"
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("x", 3*maxEvents)+"\n"+start), 0o600))
	e := eventReader{path: path}
	for parts := 1; ; parts++ {
		budget := int64(maxEvents)
		more, err := e.read(&budget)
		require.NoError(t, err)
		require.LessOrEqual(t, parts, 5)
		if !more {
			require.Greater(t, parts, 2)
			break
		}
	}
	require.True(t, e.progress.Started())
}
