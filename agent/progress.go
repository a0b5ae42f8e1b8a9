package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"quell"
	"quell/agent/ansible"
)

// eventReader reads a run's events file from where it stopped.
type eventReader struct {
	path     string
	offset   int64
	progress ansible.Progress
}

// maxEvents bounds what is read at once of the events of all runs, in bytes:
// they must not keep their runner from an abort.
const maxEvents = 256 << 10

// read takes in the whole lines that have come, as far as the budget goes, and
// says whether there may be more. A line that cannot be read is left out: events are for people, nothing
// is decided on them.
func (e *eventReader) read(budget *int64) (more bool, err error) {
	f, err := os.Open(e.path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open events: %w", err)
	}
	defer f.Close()
	buffer := make([]byte, 64<<10)
	for *budget > 0 {
		n, err := f.ReadAt(buffer, e.offset)
		used := e.take(buffer[:n])
		if used == 0 && n == len(buffer) {
			used = n // a line beyond all bounds is skipped
		}
		e.offset += int64(used)
		*budget -= int64(used)
		if used == 0 || err != nil {
			return false, nil
		}
	}
	return true, nil
}

// take applies the whole lines in data and returns how long they were.
func (e *eventReader) take(data []byte) int {
	used := 0
	for {
		end := slices.Index(data[used:], '\n')
		if end < 0 {
			return used
		}
		if event, err := ansible.DecodeEvent(data[used : used+end]); err == nil {
			e.progress.Apply(event)
		}
		used += end + 1
	}
}

// progressWriter stores a job's progress sparingly.
type progressWriter struct {
	last    quell.Progress
	wanted  bool          // last is not stored yet
	busy    bool          // a write is on its way
	sent    chan struct{} // ticks when it is no longer
	allowed time.Time     // not before
}

// next is when there is something to write; zero: nothing.
func (p *progressWriter) next() time.Time {
	if !p.wanted || p.busy {
		return time.Time{}
	}
	return p.allowed
}

// writeProgress stores the job's progress where it has changed, at most every
// max(1 s, jobs on the node ÷ 10) (design: Keys in etcd). One that is lost is
// made good by the next.
func (r *runner) writeProgress(ctx context.Context) {
	p := &r.progress
	if len(r.runs) == 0 {
		p.wanted = false // it is in what is stored next
		return
	}
	now := quell.Progress{Percentage: r.state.Percentage, Tasks: r.currentTasks()}
	if now.Percentage != p.last.Percentage || !slices.Equal(now.Tasks, p.last.Tasks) {
		p.last, p.wanted = now, true
	}
	if !p.wanted || p.busy || time.Now().Before(p.allowed) {
		return
	}
	if p.sent == nil {
		p.sent = make(chan struct{}, 1)
	}
	every := max(time.Second, time.Duration(r.jobs())*time.Second/10)
	p.wanted, p.busy, p.allowed = false, true, time.Now().Add(every)
	token := r.job.Token
	r.beside.Go(func() {
		if err := r.o.Store.PutProgress(ctx, r.id, token, now); err != nil && ctx.Err() == nil {
			r.log.Debug("progress was not stored", "error", err)
		}
		p.sent <- struct{}{}
	})
}

// Bounds of the current tasks that are told of a job that works on many
// devices: how many, and the bytes of each, which JSON may write as six times
// as many.
const (
	maxTasks = 5
	maxTask  = 120
)

// currentTasks names what the runs in progress do, each behind its device.
func (r *runner) currentTasks() []string {
	var tasks []string
	for _, ref := range r.state.CurrentRuns() {
		c := r.runs[ref]
		if c == nil {
			continue
		}
		for _, task := range c.events.progress.CurrentTasks() {
			if ref.Device > 0 {
				task = r.state.Devices[ref.Device-1].ID + ": " + task
			}
			if len(task) > maxTask {
				task = strings.ToValidUTF8(task[:maxTask], "") + "…"
			}
			if tasks = append(tasks, task); len(tasks) == maxTasks {
				return tasks
			}
		}
	}
	return tasks
}
