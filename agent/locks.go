package agent

import (
	"context"

	"quell"
)

// locksTaking is the taking of locks of devices that turned up in the middle
// of the job, on its way.
type locksTaking struct {
	result chan locksTaken // buffered
}

type locksTaken struct {
	holders map[string]string
	err     error
}

// takeLocks takes the locks that the stored status wants; or stores it first.
// A device whose lock another job holds fails, and it alone.
func (r *runner) takeLocks(ctx context.Context) {
	switch {
	case r.dirty:
		// They stand in the status no later than they are taken.
		r.commit(ctx, false, func(*quell.State) {})
		return
	case r.locking == nil:
		taking := &locksTaking{result: make(chan locksTaken, 1)}
		r.locking = taking
		locks, token := r.state.LocksToTake(), r.job.Token
		r.beside.Go(func() {
			holders, err := r.o.Store.TakeLocks(ctx, r.id, token, locks)
			taking.result <- locksTaken{holders, err}
			r.poke()
		})
		return
	}
	select {
	case taken := <-r.locking.result:
		r.locking = nil
		switch {
		case taken.err == nil:
			r.state.Locked(taken.holders)
			r.dirty = true
			r.poke()
		case quell.CodeOf(taken.err) == quell.CodeNotOwner:
			r.removed()
		case ctx.Err() == nil:
			r.log.Error("locks could not be taken; it is tried again", "error", taken.err)
			r.rest(errorRest)
		}
	default: // on their way
	}
}
