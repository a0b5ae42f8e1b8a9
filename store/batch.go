package store

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Limits of one etcd transaction that carries many: etcd counts the nested
// ones and what is inside them against its max-txn-ops of 128.
const (
	batchTxns  = 64
	nestedOps  = 64
	batchBytes = 1 << 20
	inFlight   = 4 // etcd transactions on their way at once
)

// transaction is one compare-and-write of a job, small enough to be nested.
// Its writes name single keys. What it has to write beyond nestedOps stands in
// transactions inside it.
type transaction struct {
	compares []clientv3.Cmp
	then     []clientv3.Op
	orElse   []clientv3.Op // reads
}

// nests says whether it may share an etcd transaction with others. One that
// has transactions inside goes deeper, and needs room for that.
func (t *transaction) nests() bool {
	most := nestedOps
	for _, op := range t.then {
		if op.IsTxn() {
			_, then, _ := op.Txn()
			most = min(most, nestedOps-len(then)-1)
		}
	}
	return max(len(t.then), len(t.compares), len(t.orElse)) <= most
}

func (t *transaction) size() int {
	size := 0
	writes(t.then, func(op clientv3.Op) { size += len(op.KeyBytes()) + len(op.ValueBytes()) })
	return size
}

// writes visits what is written, in the transactions inside, too.
func writes(ops []clientv3.Op, visit func(clientv3.Op)) {
	for _, op := range ops {
		if !op.IsTxn() {
			visit(op)
			continue
		}
		_, then, _ := op.Txn()
		writes(then, visit)
	}
}

// reply is what became of a transaction.
type reply struct {
	succeeded bool
	revision  int64 // of the store after it
	responses []*pb.ResponseOp
	err       error
}

// batcher puts the transactions that are waiting into shared etcd
// transactions, each nested with its own compare. A single one goes as it is,
// so that nobody waits for company.
type batcher struct {
	client  *clientv3.Client
	timeout time.Duration
	queue   chan *pending
	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // the life of the workers, ended by close
	workers sync.WaitGroup
}

type pending struct {
	transaction
	done chan reply // buffered
}

func newBatcher(client *clientv3.Client, timeout time.Duration) *batcher {
	b := &batcher{client: client, timeout: timeout, queue: make(chan *pending)}
	b.ctx, b.stop = context.WithCancel(context.Background())
	for range inFlight {
		b.workers.Go(b.work)
	}
	return b
}

func (b *batcher) close() {
	b.stop()
	b.workers.Wait()
}

// commit runs a transaction and returns what became of it. An error means
// that the result is unknown, unless it was never sent or etcd refused it.
func (b *batcher) commit(ctx context.Context, t transaction) reply {
	p := &pending{transaction: t, done: make(chan reply, 1)}
	select {
	case b.queue <- p:
	case <-ctx.Done():
		return reply{err: &notSentError{ctx.Err()}}
	case <-b.ctx.Done():
		return reply{err: &notSentError{errClosed}}
	}
	select {
	case r := <-p.done:
		return r
	case <-ctx.Done():
		return reply{err: ctx.Err()}
	}
}

func (b *batcher) work() {
	var next *pending
	for {
		if next == nil {
			select {
			case next = <-b.queue:
			case <-b.ctx.Done():
				return
			}
		}
		var batch []*pending
		batch, next = b.gather(next)
		b.send(batch)
	}
}

// gather takes what is waiting beside first. What does not fit with the
// others begins the next batch.
func (b *batcher) gather(first *pending) (batch []*pending, next *pending) {
	batch = []*pending{first}
	if !first.nests() {
		return batch, nil
	}
	held, size := &footprint{}, first.size()
	held.add(&first.transaction)
	for len(batch) < batchTxns {
		select {
		case p := <-b.queue:
			size += p.size()
			if !p.nests() || size > batchBytes || held.conflicts(&p.transaction) {
				return batch, p
			}
			held.add(&p.transaction)
			batch = append(batch, p)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

// footprint is what the members of a batch compare and write.
//
// etcd decides all compares of a transaction before it writes anything, those
// of nested ones too. Two members of which one writes what the other compares
// would not see each other: a final transition and an abort intent could both
// succeed. Such two go in different transactions. So do two that write the
// same key, which etcd refuses.
type footprint struct {
	written  map[string]bool
	compared map[string]bool
	ranges   []*pb.Compare
}

func (f *footprint) add(t *transaction) {
	if f.written == nil {
		f.written, f.compared = map[string]bool{}, map[string]bool{}
	}
	writes(t.then, func(op clientv3.Op) { f.written[string(op.KeyBytes())] = true })
	for _, cmp := range t.compares {
		c := cmp.GetCompare()
		if len(c.RangeEnd) > 0 {
			f.ranges = append(f.ranges, c)
			continue
		}
		f.compared[string(c.Key)] = true
	}
}

func (f *footprint) conflicts(t *transaction) bool {
	overlap := false
	writes(t.then, func(op clientv3.Op) {
		key := op.KeyBytes()
		overlap = overlap || f.written[string(key)] || f.compared[string(key)] ||
			slices.ContainsFunc(f.ranges, func(c *pb.Compare) bool { return inside(c, key) })
	})
	if overlap {
		return true
	}
	for _, cmp := range t.compares {
		c := cmp.GetCompare()
		if f.written[string(c.Key)] {
			return true
		}
		if len(c.RangeEnd) == 0 {
			continue
		}
		for key := range f.written {
			if inside(c, []byte(key)) {
				return true
			}
		}
	}
	return false
}

func inside(c *pb.Compare, key []byte) bool {
	return bytes.Compare(c.Key, key) <= 0 && bytes.Compare(key, c.RangeEnd) < 0
}

func (b *batcher) send(batch []*pending) {
	if len(batch) == 1 {
		batch[0].done <- b.sendOne(batch[0])
		return
	}
	ops := make([]clientv3.Op, len(batch))
	for i, p := range batch {
		ops[i] = clientv3.OpTxn(p.compares, p.then, p.orElse)
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	r, err := b.client.Txn(ctx).Then(ops...).Commit()
	for i, p := range batch {
		switch {
		case refused(err):
			// One of them made etcd refuse all: each has to stand alone.
			p.done <- b.sendOne(p)
		case err != nil:
			p.done <- reply{err: err}
		default:
			t := r.Responses[i].GetResponseTxn()
			p.done <- reply{succeeded: t.Succeeded, revision: r.Header.Revision, responses: t.Responses}
		}
	}
}

func (b *batcher) sendOne(p *pending) reply {
	ctx, cancel := context.WithTimeout(b.ctx, b.timeout)
	defer cancel()
	r, err := b.client.Txn(ctx).If(p.compares...).Then(p.then...).Else(p.orElse...).Commit()
	if err != nil {
		return reply{err: err}
	}
	return reply{succeeded: r.Succeeded, revision: r.Header.Revision, responses: r.Responses}
}
