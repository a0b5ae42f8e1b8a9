package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"quell"
)

const (
	// proofEvery is how often etcd is asked to prove that a watch is fresh.
	proofEvery = time.Second
	// maxRegress is how many proofs in a row may be older than what was told:
	// a member may lag, but etcd restored from a backup stays behind.
	maxRegress = 10
)

// FollowChanges tells of all jobs and nodes, and then of every change in the
// order of its revision, until ctx ends. One watch covers /jobs/ to /nodes/,
// so that there is one order.
//
// Unlike other followers it goes on from where it was when a watch breaks:
// nothing is told twice, and a full read is needed only where etcd has
// forgotten what came since. It counts as behind until etcd has proved that
// the new watch has caught up. A receive from hurry asks for a proof at once.
func (s *Store) FollowChanges(ctx context.Context, hurry <-chan struct{}, told func(quell.Changes)) error {
	c := &changes{store: s, hurry: hurry, told: told, follower: &follower{key: s.keys.jobs()}}
	s.fallBehind(c.follower, errNotRead)
	defer s.forget(c.follower)
	pause := shortPause
	for ctx.Err() == nil {
		began := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			break
		}
		s.fallBehind(c.follower, err)
		level := slog.LevelWarn
		if errors.Is(err, errStream) || quell.CodeOf(err) == quell.CodeUnavailable {
			level = slog.LevelDebug
		}
		s.log.Log(ctx, level, "the watch of all jobs broke and is made again", "from", c.revision, "error", err)
		if time.Since(began) > 10*time.Second {
			pause = shortPause
		}
		rest(ctx, pause)
		pause = min(2*pause, time.Second)
	}
	return ctx.Err()
}

// changes is one FollowChanges under way.
type changes struct {
	store    *Store
	hurry    <-chan struct{}
	told     func(quell.Changes)
	follower *follower

	revision int64     // up to which all was told; 0: a full read is needed
	asked    time.Time // the oldest request for a proof without an answer
	regress  int
}

var errRegress = errors.New("the revisions of etcd have gone back")

// once reads everything where that is needed, and watches until that breaks.
func (c *changes) once(ctx context.Context) error {
	if c.revision == 0 {
		if err := c.fill(ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.store.beginWatch(c.follower, cancel)
	// A stream of its own: the many events of all jobs delay no abort, and a
	// proof is for this watch alone.
	ctx = clientv3.WithRequireLeader(metadata.AppendToOutgoingContext(ctx, "quell-stream", "changes"))
	// etcd proves nothing to a watch that begins in the future: this one begins
	// with the last revision that was told, whose events are left out.
	watch := c.store.client.Watch(ctx, c.store.keys.jobs(), clientv3.WithRange(clientv3.GetPrefixRangeEnd(c.store.keys.nodes())),
		clientv3.WithRev(c.revision), clientv3.WithCreatedNotify())
	ticker := time.NewTicker(proofEvery)
	defer ticker.Stop()
	c.asked, c.regress = time.Time{}, 0
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
			err = c.ask(ctx)
		case <-c.hurry:
			err = c.ask(ctx)
		case w, open := <-watch:
			if !open && ctx.Err() == nil {
				err = errors.New("etcd closed the watch")
			} else if open {
				err = c.take(ctx, w)
			}
		}
		if err != nil {
			return err
		}
	}
}

// ask asks etcd to say up to which revision everything has been sent.
func (c *changes) ask(ctx context.Context) error {
	if c.asked.IsZero() {
		c.asked = time.Now()
	}
	ctx, cancel := context.WithTimeout(ctx, c.store.timeout)
	defer cancel()
	if err := c.store.client.RequestProgress(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return readError(err)
	}
	return nil
}

// take hands on one answer of the watch.
func (c *changes) take(ctx context.Context, w clientv3.WatchResponse) error {
	switch {
	case w.CompactRevision != 0, errors.Is(w.Err(), rpctypes.ErrCompacted):
		c.revision = 0
		return rpctypes.ErrCompacted
	case w.Err() != nil:
		return w.Err()
	case w.Created:
		return c.ask(ctx)
	case w.IsProgressNotify():
		return c.proved(w.Header.Revision)
	}
	known := func(e *clientv3.Event) bool { return e.Kv.ModRevision <= c.revision }
	if w.Events = slices.DeleteFunc(w.Events, known); len(w.Events) == 0 {
		return nil
	}
	out := quell.Changes{}
	for _, e := range w.Events {
		c.add(&out, e.Kv, e.Type == clientv3.EventTypeDelete)
	}
	// The answer's own revision can be ahead of its events.
	c.revision = w.Events[len(w.Events)-1].Kv.ModRevision
	out.Revision = c.revision
	c.told(out)
	return nil
}

