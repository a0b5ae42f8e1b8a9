package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

func TestLifeOfAJob(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template("echo one", "echo two"))
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusSuccess, s.Status)
	require.InDelta(t, 100, s.Percentage, 0)
	require.Equal(t, "01", n.starts())
	log, err := os.ReadFile(n.sup.LogPath(job1, "playbook-1"))
	require.NoError(t, err)
	require.Equal(t, "two\n", string(log))
	require.LessOrEqual(t, len(n.store.made()), 5) // begin, RUNNING, end and begin, RUNNING, final
	n.eventually("the index is empty", func() bool { n.agent.mu.Lock(); defer n.agent.mu.Unlock(); return len(n.agent.ended) == 0 })
	require.Equal(t, 1, n.store.loads) // a key that still shows starts no second runner
}

func TestFailureRecovers(t *testing.T) {
	n := newNode(t)
	tmpl := n.template("exit 2", "echo never", "echo recovered")
	tmpl.RecoveryPlaybooks, tmpl.Playbooks = tmpl.Playbooks[2:], tmpl.Playbooks[:2]
	n.store.assign(job1, tmpl)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusFailure, s.Status)
	require.Equal(t, 2, *s.Playbooks[0].ExitCode)
	require.Equal(t, quell.PlaybookSkipped, s.Playbooks[1].Status)
	require.Equal(t, quell.PlaybookSuccess, s.Recovery[0].Status)
	require.Equal(t, "02", n.starts())
}

// Nothing is started where a later playbook is missing, or a recovery
// playbook.
func TestAMissingPlaybookFailsTheJobBeforeItsFirstStep(t *testing.T) {
	for _, recovery := range []bool{false, true} {
		n := newNode(t)
		tmpl := n.template("echo one")
		missing := quell.Playbook{URI: "missing.yml"}
		if recovery {
			tmpl.RecoveryPlaybooks = []quell.Playbook{missing}
		} else {
			tmpl.Playbooks = append(tmpl.Playbooks, missing)
		}
		n.store.assign(job1, tmpl)
		n.start()
		s := n.final()
		require.Equal(t, quell.StatusFailure, s.Status)
		require.Contains(t, s.Reason, "missing.yml")
		require.Empty(t, n.starts())
		require.Equal(t, quell.PlaybookSkipped, s.Playbooks[0].Status)
	}
}

func TestARunThatCannotStartFails(t *testing.T) {
	n := newNode(t)
	tmpl := n.template("echo one")
	n.store.hook(nil, func(quell.Transition) { _ = os.Remove(filepath.Join(n.dir, "playbooks", "p0.yml")) })
	n.store.assign(job1, tmpl)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusFailure, s.Status)
	require.Contains(t, s.Playbooks[0].Error, "p0.yml")
}

// One abort costs one transaction, which is made after everything is dead.
func TestForceAbortOfARunningJob(t *testing.T) {
	for name, abort := range map[string]func(*fakeStore){
		"own key":       func(f *fakeStore) { f.abort(job1, "force") },
		"abort-all":     func(f *fakeStore) { f.abortAll(false) },
		"emergency key": func(f *fakeStore) { f.abortAll(true) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.store.assign(job1, n.template("(setsid sleep 300 & echo $! >$D/child)\n"+forever, "echo never"))
			n.start()
			pid := n.running(0)
			made := len(n.store.made())
			n.store.hook(func(context.Context, quell.Transition) error {
				if !dead(pid) {
					t.Error("a transition was made before the run was dead")
				}
				return nil
			}, nil)
			abort(n.store)
			s := n.final()
			require.Equal(t, quell.StatusAborted, s.Status)
			require.Equal(t, quell.PlaybookInterrupted, s.Playbooks[0].Status)
			require.NotNil(t, s.Abort.SignalledAt)
			require.NotNil(t, s.Abort.DeadAt)
			require.Len(t, n.store.made(), made+1)
			require.Equal(t, "0", n.starts())
		})
	}
}

