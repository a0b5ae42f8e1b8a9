package apiserver

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"quell"
	"quell/metrics"
)

// cache holds a summary of every job, and the nodes, as the store tells of
// them. Lists and events come from it, so that they cost the store nothing.
//
// It is written by take alone. A summary that was handed out is never written
// to again: a change makes a new one.
type cache struct {
	now    func() time.Time
	events *ring
	// hurry asks whoever feeds the cache to prove how fresh it is.
	hurry chan struct{}

	mu       sync.RWMutex
	index    *index
	filling  *index // what a full read has told so far
	filled   bool
	revision int64         // up to which it is complete
	fresh    time.Time     // when it was proved that nothing was missing
	moved    chan struct{} // closed when revision moves
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, events: newRing(ringSize), hurry: make(chan struct{}, 1), index: newIndex(), moved: make(chan struct{})}
}

// take takes what the store tells.
func (c *cache) take(ch quell.Changes) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch.Reset {
		c.filling = newIndex()
	}
	if c.filling != nil {
		for _, change := range ch.Jobs {
			c.filling.change(change, c.now())
		}
		for _, change := range ch.Nodes {
			c.filling.register(change, c.now())
		}
	} else {
		c.apply(ch)
	}
	if ch.Revision == 0 {
		return
	}
	if c.filling != nil {
		c.filling.inherit(c.index)
		c.index, c.filling, c.filled = c.filling, nil, true
		c.events.reset(ch.Revision)
	}
	if ch.Fresh.After(c.fresh) {
		c.fresh = ch.Fresh
	}
	if c.revision != ch.Revision || !ch.Fresh.IsZero() {
		c.revision = ch.Revision
		close(c.moved)
		c.moved = make(chan struct{})
	}
}

// apply changes the index and makes the events, those of one revision after
// those of the one before.
func (c *cache) apply(ch quell.Changes) {
	jobs, nodes := ch.Jobs, ch.Nodes
	var events []event
	for len(jobs) > 0 || len(nodes) > 0 {
		var revision int64
		switch {
		case len(nodes) == 0, len(jobs) > 0 && jobs[0].Revision <= nodes[0].Revision:
			revision = jobs[0].Revision
		default:
			revision = nodes[0].Revision
		}
		first := len(events)
		var touched []event // one a job, as it was before
		for ; len(jobs) > 0 && jobs[0].Revision == revision; jobs = jobs[1:] {
			id := jobs[0].ID
			if !slices.ContainsFunc(touched, func(e event) bool { return e.id == id }) {
				touched = append(touched, event{kind: kindJob, id: id, was: c.index.visible(id)})
			}
			c.index.change(jobs[0], c.now())
		}
		for _, e := range touched {
			if e.job = c.index.visible(e.id); e.job != nil || e.was != nil {
				events = append(events, e)
			}
		}
		for ; len(nodes) > 0 && nodes[0].Revision == revision; nodes = nodes[1:] {
			c.index.register(nodes[0], c.now())
			node := c.index.nodeBody(nodes[0].Name)
			events = append(events, event{kind: kindNode, id: node.Node, node: &node})
		}
		for i := range events[first:] {
			events[first+i].at = position{revision, i}
		}
	}
	c.events.add(events)
}

// page is a part of a list.
type page struct {
	jobs     []*summaryBody
	last     string // the id to go on below
	more     bool
	revision int64
}

// list returns the newest jobs that match, below an id.
func (c *cache) list(matches func(*summaryBody) bool, before string, limit int) page {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p := page{jobs: []*summaryBody{}, revision: c.revision}
	end := len(c.index.ids)
	if before != "" {
		end, _ = slices.BinarySearch(c.index.ids, before)
	}
	for i := end - 1; i >= 0; i-- {
		job := c.index.entries[c.index.ids[i]].summary
		if !matches(job) {
			continue
		}
		if len(p.jobs) == limit {
			p.more = true
			break
		}
		p.jobs, p.last = append(p.jobs, c.index.withReach(job)), job.ID
	}
	return p
}

// withReach adds what changes with the job's node rather than with the job.
func (x *index) withReach(job *summaryBody) *summaryBody {
	since := x.unreachableSince(job.Node)
	if since == nil || job.Status.Final() {
		return job
	}
	shown := *job
	shown.UnreachableSince = since
	return &shown
}

// reach waits until the cache is complete up to a revision.
func (c *cache) reach(ctx context.Context, revision int64) error {
	for {
		c.mu.RLock()
		reached, at, filled, moved := c.filled && c.revision >= revision, c.revision, c.filled, c.moved
		c.mu.RUnlock()
		if reached {
			return nil
		}
		select {
		case c.hurry <- struct{}{}:
		default: // somebody has asked already
		}
		again := time.NewTimer(100 * time.Millisecond) // a member of etcd may lag
		select {
		case <-moved:
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			if !filled {
				return quell.Errorf(quell.CodeUnavailable, "the cache of jobs is not filled yet: try again")
			}
			return quell.Errorf(quell.CodeUnavailable, "the cache of jobs is at revision %d and has not reached %d yet: try again", at, revision)
		}
		again.Stop()
	}
}

// age is how long ago the cache was proved to be fresh.
func (c *cache) age() time.Duration {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return max(0, c.now().Sub(c.fresh))
}

// tooOld is an age at which etcd has failed to prove anything several times.
const tooOld = 15 * time.Second

// ready says why lists cannot be trusted now, if so.
func (c *cache) ready() error {
	c.mu.RLock()
	filled := c.filled
	c.mu.RUnlock()
	if !filled {
		return quell.Errorf(quell.CodeUnavailable, "it is not filled yet")
	}
	if age := c.age(); age > tooOld {
		return quell.Errorf(quell.CodeUnavailable, "it is %s old", age.Round(time.Second))
	}
	return nil
}

func (c *cache) unreachableSince(node string) *time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index.unreachableSince(node)
}

// job returns a job's summary, nil where there is none.
func (c *cache) job(id string) *summaryBody {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.index.visible(id)
}

// waitJob returns when the job's summary is another than was, or with ctx's
// error.
func (c *cache) waitJob(ctx context.Context, id string, was *summaryBody) (*summaryBody, error) {
	for {
		c.mu.RLock()
		job, moved := c.index.visible(id), c.moved
		c.mu.RUnlock()
		if job != was {
			return job, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *cache) nodeList() ([]nodeBody, int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]nodeBody, 0, len(c.index.nodes))
	for name := range c.index.nodes {
		if body := c.index.nodeBody(name); !body.Deleted {
			list = append(list, body)
		}
	}
	slices.SortFunc(list, func(a, b nodeBody) int { return strings.Compare(a.Node, b.Node) })
	return list, c.revision
}

// stats is what the metrics tell of the cache.
func (c *cache) stats() metrics.CacheStats {
	s := metrics.CacheStats{Ready: c.ready() == nil, Jobs: map[string]int{}}
	now := c.now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.filled {
		s.AgeSeconds = max(0, now.Sub(c.fresh).Seconds())
	}
	for _, id := range c.index.ids {
		job := c.index.entries[id].summary
		s.Jobs[string(job.Status)]++
		if a := job.Abort; a == nil || a.Mode == "" || a.SeenAt != nil || job.Status.Final() {
			continue
		}
		s.Unseen++
		if at := job.Abort.RequestedAt; at != nil {
			s.OldestUnseen = max(s.OldestUnseen, now.Sub(*at).Seconds())
		}
	}
	return s
}
