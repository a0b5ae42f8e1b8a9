package quell

// Status is the state of a job (design: Statuses).
type Status string

// The statuses of a job. The last five are final: they never change again.
const (
	StatusQueued     Status = "QUEUED"      // waits for a node
	StatusStarting   Status = "STARTING"    // has a node, nothing has begun there
	StatusInProgress Status = "IN_PROGRESS" // its playbooks run
	StatusAborting   Status = "ABORTING"    // an abort was seen, a run has not ended yet
	StatusRecovering Status = "RECOVERING"  // its recovery playbooks run

	StatusSuccess Status = "SUCCESS" // all playbooks ended well
	StatusWarning Status = "WARNING" // ended well, with something to look at
	StatusFailure Status = "FAILURE" // a playbook failed
	StatusAborted Status = "ABORTED" // an abort ended it
	StatusLost    Status = "LOST"    // an operator declared its node gone
)

// Statuses lists every status, in the order in which a job can meet them.
var Statuses = []Status{
	StatusQueued, StatusStarting, StatusInProgress, StatusAborting, StatusRecovering,
	StatusSuccess, StatusWarning, StatusFailure, StatusAborted, StatusLost,
}

// Final says whether the status never changes again.
func (s Status) Final() bool {
	switch s {
	case StatusSuccess, StatusWarning, StatusFailure, StatusAborted, StatusLost:
		return true
	}
	return false
}

// Known says whether s is one of [Statuses].
func (s Status) Known() bool {
	for _, known := range Statuses {
		if s == known {
			return true
		}
	}
	return false
}

// PlaybookStatus is the state of one playbook of a job.
type PlaybookStatus string

// The statuses of a playbook. RUNNING means that its process has been started.
const (
	PlaybookPending     PlaybookStatus = "PENDING"
	PlaybookRunning     PlaybookStatus = "RUNNING"
	PlaybookSuccess     PlaybookStatus = "SUCCESS"
	PlaybookFailure     PlaybookStatus = "FAILURE"
	PlaybookInterrupted PlaybookStatus = "INTERRUPTED" // cut short by an abort or the job's time limit, on one of its devices at least
	PlaybookSkipped     PlaybookStatus = "SKIPPED"     // never started
)