func TestGracefulAbortWaits(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template(gated, "echo never"))
	n.start()
	pid := n.running(0)
	made := len(n.store.made())
	n.store.abort(job1, "graceful")
	n.eventually("the abort is seen", func() bool { return n.store.state(job1).Status == quell.StatusAborting })
	require.False(t, dead(pid))
	require.NotNil(t, n.store.state(job1).Abort.SeenAt)
	n.write("go", "")
	s := n.final()
	require.Equal(t, quell.StatusAborted, s.Status)
	require.Equal(t, quell.PlaybookSuccess, s.Playbooks[0].Status)
	require.Equal(t, "0", n.starts())
	require.Len(t, n.store.made(), made+2)
}

func TestWithdrawnGracefulAbort(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template(gated, "echo two"))
	n.start()
	n.running(0)
	n.store.abort(job1, "graceful")
	n.eventually("the abort is seen", func() bool { return n.store.state(job1).Status == quell.StatusAborting })
	n.store.abort(job1, "")
	n.eventually("it is withdrawn", func() bool { return n.store.state(job1).Status == quell.StatusInProgress })
	n.write("go", "")
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	require.Equal(t, "01", n.starts())
}

// The kill is made at once, though the store has not answered a write.
func TestAKillDoesNotWaitForAWrite(t *testing.T) {
	for name, end := range map[string]struct {
		end    func(f *fakeStore)
		status quell.Status
	}{
		"abort":  {func(f *fakeStore) { f.abort(job1, "force") }, quell.StatusAborted},
		"disown": {func(f *fakeStore) { f.lose(job1, true) }, quell.StatusLost},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			goOn := make(chan struct{})
			n.store.hook(func(_ context.Context, t quell.Transition) error {
				if t.State.Playbooks[0].Status == quell.PlaybookRunning {
					<-goOn
				}
				return nil
			}, nil)
			n.store.assign(job1, n.template(forever))
			n.start()
			n.eventually("it runs", func() bool { return n.pid() > 0 })
			end.end(n.store)
			n.eventually("it is dead", func() bool { return dead(n.pid()) })
			close(goOn)
			require.Equal(t, end.status, n.final().Status)
		})
	}
}

// Values that were overwritten at once count too.
func TestIntentsInQuickSuccession(t *testing.T) {
	for _, values := range [][]string{{"force", "graceful"}, {"graceful", "force", "nonsense"}, {"force", ""}} {
		t.Run(strings.Join(values, ","), func(t *testing.T) {
			n := newNode(t)
			n.store.assign(job1, n.template(forever))
			n.start()
			n.running(0)
			n.store.abort(job1, values...)
			s := n.final()
			require.Equal(t, quell.StatusAborted, s.Status)
			require.Equal(t, quell.Force, s.Abort.Mode)
		})
	}
}

func TestAnUnreadableIntentShows(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template(gated))
	n.start()
	n.running(0)
	n.store.abort(job1, "frce")
	n.eventually("it shows", func() bool { a := n.store.state(job1).Abort; return a != nil && strings.Contains(a.Error, "frce") })
	n.write("go", "")
	require.Equal(t, quell.StatusSuccess, n.final().Status)
}

// An intent comes between the decision and the transition: nothing starts,
// whether or not its event arrives, and nobody waits for an event that is
// there.
func TestStaleBeginNeverStarts(t *testing.T) {
	for name, c := range map[string]struct {
		deaf bool
		come func(*fakeStore)
	}{
		"own key":                  {false, func(f *fakeStore) { f.abort(job1, "force") }},
		"own key, and no event":    {true, func(f *fakeStore) { f.abort(job1, "graceful") }},
		"abort-all, and no event":  {true, func(f *fakeStore) { f.abortAll(false) }},
		"emergency, and no event":  {true, func(f *fakeStore) { f.abortAll(true) }},
		"emergency key":            {false, func(f *fakeStore) { f.abortAll(true) }},
		"own key, by a short word": {false, func(f *fakeStore) { f.abort(job1, "force", "graceful") }},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.store.deaf = c.deaf
			first, tries := true, 0
			n.store.hook(func(context.Context, quell.Transition) error {
				tries++
				if first {
					first = false
					c.come(n.store)
				}
				return nil
			}, nil)
			n.store.assign(job1, n.template("echo never"))
			n.start()
			s := n.final()
			require.Equal(t, quell.StatusAborted, s.Status)
			require.Empty(t, n.starts())
			require.Len(t, n.store.made(), 1)
			require.LessOrEqual(t, tries, 3)
		})
	}
}

