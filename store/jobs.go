package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// encode is JSON without the escapes that json.Marshal makes for HTML, so
// that a person can read it with etcdctl.
func encode(key string, v any) (string, error) {
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("encode %s: %w", key, err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

// decode reads a value that this or an older release wrote.
func decode(kv *mvccpb.KeyValue, v any) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(kv.Value, &head); err != nil {
		return unreadable(kv, err)
	}
	if err := quell.CheckVersion(string(kv.Key), head.Version); err != nil {
		return quell.Errorf(quell.CodeUnsupported, "%w", err)
	}
	if err := json.Unmarshal(kv.Value, v); err != nil {
		return unreadable(kv, err)
	}
	return nil
}

func unreadable(kv *mvccpb.KeyValue, err error) error {
	return quell.Errorf(quell.CodeInternal, "the value of %s cannot be read: %w", kv.Key, err)
}

// CreateJob stores a new job, which is QUEUED then. The same spec may be
// created again: it is one job. It returns a revision at which it is stored.
func (s *Store) CreateJob(ctx context.Context, spec quell.Spec) (int64, error) {
	return s.create(ctx, spec, quell.NewState(spec), transaction{})
}

// ResumeJob stores a new job that goes on with the work of one that was
// aborted or failed: with its output so far, and linked from it. The same spec
// may be created again.
//
// CodeConflict: the earlier job cannot be resumed, or was already.
func (s *Store) ResumeJob(ctx context.Context, spec quell.Spec, from quell.Job) (int64, error) {
	id := from.Spec.ID
	state, err := quell.ResumedState(spec, from)
	if err != nil {
		return 0, err
	}
	link, err := encode(s.keys.resumed(id), resumed{By: spec.ID})
	if err != nil {
		return 0, err
	}
	more := transaction{
		compares: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(s.keys.resumed(id)), "=", 0),
			clientv3.Compare(clientv3.ModRevision(s.keys.status(id)), "=", from.StateRevision),
		},
		then:   []clientv3.Op{clientv3.OpPut(s.keys.resumed(id), link)},
		orElse: []clientv3.Op{clientv3.OpGet(s.keys.resumed(id))},
	}
	if from.Output != nil {
		output, err := encode(s.keys.output(spec.ID), quell.Output{Version: quell.FormatVersion, Output: from.Output})
		if err != nil {
			return 0, err
		}
		// Not with the rest: both may have a megabyte. An output without a
		// job is nobody's.
		key := s.keys.spec(spec.ID)
		_, _, err = s.settle(ctx, transaction{
			compares: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
			then:     []clientv3.Op{clientv3.OpPut(s.keys.output(spec.ID), output)},
		})
		if err != nil {
			return 0, err
		}
	}
	return s.create(ctx, spec, state, more)
}

// resumed is what a job that was resumed says of it.
type resumed struct {
	Version int    `json:"version"`
	By      string `json:"job_execution_id"`
}

// create stores a new job, and what more has.
func (s *Store) create(ctx context.Context, spec quell.Spec, initial quell.State, more transaction) (int64, error) {
	if err := spec.Check(); err != nil {
		return 0, err
	}
	specKey, statusKey, activeKey := s.keys.spec(spec.ID), s.keys.status(spec.ID), s.keys.active(spec.ID)
	spec.Version = quell.FormatVersion
	value, err := encode(specKey, spec)
	if err != nil {
		return 0, err
	}
	state, err := encode(statusKey, initial)
	if err != nil {
		return 0, err
	}
	if len(value) > quell.MaxSpecSize {
		return 0, quell.Errorf(quell.CodeTooLarge, "the job has %d bytes with its input and its template: at most %d", len(value), quell.MaxSpecSize)
	}
	if len(state) > quell.MaxStateSize {
		return 0, quell.Errorf(quell.CodeTooLarge, "the job's status has %d bytes: at most %d", len(state), quell.MaxStateSize)
	}
	// The id makes it safe to send this again.
	r, _, err := s.settle(ctx, transaction{
		compares: append([]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(specKey), "=", 0)}, more.compares...),
		then: append([]clientv3.Op{
			clientv3.OpPut(specKey, value), clientv3.OpPut(statusKey, state), clientv3.OpPut(activeKey, "{}"),
		}, more.then...),
		orElse: append([]clientv3.Op{clientv3.OpGet(specKey)}, more.orElse...),
	})
	if err != nil || r.succeeded {
		return r.revision, err
	}
	stored := r.responses[0].GetResponseRange().Kvs
	switch {
	case len(stored) > 0 && string(stored[0].Value) == value:
		return r.revision, nil // an earlier try arrived
	case len(stored) > 0:
		return 0, quell.Errorf(quell.CodeConflict, "there is another job %s already", spec.ID)
	}
	var by resumed
	if kvs := r.responses[1].GetResponseRange().Kvs; len(kvs) > 0 && decode(kvs[0], &by) == nil {
		return 0, quell.Errorf(quell.CodeConflict, "job %s was resumed already, as job %s", spec.ResumedFrom, by.By)
	}
	return 0, quell.Errorf(quell.CodeConflict, "job %s has changed since it was read: look at it, and try again", spec.ResumedFrom)
}

