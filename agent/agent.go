// Package agent runs the jobs that its node was given, and aborts them.
//
// It promises that a job's process tree is proved dead before the job is made
// final, that a run is started only after a transition that compared the
// abort intents, and that a restarted agent goes on where the stored state and
// the node's disk say. It works on levels: whatever it is told, it looks at
// what holds now. It refuses to know etcd, and how a playbook is put into
// processes.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"quell"
	"quell/agent/ansible"
	"quell/metrics"
)

// Store is what the agent needs of the store.
type Store interface {
	Register(ctx context.Context, info quell.NodeInfo, registered func(bool)) error
	FollowNodeJobs(ctx context.Context, node string, changed func(map[string]int64)) error
	FollowAborts(ctx context.Context, changed func(quell.AbortAll)) error
	FollowIntent(ctx context.Context, id string, changed func(*quell.StoredIntent)) error
	Load(ctx context.Context, id string) (quell.Job, quell.Intents, error)
	Commit(ctx context.Context, t quell.Transition) (int64, error)
	TakeLocks(ctx context.Context, id string, token int64, locks []quell.Lock) (map[string]string, error)
	PutProgress(ctx context.Context, id string, token int64, p quell.Progress) error
	Ping(ctx context.Context) error
	Healthy() error
}

// Options are what an Agent needs.
type Options struct {
	Info      quell.NodeInfo // of this node; Instance is filled in
	DataDir   string         // the node's disk: run folders, logs; one agent's alone
	TempDir   string         // where jobs' temp folders go; it has to be short
	Store     Store
	Processes Processes // their root is RunsDir(DataDir)
	Ansible   *ansible.Ansible
	Limits    quell.Limits // of jobs that do not say otherwise
	// CheckOutput says how a job's output does not fit the template's
	// output_schema; nil: it is not checked.
	CheckOutput func(quell.Template, json.RawMessage) error
	Logger      *slog.Logger
	Metrics     *metrics.Agent
}

// RunsDir is the folder of the runs below an agent's data folder.
func RunsDir(dataDir string) string { return filepath.Join(dataDir, "jobs") }

// Agent runs the jobs of one node.
type Agent struct {
	o Options

	mu         sync.Mutex
	runners    map[string]*runner
	index      map[string]int64 // what the node was given, by the index key's revision; nil: not read yet
	ended      map[string]int64 // the index keys whose runner has ended, while they still show
	aborts     *quell.AbortAll  // nil: not read yet
	registered bool
	admitted   bool // it was registered once: the node's name is this agent's
	swept      bool // strays on disk are being looked at

	left    int // jobs that the agent let go of before they were final
	running sync.WaitGroup
}

// New makes an agent. The caller holds the lock of the data folder.
func New(o Options) (*Agent, error) {
	if err := quell.CheckNodeName(o.Info.Node); err != nil {
		return nil, err
	}
	if o.Info.Capacity < 1 {
		return nil, quell.Errorf(quell.CodeInvalid, "--max-jobs %d: at least 1", o.Info.Capacity)
	}
	o.Info.Version = quell.FormatVersion
	return &Agent{o: o, runners: map[string]*runner{}, ended: map[string]int64{}}, nil
}

// Run registers the node and runs what it is given, until ctx ends. Playbooks
// that run then are left to their shims; an agent that starts again on the
// same data folder takes them over. CodeAlready: another agent has the name.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer a.running.Wait()
	defer cancel()
	a.running.Go(func() {
		_ = a.o.Store.FollowAborts(ctx, func(all quell.AbortAll) {
			a.change(ctx, func() {
				a.aborts = &all
				for _, r := range a.runners {
					r.setAborts(all)
				}
			})
		})
	})
	a.running.Go(func() {
		_ = a.o.Store.FollowNodeJobs(ctx, a.o.Info.Node, func(m map[string]int64) { a.change(ctx, func() { a.index = m }) })
	})
	err := a.o.Store.Register(ctx, a.o.Info, func(is bool) {
		a.change(ctx, func() {
			if is && !a.registered {
				a.o.Logger.Info("the node is registered", "node", a.o.Info.Node, "capacity", a.o.Info.Capacity)
			}
			a.registered, a.admitted = is, a.admitted || is
		})
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	cancel()
	a.running.Wait()
	if n := a.left; n > 0 && err == nil {
		a.o.Logger.Info("the agent stops; playbooks that run go on and are taken over at its next start", "jobs", n)
	}
	return err
}

// Running is the number of jobs that this agent has in its care.
func (a *Agent) Running() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.runners)
}

// Ready says why the agent cannot act on intents now, if so.
func (a *Agent) Ready(ctx context.Context) error {
	if err := a.o.Store.Ping(ctx); err != nil {
		return err
	}
	if err := a.o.Store.Healthy(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.registered {
		return quell.Errorf(quell.CodeUnavailable, "node %s is not registered in etcd", a.o.Info.Node)
	}
	return nil
}

// change takes news from the store and lets everybody look again. Nothing is
// touched before the node was registered once: until then the name, and with
// it the jobs, may be another agent's.
func (a *Agent) change(ctx context.Context, set func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set()
	if a.index == nil || a.aborts == nil || !a.admitted || ctx.Err() != nil {
		return
	}
	if !a.swept {
		a.swept = true
		a.running.Go(func() { a.sweep(ctx) })
	}
	for id, revision := range a.index {
		if a.runners[id] == nil && a.ended[id] != revision {
			a.startRunner(ctx, id, revision)
		}
	}
	for id, r := range a.runners {
		if _, mine := a.index[id]; !mine {
			r.removed()
		}
	}
	maps.DeleteFunc(a.ended, func(id string, _ int64) bool { _, shows := a.index[id]; return !shows })
	a.o.Metrics.JobsRunning.Set(float64(len(a.runners)))
}

// startRunner begins to care for a job. The lock is held.
func (a *Agent) startRunner(ctx context.Context, id string, revision int64) {
	r := newRunner(a.o, id, a.Running)
	r.setAborts(*a.aborts)
	a.runners[id] = r
	a.running.Go(func() {
		r.run(ctx)
		// The key that is deleted with the final transition may still show.
		a.change(ctx, func() {
			delete(a.runners, id)
			a.ended[id] = revision
			if !r.done {
				a.left++
			}
		})
	})
}

// cares says whether a job is this node's, or was a moment ago.
func (a *Agent) cares(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, mine := a.index[id]
	return mine || a.runners[id] != nil
}