// The emergency key's deletion is told by no revision: a transition that
// relied on it is made all the same.
func TestADeletedEmergencyKeyHoldsNothingUp(t *testing.T) {
	n := newNode(t)
	n.store.do(func(revision int64) { n.store.aborts.Star = revision })
	n.store.assign(job1, n.template(gated))
	n.start()
	n.running(0)
	n.store.do(func(int64) { n.store.aborts.Star = 0 })
	n.write("go", "")
	require.Equal(t, quell.StatusSuccess, n.final().Status)
}

func TestFailingTransitionsAreTriedAgainWithPauses(t *testing.T) {
	n := newNode(t)
	fails := 0
	n.store.hook(func(context.Context, quell.Transition) error {
		if fails++; fails <= 2 {
			return quell.Errorf(quell.CodeNoSpace, "etcd is full")
		}
		return nil
	}, nil)
	n.store.assign(job1, n.template("echo one"))
	begin := time.Now()
	n.start()
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	require.GreaterOrEqual(t, time.Since(begin), 2*errorRest)
	require.Equal(t, "0", n.starts())
}

func TestTimeLimit(t *testing.T) {
	n := newNode(t)
	tmpl := n.template(forever)
	tmpl.Playbooks[0].Timeout = quell.Duration(200 * time.Millisecond)
	n.store.assign(job1, tmpl)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusFailure, s.Status)
	require.Contains(t, s.Playbooks[0].Error, "time limit")
	require.Nil(t, s.Abort)
}

// The final transition is made while the agent is told to stop: the temp
// folder goes all the same.
func TestAFinalTransitionLandsWhileTheAgentStops(t *testing.T) {
	n := newNode(t)
	n.store.hook(func(ctx context.Context, t quell.Transition) error {
		if t.State.Status.Final() {
			n.cancel()
		}
		return ctx.Err()
	}, nil)
	n.store.assign(job1, n.template("echo one"))
	n.start()
	n.crashed()
	require.Equal(t, quell.StatusSuccess, n.store.state(job1).Status)
	require.NoDirExists(t, filepath.Join(n.temp, "quell-"+job1))
}

// Whoever has not got the node's name has not got its jobs.
func TestAnAgentWhoseNameIsTakenTouchesNothing(t *testing.T) {
	n := newNode(t)
	n.store.taken = quell.Errorf(quell.CodeAlready, "another agent is registered")
	n.store.assign(job1, n.template("echo never"))
	n.start()
	require.Equal(t, quell.CodeAlready, quell.CodeOf(<-n.ended))
	n.ended <- nil
	require.Zero(t, n.store.loads)
	require.Empty(t, n.starts())
}

func TestProgressIsStoredSparingly(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template(`
		event() { printf '{"event":"%s","ts":1,"tasks":%d,"task":"t%d"}\n' $1 $2 $3 >&3; }
		event playbook_start 400 0
		i=0; while [ $i -lt 60 ]; do event task_start 0 $i; i=$((i+1)); sleep 0.02; done
		event task_start 0 1000
		`+gated))
	n.start()
	// The last one is stored without a further event to come.
	n.eventually("the last task shows", func() bool {
		n.store.mu.Lock()
		defer n.store.mu.Unlock()
		return len(n.store.latest.Tasks) == 1 && n.store.latest.Tasks[0] == "t1000"
	})
	n.write("go", "")
	n.final()
	require.Greater(t, len(n.store.progress), 1)
	for i, at := range n.store.progress[1:] {
		require.GreaterOrEqual(t, at.Sub(n.store.progress[i]), 990*time.Millisecond)
	}
}