// proved takes etcd's word that all up to revision has been sent. It was so
// when the proof was asked for, at the earliest.
func (c *changes) proved(revision int64) error {
	if revision < c.revision {
		if c.regress++; c.regress >= maxRegress {
			c.revision = 0
			return errRegress
		}
		return nil
	}
	asked := c.asked
	c.asked, c.regress, c.revision = time.Time{}, 0, revision
	c.store.catchUp(c.follower)
	c.told(quell.Changes{Revision: revision, Fresh: asked})
	return nil
}

// fill reads everything at one revision, a page at a time.
func (c *changes) fill(ctx context.Context) error {
	began, revision, reset := time.Now(), int64(0), true
	for _, prefix := range []string{c.store.keys.jobs(), c.store.keys.nodes()} {
		var err error
		revision, err = c.store.pages(ctx, prefix, revision, func(kvs []*mvccpb.KeyValue) {
			out := quell.Changes{Reset: reset}
			reset = false
			for _, kv := range kvs {
				c.add(&out, kv, false)
			}
			c.told(out)
		})
		if err != nil {
			return err
		}
	}
	c.revision = revision
	c.told(quell.Changes{Revision: revision, Fresh: began})
	return nil
}

// add puts what a key tells into what is handed out.
func (c *changes) add(out *quell.Changes, kv *mvccpb.KeyValue, gone bool) {
	key := string(kv.Key)
	if rest, ok := strings.CutPrefix(key, c.store.keys.jobs()); ok {
		part, kind, _ := strings.Cut(rest, "/")
		change := quell.JobChange{ID: unescape(part), Revision: kv.ModRevision}
		if part != "*" && c.store.jobChange(&change, quell.JobPart(kind), kv, gone) {
			out.Jobs = append(out.Jobs, change)
		}
		return
	}
	if !strings.HasPrefix(key, c.store.keys.nodes()) {
		return // a lock
	}
	if name, ok := c.store.keys.infoNode(key); ok {
		change := quell.NodeChange{Name: name, Revision: kv.ModRevision}
		if n, readable := node(kv); !gone && readable {
			change.Info = &n.Info
		}
		out.Nodes = append(out.Nodes, change)
	}
}

// jobChange reads one key of a job. It returns false for those that nobody is
// told of.
func (s *Store) jobChange(change *quell.JobChange, part quell.JobPart, kv *mvccpb.KeyValue, gone bool) bool {
	switch part {
	case quell.PartSpec, quell.PartState, quell.PartProgress, quell.PartIntent:
	default:
		return false
	}
	if gone {
		change.Gone = part
		return true
	}
	var err error
	switch part {
	case quell.PartSpec:
		change.Spec = &quell.Spec{}
		err = decode(kv, change.Spec)
	case quell.PartState:
		change.State = &quell.State{}
		err = decode(kv, change.State)
	case quell.PartProgress:
		change.Progress = &quell.Progress{}
		err = decode(kv, change.Progress)
	case quell.PartIntent:
		change.Intent = ownIntent(kv)
	}
	if err != nil {
		s.log.Error("a value cannot be read and is left out", "key", string(kv.Key), "error", err)
		return false
	}
	return true
}

// Sizes of a page of a full read: keys, and bytes that are aimed at.
const (
	firstPage   = 64
	smallPage   = 16
	largePage   = 256
	bytesOfPage = 4 << 20
)

// pages reads all below a prefix at one revision (0: the present), a page at
// a time, so that memory is bounded however much there is. It returns the
// revision.
func (s *Store) pages(ctx context.Context, prefix string, revision int64, page func([]*mvccpb.KeyValue)) (int64, error) {
	start, end, limit := prefix, clientv3.GetPrefixRangeEnd(prefix), firstPage
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit))}
		if revision != 0 {
			opts = append(opts, clientv3.WithRev(revision))
		}
		r, err := s.get(ctx, start, opts...)
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = r.Header.Revision
		}
		page(r.Kvs)
		if !r.More || len(r.Kvs) == 0 {
			return revision, nil
		}
		size := 1
		for _, kv := range r.Kvs {
			size += len(kv.Value)
		}
		limit = min(max(len(r.Kvs)*bytesOfPage/size, smallPage), largePage)
		start = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
	}
}
