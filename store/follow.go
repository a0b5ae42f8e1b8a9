package store

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"quell"
)

// follower keeps somebody up to date about a key or a prefix: a full read,
// then the changes from the next revision on; after any error all again. The
// callbacks come one at a time.
type follower struct {
	key    string
	prefix bool
	opts   []clientv3.OpOption // of the read and the watch
	// history: a read of the key gives its earlier values too, the oldest
	// first, since one that was overwritten unseen counts as well.
	history bool
	// lazy: its first read is nobody's readiness, since it comes and goes
	// with a job or a request.
	lazy  bool
	reset func(all []*mvccpb.KeyValue, revision int64)
	apply func(events []*clientv3.Event)
}

var (
	errNotRead = errors.New("it has not been read yet")
	errStream  = errors.New("the connection to etcd broke")
)

// follow runs until ctx ends and returns its error.
func (s *Store) follow(ctx context.Context, f *follower) error {
	if !f.lazy {
		s.fallBehind(f, errNotRead)
	}
	defer s.forget(f)
	pause := shortPause
	for ctx.Err() == nil {
		began := time.Now()
		err := s.followOnce(ctx, f)
		if ctx.Err() != nil {
			break
		}
		s.fallBehind(f, err)
		// A broken connection breaks all watches at once and is told once.
		level := slog.LevelWarn
		if errors.Is(err, errStream) || quell.CodeOf(err) == quell.CodeUnavailable {
			level = slog.LevelDebug
		}
		s.log.Log(ctx, level, "a watch broke and is made good by a full read", "key", f.key, "error", err)
		if time.Since(began) > 10*time.Second {
			pause = shortPause
		}
		rest(ctx, pause)
		pause = min(2*pause, time.Second)
	}
	return ctx.Err()
}

// followOnce reads and watches until the watch breaks.
func (s *Store) followOnce(ctx context.Context, f *follower) error {
	opts := slices.Clone(f.opts)
	if f.prefix {
		opts = append(opts, clientv3.WithPrefix())
	}
	r, err := s.get(ctx, f.key, opts...)
	if err != nil {
		return err
	}
	if f.history && len(r.Kvs) == 1 {
		if r.Kvs, err = s.values(ctx, r.Kvs[0]); err != nil {
			return err
		}
	}
	f.reset(r.Kvs, r.Header.Revision)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.beginWatch(f, cancel)
	opts = append(opts, clientv3.WithRev(r.Header.Revision+1), clientv3.WithCreatedNotify())
	// Without a leader a member may hold on to a watch that gets nothing.
	watch := s.client.Watch(clientv3.WithRequireLeader(ctx), f.key, opts...)
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case w, open := <-watch:
			switch {
			case !open && ctx.Err() != nil:
				return context.Cause(ctx)
			case !open:
				return errors.New("etcd closed the watch")
			case w.Err() != nil:
				return w.Err()
			case w.Created:
				s.catchUp(f)
			case len(w.Events) > 0:
				f.apply(w.Events)
			}
		}
	}
}

// maxValues bounds how far values goes back.
const maxValues = 32

// values returns the values that a key had since it was created, the oldest
// first, as far back as etcd still has them.
func (s *Store) values(ctx context.Context, kv *mvccpb.KeyValue) ([]*mvccpb.KeyValue, error) {
	all := []*mvccpb.KeyValue{kv}
	for kv.Version > 1 && len(all) < maxValues {
		r, err := s.get(ctx, string(kv.Key), clientv3.WithRev(kv.ModRevision-1))
		if errors.Is(err, rpctypes.ErrCompacted) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(r.Kvs) == 0 {
			break
		}
		kv = r.Kvs[0]
		all = append(all, kv)
	}
	slices.Reverse(all)
	return all, nil
}

// fallBehind says that a follower does not know the latest; catchUp that it
// does, unless its watch has broken again; forget that nobody needs it.
func (s *Store) fallBehind(f *follower, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behind[f] = err
	delete(s.watching, f)
}

func (s *Store) catchUp(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching[f] != nil {
		delete(s.behind, f)
	}
}

func (s *Store) forget(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.behind, f)
	delete(s.watching, f)
}

// beginWatch has cancel called when the stream of the watches breaks.
func (s *Store) beginWatch(f *follower, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watching[f] = cancel
}

// streamBroke makes all followers read again. etcd's client would resume their
// watches by itself and tell nobody that they are behind meanwhile.
func (s *Store) streamBroke(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.watching) > 0 {
		s.log.Warn("the connection to etcd broke; what is followed is read again", "watches", len(s.watching), "error", err)
	}
	for f, cancel := range s.watching {
		s.behind[f] = errStream
		cancel(errStream)
	}
	clear(s.watching)
}

// noticeBreaks is a gRPC interceptor that sees the end of a stream of watches
// before etcd's client makes another.
func (s *Store) noticeBreaks(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := streamer(ctx, desc, conn, method, opts...)
	if err != nil || method != pb.Watch_Watch_FullMethodName {
		return stream, err
	}
	return &watchStream{ClientStream: stream, ended: func(err error) {
		if ctx.Err() == nil { // else the client has ended it
			s.streamBroke(err)
		}
	}}, nil
}

type watchStream struct {
	grpc.ClientStream
	ended func(error)
}

// RecvMsg is called by one goroutine.
func (w *watchStream) RecvMsg(m any) error {
	err := w.ClientStream.RecvMsg(m)
	if err != nil {
		w.ended(err)
	}
	return err
}

// followMap follows a prefix as a map that is handed out whole after every
// change. id returns false for keys that do not belong to it, decode for
// values that cannot be read: they are left out.
func followMap[V any](ctx context.Context, s *Store, prefix string, decode func(*mvccpb.KeyValue) (V, bool),
	id func(key string) (string, bool), changed func(map[string]V),
) error {
	current := map[string]V{}
	put := func(kv *mvccpb.KeyValue) bool {
		name, ok := id(string(kv.Key))
		if !ok {
			return false
		}
		if v, ok := decode(kv); ok {
			current[name] = v
		} else {
			delete(current, name)
			s.log.Error("a value cannot be read and is left out", "key", string(kv.Key))
		}
		return true
	}
	return s.follow(ctx, &follower{
		key: prefix, prefix: true,
		reset: func(all []*mvccpb.KeyValue, _ int64) {
			clear(current)
			for _, kv := range all {
				put(kv)
			}
			changed(maps.Clone(current))
		},
		apply: func(events []*clientv3.Event) {
			any := false
			for _, e := range events {
				if e.Type == clientv3.EventTypePut {
					any = put(e.Kv) || any
					continue
				}
				if name, ok := id(string(e.Kv.Key)); ok {
					delete(current, name)
					any = true
				}
			}
			if any {
				changed(maps.Clone(current))
			}
		},
	})
}
