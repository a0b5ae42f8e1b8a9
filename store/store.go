// Package store keeps Quell's jobs in etcd. It alone knows etcd's client, the
// keys and the encodings.
//
// It promises that every transition compares what it relies on in the same
// transaction, that an unknown result is re-read and never resent blindly,
// and that a watch which breaks is made good by a full read. It refuses to
// decide anything: what a job does next is the root package's matter.
package store

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"

	"quell"
)

// Options are what a Store needs.
type Options struct {
	Endpoints []string
	Prefix    string // in front of every key; empty, or "/" and a name
	TLS       *tls.Config
	Logger    *slog.Logger
	// Timeout bounds each request to etcd; 0: 3 s.
	Timeout time.Duration
	// Observe is told of every request to etcd: its gRPC method, its gRPC
	// code ("" when it went well), and how long it took. nil: nobody is.
	Observe func(method, code string, took time.Duration)
}

// Store is a connection to etcd. Its methods are safe for concurrent use.
type Store struct {
	client  *clientv3.Client
	keys    keys
	log     *slog.Logger
	timeout time.Duration
	batch   *batcher

	mu       sync.Mutex
	behind   map[*follower]error                   // what follows too late, and why
	watching map[*follower]context.CancelCauseFunc // what has a watch
}

// New connects to etcd. It does not wait for an answer: Ping does.
func New(o Options) (*Store, error) {
	if o.Prefix != "" && (!strings.HasPrefix(o.Prefix, "/") || strings.HasSuffix(o.Prefix, "/")) {
		return nil, quell.Errorf(quell.CodeInvalid, "the etcd prefix %q does not start with '/' or ends with one", o.Prefix)
	}
	if len(o.Endpoints) == 0 {
		return nil, quell.Errorf(quell.CodeInvalid, "no etcd endpoint is given: use --etcd-endpoints http://HOST:2379")
	}
	s := &Store{
		keys: keys{o.Prefix}, log: o.Logger, timeout: o.Timeout,
		behind: map[*follower]error{}, watching: map[*follower]context.CancelCauseFunc{},
	}
	if s.timeout == 0 {
		s.timeout = 3 * time.Second
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.client, err = clientv3.New(s.config(o)); err != nil {
		return nil, fmt.Errorf("connect to etcd at %v: %w", o.Endpoints, err)
	}
	s.batch = newBatcher(s.client, s.timeout)
	return s, nil
}

func (s *Store) config(o Options) clientv3.Config {
	return clientv3.Config{
		Endpoints: o.Endpoints, TLS: o.TLS, Logger: zap.NewNop(),
		// A silent partition shows within seconds instead of TCP's minutes.
		// gRPC pings no more often than every 10 s, and etcd ends connections
		// that ping while nothing is under way.
		DialTimeout: 3 * time.Second, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		// Answers of full reads exceed gRPC's default of 4 MiB.
		MaxCallRecvMsgSize: 1 << 30,
		DialOptions: []grpc.DialOption{
			// gRPC alone waits up to two minutes before it connects again:
			// as long would an abort wait after a long outage.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: 3 * time.Second,
			}),
			grpc.WithChainStreamInterceptor(s.noticeBreaks),
			grpc.WithChainUnaryInterceptor(observed(o.Observe)),
		},
	}
}

// observed is a gRPC interceptor that tells of every request.
func observed(observe func(method, code string, took time.Duration)) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		began := time.Now()
		err := invoke(ctx, method, req, reply, conn, opts...)
		if observe != nil {
			code := ""
			if err != nil {
				code = status.Code(err).String()
			}
			observe(path.Base(method), code, time.Since(began))
		}
		return err
	}
}

// Behind is the number of watches that are being made good.
func (s *Store) Behind() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.behind)
}

// Close ends the connection. Whoever follows something must have stopped.
func (s *Store) Close() error {
	s.batch.close()
	return s.client.Close()
}

// Ping does a read that etcd answers only with a quorum behind it.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.get(ctx, s.keys.leader(), clientv3.WithCountOnly())
	return err
}

// Healthy is nil when no watch of this Store is behind.
func (s *Store) Healthy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f, err := range s.behind {
		return quell.Errorf(quell.CodeUnavailable, "the watch of %s is behind: %w", f.key, err)
	}
	return nil
}

// get reads with this Store's deadline.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Get(ctx, key, opts...)
	if err != nil {
		return nil, readError(err)
	}
	return r, nil
}

// read runs several reads at one revision.
func (s *Store) read(ctx context.Context, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	r, err := s.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, readError(err)
	}
	return r, nil
}
