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
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"quell"
	"quell/agent/ansible"
	"quell/internal/process"
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
	Processes *process.Supervisor // its root is RunsDir(DataDir)
	Ansible   *ansible.Ansible
	Logger    *slog.Logger
	Metrics   *metrics.Agent
}

// RunsDir is the folder of the runs below an agent's data folder.
func RunsDir(dataDir string) string { return filepath.Join(dataDir, "jobs") }

// Agent runs the jobs of one node.
type Agent struct {
	o Options

	mu         sync.Mutex
	runners    map[string]*runner
	index      map[string]int64 // what the node was given; nil: not read yet
	aborts     *quell.AbortAll  // nil: not read yet
	registered bool
	swept      bool // strays on disk have been looked at

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
	return &Agent{o: o, runners: map[string]*runner{}}, nil
}

// Run registers the node and runs what it is given, until ctx ends. Playbooks
// that run then are left to their shims; an agent that starts again on the
// same data folder takes them over. CodeAlready: another agent has the name.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer a.running.Wait()
	defer cancel()
	a.running.Go(func() {
		_ = a.o.Store.FollowAborts(ctx, func(all quell.AbortAll) { a.change(ctx, func() { a.aborts = &all }) })
	})
	a.running.Go(func() {
		_ = a.o.Store.FollowNodeJobs(ctx, a.o.Info.Node, func(m map[string]int64) { a.change(ctx, func() { a.index = m }) })
	})
	err := a.o.Store.Register(ctx, a.o.Info, func(is bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if is && !a.registered {
			a.o.Logger.Info("the node is registered", "node", a.o.Info.Node, "capacity", a.o.Info.Capacity)
		}
		a.registered = is
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	if n := a.Running(); n > 0 && err == nil {
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

// change takes news from the store and lets everybody look again.
func (a *Agent) change(ctx context.Context, set func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set()
	if a.index == nil || a.aborts == nil || ctx.Err() != nil {
		return
	}
	if mine := a.index; !a.swept {
		a.swept = true
		a.running.Go(func() { a.sweep(ctx, mine) })
	}
	for id := range a.index {
		if a.runners[id] == nil {
			a.startRunner(ctx, id)
		}
	}
	for id, r := range a.runners {
		if _, mine := a.index[id]; !mine {
			r.removed()
		}
		r.setAborts(*a.aborts)
	}
	a.o.Metrics.JobsRunning.Set(float64(len(a.runners)))
}

// startRunner begins to care for a job. The lock is held.
func (a *Agent) startRunner(ctx context.Context, id string) {
	r := newRunner(a.o, id, a.Running)
	a.runners[id] = r
	a.running.Go(func() {
		r.run(ctx)
		// The key that is deleted with the final transition may still show.
		a.change(ctx, func() {
			delete(a.runners, id)
			a.index = maps.Clone(a.index)
			delete(a.index, id)
		})
	})
}

// sweep ends what is left on the node's disk of jobs that this agent does not
// own: they were final, or given up, while it was away (design: Guarantees, 8).
func (a *Agent) sweep(ctx context.Context, mine map[string]int64) {
	entries, err := os.ReadDir(RunsDir(a.o.DataDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.o.Logger.Warn("the folder of runs cannot be read", "error", err)
		return
	}
	for _, e := range entries {
		if _, ok := mine[e.Name()]; ok || !e.IsDir() || ctx.Err() != nil {
			continue
		}
		r := newRunner(a.o, e.Name(), a.Running)
		if err := r.disown(ctx); err != nil && ctx.Err() == nil {
			a.o.Logger.Error("what is left of a job that is not this node's could not be ended", "job", e.Name(), "error", err)
		}
	}
}