// jobOps reads what is stored of a job, apart from its output.
func (s *Store) jobOps(id string) []clientv3.Op {
	return []clientv3.Op{
		clientv3.OpGet(s.keys.spec(id)), clientv3.OpGet(s.keys.status(id)), clientv3.OpGet(s.keys.progress(id)),
		clientv3.OpGet(s.keys.abort(id)), clientv3.OpGet(s.keys.active(id)), clientv3.OpGet(s.keys.resumed(id)),
	}
}

const (
	opsPerJob  = 6
	keysPerJob = opsPerJob + 1
)

// parseJob reads the answers to jobOps and, where there is one more, to a read
// of the output. It returns false where there is no such job. With an error it
// returns what could be read.
func parseJob(responses []*pb.ResponseOp) (quell.Job, bool, error) {
	first := func(i int) *mvccpb.KeyValue {
		if i >= len(responses) {
			return nil
		}
		if kvs := responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			return kvs[0]
		}
		return nil
	}
	spec, status := first(0), first(1)
	if spec == nil || status == nil {
		return quell.Job{}, false, nil
	}
	j := quell.Job{SpecRevision: spec.CreateRevision, StateRevision: status.ModRevision}
	err := cmp.Or(decode(spec, &j.Spec), decode(status, &j.State))
	if progress := first(2); progress != nil {
		p := &quell.Progress{}
		if decode(progress, p) == nil { // else the next one comes soon
			j.Progress = p
		}
	}
	if abort := first(3); abort != nil {
		j.Intent = ownIntent(abort)
	}
	if active := first(4); active != nil {
		var a quell.Active
		err = cmp.Or(err, decode(active, &a))
		j.Token, j.ActiveNode, j.Attempt = active.ModRevision, a.Node, a.Attempt
	}
	if link := first(5); link != nil {
		var by resumed
		err = cmp.Or(err, decode(link, &by))
		j.ResumedAs = by.By
	}
	if output := first(6); output != nil {
		var o quell.Output
		err = cmp.Or(err, decode(output, &o))
		j.Output = o.Output
	}
	return j, true, err
}

// Job returns one job.
func (s *Store) Job(ctx context.Context, id string) (quell.Job, error) {
	r, err := s.read(ctx, append(s.jobOps(id), clientv3.OpGet(s.keys.output(id)))...)
	if err != nil {
		return quell.Job{}, err
	}
	return found(id)(parseJob(r.Responses))
}

func found(id string) func(quell.Job, bool, error) (quell.Job, error) {
	return func(j quell.Job, ok bool, err error) (quell.Job, error) {
		if err == nil && !ok {
			err = quell.Errorf(quell.CodeNotFound, "there is no job %s", id)
		}
		return j, err
	}
}

// JobsByID returns those of the jobs that exist, without their outputs. One that cannot be read hides
// no others and is not hidden: it has its id, its revisions and its intent,
// what else could be read, and no status but a reason that says why.
func (s *Store) JobsByID(ctx context.Context, ids []string) (map[string]quell.Job, error) {
	const perRead = 128 / opsPerJob // etcd's default of max-txn-ops
	jobs := make(map[string]quell.Job, len(ids))
	for chunk := range slices.Chunk(ids, perRead) {
		var ops []clientv3.Op
		for _, id := range chunk {
			ops = append(ops, s.jobOps(id)...)
		}
		r, err := s.read(ctx, ops...)
		if err != nil {
			return nil, err
		}
		for i, id := range chunk {
			j, ok, err := parseJob(r.Responses[i*opsPerJob : (i+1)*opsPerJob])
			if err != nil {
				s.log.Error("a job cannot be read", "job", id, "error", err)
				j.Spec.ID, j.State = id, quell.State{Reason: quell.MessageOf(err)}
			}
			if ok {
				jobs[id] = j
			}
		}
	}
	return jobs, nil
}

