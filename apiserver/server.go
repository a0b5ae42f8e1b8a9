package apiserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"quell"
	"quell/metrics"
)

// Times and sizes that bound a request.
const (
	storeTimeout  = 5 * time.Second  // for one call of the store
	pingTimeout   = 2 * time.Second  // for the one behind /readyz
	bodyTimeout   = 30 * time.Second // for a client to send its body
	answerTimeout = 60 * time.Second // for a client to take an answer, or the next piece of a log
	maxBody       = 1 << 20
)

// Options are what a Server is made of.
type Options struct {
	Store    Store               // required
	Logger   *slog.Logger        // required
	Metrics  *metrics.API        // required
	Gatherer prometheus.Gatherer // required: what /metrics shows

	// DenyAbortAll refuses an abort without ids (--abort-all=deny).
	DenyAbortAll bool
	// AgentTransport fetches logs from the agents; nil: a transport of the
	// server's own, which uses no proxy.
	AgentTransport http.RoundTripper
	// StoreTimeout bounds one call of the store; 0: five seconds.
	StoreTimeout time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

func (o *Options) check() error {
	switch {
	case o.Store == nil:
		return quell.Errorf(quell.CodeInternal, "apiserver: no Store was given")
	case o.Logger == nil:
		return quell.Errorf(quell.CodeInternal, "apiserver: no Logger was given")
	case o.Metrics == nil || o.Gatherer == nil:
		return quell.Errorf(quell.CodeInternal, "apiserver: no Metrics or no Gatherer was given")
	}
	if o.StoreTimeout == 0 {
		o.StoreTimeout = storeTimeout
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

// Server is the API server: an http.Handler that can also serve a listener.
type Server struct {
	opts    Options
	store   Store
	log     *slog.Logger
	agents  *http.Client
	handler http.Handler
	http    *http.Server
	openAPI []byte
	cache   *cache
	// lastWrite is the highest revision that this server wrote at.
	lastWrite atomic.Int64
	heartbeat time.Duration
	following sync.WaitGroup // what feeds the cache

	// stopping ends with Stop: requests that wait for jobs answer then.
	stopping context.Context
	stop     context.CancelFunc

	served chan struct{} // closed when Serve has returned; nil before Start
	err    error         // what Serve returned; read it after served is closed
}

// New makes a server. It serves nothing before Start, other than as a handler.
func New(opts Options) (*Server, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	s := &Server{opts: opts, store: opts.Store, log: opts.Logger, agents: agentClient(opts.AgentTransport)}
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.cache, s.heartbeat = newCache(opts.Now), heartbeat
	opts.Metrics.Cache(s.cache.stats)
	mux, err := s.routes()
	if err != nil {
		s.stop()
		return nil, err
	}
	s.handler = s.wrap(mux)
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Start serves the listener until Stop, and closes it then, and fills the
// cache. It returns at once; Done and Err tell of an end that nobody asked for. It is called once.
func (s *Server) Start(listener net.Listener) {
	s.served = make(chan struct{})
	s.following.Go(func() {
		err := s.store.FollowChanges(s.stopping, s.cache.hurry, s.cache.take)
		if s.stopping.Err() == nil {
			s.log.Error("the cache of jobs is no longer fed", keyError, err)
		}
	})
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
			s.log.Error("the API server no longer serves", keyError, err)
		}
	}()
}

// Done is closed when the server no longer accepts requests. It is nil before
// Start.
func (s *Server) Done() <-chan struct{} { return s.served }

// Err says why the server ended without Stop; nil while Done is open.
func (s *Server) Err() error {
	select {
	case <-s.served:
		return s.err
	default:
		return nil
	}
}

// Stop ends the server: no request is accepted any more, those that wait for
// jobs answer at once, streams end, the others have until the context ends. A further Stop
// changes nothing.
func (s *Server) Stop(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(quell.Errorf(quell.CodeInternal, "the API server cut off requests that did not end in time"), s.http.Close())
	}
	s.agents.CloseIdleConnections()
	s.following.Wait()
	if s.served != nil {
		<-s.served
	}
	return err
}
