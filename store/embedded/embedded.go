// Package embedded runs an etcd server inside this process, for `quell dev`
// and for tests. It promises a server that answers when Start returns and is
// gone when Stop does; it refuses to know what is stored there.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Options are what a server needs.
type Options struct {
	Dir    string // for its data
	Listen string // host:port for clients; port 0 picks one
	// UnsafeNoFsync makes it quick and its data unsafe. For tests.
	UnsafeNoFsync bool
}

// Server is a running etcd.
type Server struct {
	etcd     *embed.Etcd
	endpoint string
}

// Start starts a single member and returns when it answers, or when ctx ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	c := embed.NewConfig()
	c.Name, c.Dir = "quell", o.Dir
	c.LogLevel, c.UnsafeNoFsync = "error", o.UnsafeNoFsync
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(zapcore.NewNopCore()))
	client := url.URL{Scheme: "http", Host: o.Listen}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// A single member has no peers; the port is never told to anybody.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.AutoCompactionMode, c.AutoCompactionRetention = "periodic", "1h"
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("start etcd at %s with its data in %s: %w", o.Listen, o.Dir, err)
	}
	s := &Server{etcd: e, endpoint: "http://" + e.Clients[0].Addr().String()}
	select {
	case <-e.Server.ReadyNotify():
		return s, nil
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("it stopped while it started")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.Stop()
	return nil, fmt.Errorf("start etcd at %s with its data in %s: %w", o.Listen, o.Dir, err)
}

// Endpoint is the URL at which clients find it.
func (s *Server) Endpoint() string { return s.endpoint }

// Failed tells of an error that ends the server.
func (s *Server) Failed() <-chan error { return s.etcd.Err() }

// Stop ends the server and waits for it.
func (s *Server) Stop() {
	s.etcd.Close()
	select {
	case <-s.etcd.Server.StopNotify():
	case <-time.After(10 * time.Second):
	}
}
