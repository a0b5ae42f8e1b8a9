package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"quell"
	"quell/internal/process"
)

// sweep ends what is left on the node's disk of jobs that this agent does not
// own: they were final, or given up, while it was away (design: Guarantees, 8).
// Each has a goroutine of its own, so that one that does not die holds up no
// other.
func (a *Agent) sweep(ctx context.Context) {
	unfinished, err := a.o.Processes.Unfinished()
	if err != nil {
		a.o.Logger.Error("the unfinished runs cannot be listed", "error", err)
	}
	entries, err := os.ReadDir(RunsDir(a.o.DataDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.o.Logger.Error("the folder of runs cannot be read", "error", err)
	}
	for _, e := range entries {
		id := e.Name()
		r := newRunner(a.o, id, a.Running)
		alive := slices.ContainsFunc(unfinished, func(u process.ID) bool { return u.Job == id })
		// A folder that is there was made by this agent while it cared for
		// the job, or by an earlier one.
		if e.IsDir() && (alive || r.hasTempDir()) && !a.cares(id) {
			a.running.Go(func() { r.giveUp(ctx) })
		}
	}
}

// giveUp ends what is left here of a job that this node does not own; it goes
// on trying. It writes nothing to the store: the job is somebody else's, or
// final. It returns false when ctx has ended first.
func (r *runner) giveUp(ctx context.Context) bool {
	r.log.Info("the job is final or not this node's; what is left of it here is ended")
	for pause := errorRest / 10; ; pause = min(2*pause, 10*errorRest) {
		err := r.disown(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			r.log.Error("what is left of the job could not be ended; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// disown kills what is left on this node of the job and waits for its death.
func (r *runner) disown(ctx context.Context) error {
	r.letGo() // what follows takes all of them over
	names, err := runsOf(r.o.DataDir, r.id)
	if err != nil {
		return err
	}
	var alive []Run
	defer func() {
		for _, p := range alive {
			_ = p.Close() // it lets go of the run, nothing more
		}
	}()
	for _, name := range names {
		p, e := r.seize(name)
		if e != nil {
			err = errors.Join(err, e) // the others are killed all the same
			continue
		}
		if p != nil {
			p.Kill(string(quell.CauseDisown))
			alive = append(alive, p)
		}
	}
	for _, p := range alive {
		if e := r.waitDead(ctx, p); e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	r.cleanUp()
	return nil
}

// seize takes over a run, or sees to it that it never starts and returns nil.
func (r *runner) seize(name string) (Run, error) {
	p, err := r.o.Processes.Adopt(r.id, name)
	if !errors.Is(err, process.ErrNotClaimed) {
		return p, err
	}
	// A shim of an agent that died may yet come, or be quicker than this.
	sealed, err := r.o.Processes.Seal(r.id, name)
	if err != nil || sealed {
		return nil, err
	}
	return r.o.Processes.Adopt(r.id, name)
}

// waitDead waits until nothing of the run is left.
func (r *runner) waitDead(ctx context.Context, p Run) error {
	for {
		select {
		case <-p.Done():
			return nil
		case <-p.Changed():
			if survivors := p.Survivors(); len(survivors) > 0 {
				r.log.Warn("a killed run has survivors", "run", p.ID().Run, "survivors", processes(survivors))
			}
		case <-ctx.Done():
			return fmt.Errorf("run %s is not dead yet: %w", p.ID(), ctx.Err())
		}
	}
}
