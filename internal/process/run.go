package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Run is one run that is being watched. It is watched by one goroutine, which
// ends when the run is Done or the Run is closed.
type Run struct {
	id   ID
	dir  string
	sup  *Supervisor
	log  *slog.Logger
	shim *child // nil unless started here

	started, done, changed chan struct{}

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	conn      *os.File // to the shim, while connected
	kill      *Kill    // asked for here, until the shim's record of it is known
	state     state    // as last told
	startedAt time.Time
	exit      Exit
}

func (s *Supervisor) newRun(id ID) *Run {
	r := &Run{
		id: id, dir: s.Dir(id.Job, id.Run), sup: s,
		log:     s.log.With("job", id.Job, "run", id.Run),
		started: make(chan struct{}), done: make(chan struct{}), changed: make(chan struct{}, 1),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

// watch follows a run: through conn, if its shim was started here, or else by
// what lies in its folder.
func (s *Supervisor) watch(id ID, shim *child, conn *os.File) *Run {
	r := s.newRun(id)
	r.shim = shim
	if conn != nil {
		r.connect(conn)
	}
	r.work.Go(func() {
		defer r.cancel()
		for conn := conn; r.ctx.Err() == nil; {
			if conn != nil {
				if exit := r.follow(conn); exit != nil {
					r.finish(*exit)
					return
				}
			}
			var exit *Exit
			if conn, exit = r.resolve(); exit != nil {
				r.finish(*exit)
				return
			}
		}
	})
	return r
}

// finished is a run that is done when it is found.
func (s *Supervisor) finished(id ID, e Exit) *Run {
	r := s.newRun(id)
	r.cancel()
	r.finish(e)
	return r
}

// ID names the run.
func (r *Run) ID() ID { return r.id }

// Started is closed once the command has been started; it never is when the
// run ends with NeverStarted.
func (r *Run) Started() <-chan struct{} { return r.started }

// StartedAt is when the command was started; zero before Started.
func (r *Run) StartedAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.startedAt
}

// Changed ticks when the log or the events have grown or the survivors have
// changed since the last tick was taken.
func (r *Run) Changed() <-chan struct{} { return r.changed }

// Survivors is what a kill has not ended for a second or more.
func (r *Run) Survivors() []Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.state.Survivors)
}

// Done is closed when nothing of the run's tree is alive any more and the
// command's output is complete. It is not closed by Close.
func (r *Run) Done() <-chan struct{} { return r.done }

// Exit is how the run ended, once it is Done.
func (r *Run) Exit() Exit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.exit
}

// Kill ends the run and all of its tree at once; a run that has not been
// started never is. It returns without waiting, may be called at any time and
// again, and the first cause stands. Done tells when it has been carried out.
func (r *Run) Kill(cause string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kill != nil || isClosed(r.done) {
		return
	}
	r.kill = &Kill{Cause: cause[:min(len(cause), maxCause)], RequestedAt: time.Now()}
	r.sendKill()
}

// sendKill sends the kill if there is one and a shim to send it to. A shim
// takes a repetition for what it is. The request is small and the first on its
// connection, so that it fits into the socket's buffer and nothing blocks.
func (r *Run) sendKill() {
	if r.kill == nil || r.conn == nil {
		return
	}
	line, err := json.Marshal(request{Op: opKill, Cause: r.kill.Cause})
	if err == nil {
		_, err = r.conn.Write(append(line, '\n'))
	}
	if err != nil {
		// The connection is broken: the watcher makes a new one, or finds the end.
		r.log.Debug("kill not sent yet", "error", err)
	}
}

// Close stops watching; the run goes on under its shim. It waits for what this
// Run has running. A kill that was asked for before may not have been sent.
func (r *Run) Close() error {
	r.cancel()
	r.mu.Lock()
	if r.conn != nil {
		_ = r.conn.SetReadDeadline(time.Now()) // interrupts follow
	}
	r.mu.Unlock()
	r.work.Wait()
	return nil
}

// connect makes a connection the current one. What was asked for while there
// was none is sent now.
func (r *Run) connect(conn *os.File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn = conn
	r.sendKill()
	if r.ctx.Err() != nil {
		_ = conn.SetReadDeadline(time.Now()) // closed meanwhile
	}
}

// follow takes what the shim tells until it tells the exit or the connection
// ends, and closes the connection.
func (r *Run) follow(conn *os.File) *Exit {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.conn = nil
		_ = conn.Close() // all that it had to tell was read
	}()
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) && r.ctx.Err() == nil {
				r.log.Warn("connection to shim broke", "error", err)
			}
			return nil
		}
		var st state
		if err := json.Unmarshal(line, &st); err != nil {
			r.log.Error("shim is not understood", "error", fmt.Errorf("state: %w", err))
			return nil
		}
		if st.Exit != nil {
			return st.Exit
		}
		r.apply(st)
	}
}

// apply takes over a state that the shim has told.
func (r *Run) apply(st state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.start(st.StartedAt)
	if st.Log != r.state.Log || st.Events != r.state.Events || !slices.Equal(st.Survivors, r.state.Survivors) {
		tick(r.changed)
	}
	r.state = st
}

func (r *Run) start(at time.Time) {
	if !at.IsZero() && r.startedAt.IsZero() {
		r.startedAt = at
		close(r.started)
	}
}

// survive tells survivors of a kill that is made here, not by a shim.
func (r *Run) survive(alive []Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state.Survivors = alive
	tick(r.changed)
}

func (r *Run) finish(e Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exit = e
	r.state.Survivors = nil
	r.start(e.StartedAt)
	tick(r.changed)
	close(r.done)
}