// Jobs returns up to limit jobs, the newest first, whose ids are below before
// ("": from the newest on).
func (s *Store) Jobs(ctx context.Context, limit int, before string) ([]quell.Job, error) {
	var jobs []quell.Job
	for len(jobs) < limit {
		ids, err := s.idsBelow(ctx, limit-len(jobs), before)
		if err != nil || len(ids) == 0 {
			return jobs, err
		}
		found, err := s.JobsByID(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if j, ok := found[id]; ok { // else only somebody's stray abort key
				jobs = append(jobs, j)
			}
		}
		before = ids[len(ids)-1]
	}
	return jobs, nil
}

// idsBelow lists ids under /jobs/ from before downwards.
func (s *Store) idsBelow(ctx context.Context, limit int, before string) ([]string, error) {
	end := clientv3.GetPrefixRangeEnd(s.keys.jobs())
	if before != "" {
		end = s.keys.job(before)
	}
	var ids []string
	for len(ids) < limit {
		// A job has up to seven keys, which follow each other.
		r, err := s.get(ctx, s.keys.jobs(), clientv3.WithRange(end), clientv3.WithKeysOnly(),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend), clientv3.WithLimit(int64(limit*keysPerJob)))
		if err != nil {
			return nil, err
		}
		for _, kv := range r.Kvs {
			end = string(kv.Key)
			part, _, inFolder := strings.Cut(strings.TrimPrefix(end, s.keys.jobs()), "/")
			if !inFolder { // not ours
				continue
			}
			end = s.keys.jobs() + part + "/"
			if id := unescape(part); part != "" && part != "*" && (len(ids) == 0 || ids[len(ids)-1] != id) {
				if len(ids) == limit {
					return ids, nil
				}
				ids = append(ids, id)
			}
		}
		if !r.More {
			break
		}
	}
	return ids, nil
}

// activeJob reads an /active key. That it is there says that the job is not
// final, also where its value cannot be read.
func activeJob(kv *mvccpb.KeyValue) (quell.ActiveJob, bool) {
	a := quell.ActiveJob{ID: name(string(kv.Key)), SpecRevision: kv.CreateRevision, Token: kv.ModRevision}
	_ = decode(kv, &a.Active)
	return a, true
}

// ActiveJobs lists the jobs that are not final, the oldest first, and tells
// at which revision of the store that was so.
func (s *Store) ActiveJobs(ctx context.Context) ([]quell.ActiveJob, int64, error) {
	r, err := s.get(ctx, s.keys.actives(), clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, 0, err
	}
	jobs := make([]quell.ActiveJob, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		a, _ := activeJob(kv)
		jobs = append(jobs, a)
	}
	return jobs, r.Header.Revision, nil
}

// WaitFinal returns nil once all the jobs are final, and ctx's error before.
func (s *Store) WaitFinal(ctx context.Context, ids []string) error {
	wanted := map[string]bool{}
	for _, id := range ids {
		wanted[id] = true
	}
	if len(wanted) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := false
	check := func() {
		if len(wanted) == 0 {
			done = true
			cancel()
		}
	}
	f := &follower{
		key: s.keys.actives(), prefix: true, lazy: true,
		opts: []clientv3.OpOption{clientv3.WithKeysOnly(), clientv3.WithFilterPut()},
		reset: func(all []*mvccpb.KeyValue, _ int64) {
			active := make(map[string]bool, len(all))
			for _, kv := range all {
				active[name(string(kv.Key))] = true
			}
			maps.DeleteFunc(wanted, func(id string, _ bool) bool { return !active[id] })
			check()
		},
		apply: func(events []*clientv3.Event) {
			for _, e := range events {
				delete(wanted, name(string(e.Kv.Key)))
			}
			check()
		},
	}
	if len(wanted) == 1 { // nobody else's end is of interest
		f.key, f.prefix = s.keys.active(ids[0]), false
	}
	err := s.follow(ctx, f)
	if done {
		return nil
	}
	return err
}
