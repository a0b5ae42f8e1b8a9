package agent

import (
	"time"

	"quell/internal/process"
)

// Processes is what the agent needs of whoever starts, adopts and kills
// process trees: see package process, which says what each promises.
type Processes interface {
	Start(job, run string, c process.Command) (Run, error)
	Adopt(job, run string) (Run, error)
	Seal(job, run string) (bool, error)
	Remove(job string) error
	Unfinished() ([]process.ID, error)
	Dir(job, run string) string
	LogPath(job, run string) string
	EventsPath(job, run string) string
}

// Run is one run that is being watched.
type Run interface {
	ID() process.ID
	Started() <-chan struct{}
	StartedAt() time.Time
	Changed() <-chan struct{}
	Survivors() []process.Process
	Done() <-chan struct{}
	Exit() process.Exit
	Kill(cause string)
	Close() error
}

// Supervised makes Processes of a supervisor.
func Supervised(s *process.Supervisor) Processes { return supervised{s} }

type supervised struct{ *process.Supervisor }

func (s supervised) Start(job, run string, c process.Command) (Run, error) {
	return asRun(s.Supervisor.Start(job, run, c))
}

func (s supervised) Adopt(job, run string) (Run, error) {
	return asRun(s.Supervisor.Adopt(job, run))
}

// asRun makes no Run of a nil one.
func asRun(r *process.Run, err error) (Run, error) {
	if r == nil {
		return nil, err
	}
	return r, err
}
