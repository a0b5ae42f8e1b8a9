package scheduler

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"quell"
	"quell/agent"
	"quell/internal/process"
)

// What agents need beside what the scheduler does: the rest of a store in
// memory, and processes that do what a test says.

func (c *cluster) Register(ctx context.Context, info quell.NodeInfo, registered func(bool)) error {
	c.do(func(revision int64) { c.nodes[info.Node] = quell.Node{Info: info, Revision: revision} })
	registered(true)
	<-ctx.Done()
	registered(false)
	c.leave(info.Node)
	return ctx.Err()
}

func (c *cluster) FollowNodeJobs(ctx context.Context, node string, changed func(map[string]int64)) error {
	var last map[string]int64
	return c.follow(ctx, "index", func() {
		c.mu.Lock()
		m := maps.Clone(c.index[node])
		c.mu.Unlock()
		if m == nil {
			m = map[string]int64{}
		}
		if last == nil || !maps.Equal(last, m) {
			last = m
			changed(maps.Clone(m))
		}
	})
}

func (c *cluster) Commit(_ context.Context, t quell.Transition) (int64, error) {
	if err := c.call("owner", t.ID); err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	j := c.jobs[t.ID]
	switch {
	case j.Token != t.Token || t.Token == 0:
		return 0, quell.Errorf(quell.CodeNotOwner, "not its owner")
	case j.StateRevision != t.StateRevision:
		return 0, quell.Errorf(quell.CodeStale, "stale")
	case t.Intents == nil && t.State.Status.Final():
		return 0, quell.Errorf(quell.CodeInternal, "final without intents")
	case t.Intents != nil:
		if err := c.check(c.leader, t); err != nil {
			return 0, err
		}
	}
	c.bump(func(revision int64) {
		j.State, j.StateRevision = t.State.Clone(), revision
		if t.Output != nil {
			j.Output = t.Output
		}
		if t.State.Status.Final() {
			j.Token = 0
			delete(c.index[j.ActiveNode], t.ID)
			for _, l := range t.State.WantedLocks() {
				if c.locks[l] == t.ID {
					delete(c.locks, l)
				}
			}
		}
	})
	return c.revision, nil
}

func (c *cluster) TakeLocks(_ context.Context, id string, token int64, locks []quell.Lock) (map[string]string, error) {
	if err := c.call("locks", id); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs[id].Token != token {
		return nil, quell.Errorf(quell.CodeNotOwner, "not its owner")
	}
	holders := map[string]string{}
	c.bump(func(int64) {
		for _, l := range locks {
			if holder := c.locks[l]; holder != "" && holder != id {
				holders[l.Device] = holder
			} else {
				c.locks[l] = id
			}
		}
	})
	return holders, nil
}

func (c *cluster) PutProgress(context.Context, string, int64, quell.Progress) error { return nil }
func (c *cluster) Ping(context.Context) error                                       { return nil }
func (c *cluster) Healthy() error                                                   { return nil }

// machine is a node's processes. They live on when their agent ends.
type machine struct {
	dir     string
	mu      *sync.Mutex // of all machines, whose runs are compared
	runs    map[process.ID]*fakeRun
	started func(process.ID) // under the lock
	killed  func(process.ID, quell.Cause)
}

// fakeRun is a run; a sealed one never started.
type fakeRun struct {
	id      process.ID
	machine *machine
	sealed  bool
	kill    string
	output  string // where its output goes
	at      time.Time
	started chan struct{}
	done    chan struct{}
	exit    process.Exit
}

func newMachine(dir string, mu *sync.Mutex) *machine {
	return &machine{dir: dir, mu: mu, runs: map[process.ID]*fakeRun{}}
}

func (m *machine) Start(job, run string, c process.Command) (agent.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := process.ID{Job: job, Run: run}
	if r := m.runs[id]; r != nil {
		return r, nil
	}
	r := &fakeRun{id: id, machine: m, at: time.Now(), started: make(chan struct{}), done: make(chan struct{})}
	for _, variable := range c.Env {
		if path, ok := strings.CutPrefix(variable, "QUELL_OUTPUT_FILE="); ok {
			r.output = path
		}
	}
	close(r.started)
	m.runs[id] = r
	m.started(id)
	return r, nil
}

func (m *machine) Adopt(job, run string) (agent.Run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.runs[process.ID{Job: job, Run: run}]; r != nil {
		return r, nil
	}
	return nil, process.ErrNotClaimed
}

func (m *machine) Seal(job, run string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := process.ID{Job: job, Run: run}
	if m.runs[id] != nil {
		return false, nil
	}
	r := &fakeRun{id: id, machine: m, sealed: true, started: make(chan struct{}), done: make(chan struct{})}
	r.exit = process.Exit{NeverStarted: true, EndedAt: time.Now(), DeadAt: time.Now()}
	close(r.done)
	m.runs[id] = r
	return true, nil
}

func (m *machine) Remove(job string) error {
	if len(m.live(job)) > 0 {
		return process.ErrUnfinished
	}
	return nil
}

func (m *machine) Unfinished() (list []process.ID, err error) {
	for _, r := range m.live("") {
		list = append(list, r.id)
	}
	return list, nil
}

func (m *machine) Dir(job, run string) string {
	return filepath.Join(agent.RunsDir(m.dir), job, run)
}

func (m *machine) LogPath(job, run string) string { return filepath.Join(m.Dir(job, run), "log") }

func (m *machine) EventsPath(job, run string) string { return filepath.Join(m.Dir(job, run), "events") }

// live lists the runs of a job ("": of all) whose processes are there, in the
// order of their names.
func (m *machine) live(job string) []*fakeRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*fakeRun
	for _, r := range m.runs {
		if (job == "" || r.id.Job == job) && !r.isDone() {
			list = append(list, r)
		}
	}
	return list
}

func (r *fakeRun) ID() process.ID               { return r.id }
func (r *fakeRun) Started() <-chan struct{}     { return r.started }
func (r *fakeRun) StartedAt() time.Time         { return r.at }
func (r *fakeRun) Changed() <-chan struct{}     { return nil }
func (r *fakeRun) Survivors() []process.Process { return nil }
func (r *fakeRun) Done() <-chan struct{}        { return r.done }
func (r *fakeRun) Exit() process.Exit           { return r.exit }
func (r *fakeRun) Close() error                 { return nil }

func (r *fakeRun) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// doomed says whether the run was killed and has not died yet.
func (r *fakeRun) doomed() bool {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	return r.kill != ""
}

// Kill asks the run to die; a test says when it does.
func (r *fakeRun) Kill(cause string) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if !r.isDone() && r.kill == "" {
		r.kill = cause
		r.machine.killed(r.id, quell.Cause(cause))
	}
}

// end lets the run's processes end, with an exit code and an output.
func (r *fakeRun) end(code int, output string) error {
	if output != "" {
		if err := os.WriteFile(r.output, []byte(output), 0o600); err != nil {
			return fmt.Errorf("write the output: %w", err)
		}
	}
	r.finish(process.Exit{ExitCode: code})
	return nil
}

// die ends the run by the kill that was asked for.
func (r *fakeRun) die() {
	r.finish(process.Exit{Signal: "KILL", Killed: true, Kill: &process.Kill{Cause: r.kill, RequestedAt: time.Now(), SignalledAt: time.Now()}})
}

func (r *fakeRun) finish(e process.Exit) {
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	e.StartedAt, e.EndedAt, e.DeadAt = r.at, time.Now(), time.Now()
	r.exit = e
	close(r.done)
}
