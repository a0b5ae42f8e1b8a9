package apiserver

import (
	"math"
	"slices"
	"strings"
	"time"

	"quell"
)

const (
	// transactionIDs and transactionJobs bound what one transaction lists.
	transactionIDs  = 100
	transactionJobs = 500
)

// transactionStatuses are those that a transaction can have (contrail.md: How
// a job runs there).
var transactionStatuses = []quell.Status{
	quell.StatusQueued, quell.StatusInProgress,
	quell.StatusSuccess, quell.StatusWarning, quell.StatusFailure, quell.StatusAborted, quell.StatusLost,
}

// transaction puts together what the transaction's jobs tell.
func (x *index) transaction(id string) Transaction {
	ids := x.transactions[id]
	b := Transaction{
		ID: id, JobCount: len(ids), JobIDs: slices.Clone(ids[:min(len(ids), transactionIDs)]), Final: true,
		CreatedAt: x.entries[ids[0]].summary.CreatedAt,
	}
	queued, agreed, sum := true, true, 0.0
	for _, jobID := range ids {
		job := x.entries[jobID].summary
		if b.Descr == nil {
			b.Descr = job.TransactionDescr
		}
		if b.Status == "" {
			b.Status = job.Status
		}
		agreed = agreed && b.Status == job.Status
		queued = queued && job.Status == quell.StatusQueued
		b.Final = b.Final && job.Status.Final()
		b.StartedAt, b.EndedAt = earliest(b.StartedAt, job.StartedAt), latest(b.EndedAt, job.EndedAt)
		sum += job.Percentage
	}
	switch {
	case queued:
	case !b.Final:
		b.Status = quell.StatusInProgress
	case !agreed:
		b.Status = quell.StatusWarning
	}
	if !b.Final {
		b.EndedAt = nil
	}
	// Not rounded up: 100 is for what is done. The rest is what floats lose.
	b.Percentage = math.Floor(sum/float64(len(ids))*10+1e-6) / 10
	return b
}

func earliest(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}

func latest(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}

// transactionQuery chooses transactions.
type transactionQuery struct {
	id           string // empty: any
	since, until time.Time
	fabric, text string // of one of its jobs; the text in lower case
	statuses     []quell.Status
}

// compile checks the filter.
func (f *TransactionFilter) compile(now time.Time) (transactionQuery, error) {
	q := transactionQuery{id: f.Transaction, fabric: f.Fabric, text: strings.ToLower(f.Text)}
	var err error
	if q.statuses, err = parseStatuses(inQuery, f.Status, transactionStatuses); err == nil {
		q.since, q.until, err = parsePeriod(inQuery, f.Since, f.Until, now)
	}
	return q, err
}

// matches looks at what is cheap first.
func (q *transactionQuery) matches(x *index, id string, first *summaryBody) bool {
	switch {
	case q.id != "" && q.id != id,
		!q.since.IsZero() && first.CreatedAt.Before(q.since),
		!q.until.IsZero() && !first.CreatedAt.Before(q.until):
		return false
	}
	some := func(has func(*summaryBody) bool) bool {
		return slices.ContainsFunc(x.transactions[id], func(id string) bool { return has(x.entries[id].summary) })
	}
	return (q.fabric == "" || some(func(b *summaryBody) bool { return b.Fabric != nil && named(*b.Fabric, q.fabric) })) &&
		(q.text == "" || some(func(b *summaryBody) bool { return b.holds(q.text) }))
}

// transactionPage is a part of a list.
type transactionPage struct {
	list     []Transaction
	last     string // the id of the last one's first job, to go on below
	more     bool
	revision int64
}

// transactions returns the newest transactions that match, below the one
// that begins with a job. A transaction is as old as its first job: each is
// met once, where that job is, and all of its jobs are looked at once.
func (c *cache) transactions(q transactionQuery, before string, limit int) transactionPage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	x := c.index
	p := transactionPage{list: []Transaction{}, revision: c.revision}
	end := len(x.ids)
	if before != "" {
		end, _ = slices.BinarySearch(x.ids, before)
	}
	for i := end - 1; i >= 0; i-- {
		first := x.entries[x.ids[i]].summary
		if x.transactions[first.TransactionID][0] != first.ID || !q.matches(x, first.TransactionID, first) {
			continue
		}
		b := x.transaction(first.TransactionID)
		if len(q.statuses) > 0 && !slices.Contains(q.statuses, b.Status) {
			continue
		}
		if len(p.list) == limit {
			p.more = true
			break
		}
		p.list, p.last = append(p.list, b), first.ID
	}
	return p
}

// transaction returns one with its jobs; false: there is none.
func (c *cache) transaction(id string) (transactionDetail, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	ids := c.index.transactions[id]
	if len(ids) == 0 {
		return transactionDetail{}, false
	}
	d := transactionDetail{Transaction: c.index.transaction(id), Jobs: []*summaryBody{}, Revision: c.revision}
	for _, jobID := range ids[:min(len(ids), transactionJobs)] {
		d.Jobs = append(d.Jobs, c.index.withReach(c.index.entries[jobID].summary))
	}
	return d, true
}

// choose returns those of the jobs that match and are not final.
func (c *cache) choose(ids []string, matches func(*summaryBody) bool) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		job := c.index.visible(id)
		return job == nil || job.Status.Final() || !matches(job)
	})
}
