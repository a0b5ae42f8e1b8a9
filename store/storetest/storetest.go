// Package storetest is the contract suite of package store, and what the tests
// of other packages need to have a store: an etcd, a Store on it, and a proxy
// between the two that cuts, pauses and swallows answers.
//
// A package that uses it calls Main from its TestMain.
package storetest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"quell/store"
	"quell/store/embedded"
)

// shared is the etcd of this test binary.
var shared struct {
	mu     sync.Mutex
	main   bool // Main is there to stop it
	server *embedded.Server
	dir    string
}

// Main runs the tests of a package, stops the shared etcd and looks for
// goroutines that were left behind; neither etcd nor its client needs an
// exception. It does not return.
func Main(m *testing.M, options ...goleak.Option) {
	shared.mu.Lock()
	shared.main = true
	shared.mu.Unlock()
	code := m.Run()
	Stop()
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines were left behind:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Stop ends the shared etcd. It is for packages that cannot use Main.
func Stop() {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		shared.server.Stop()
		shared.server = nil
		_ = os.RemoveAll(shared.dir)
	}
}

// Etcd returns the etcd that all tests of this binary share. Each takes a
// prefix of its own: see Prefix.
func Etcd(t testing.TB) *embedded.Server {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server != nil {
		return shared.server
	}
	require.True(t, shared.main, "the package's TestMain has to call storetest.Main")
	var err error
	shared.dir, err = os.MkdirTemp("", "quell-storetest-") //nolint:usetesting // it outlives this test
	require.NoError(t, err)
	shared.server = start(t, shared.dir)
	return shared.server
}

// NewEtcd starts an etcd for one test alone.
func NewEtcd(t testing.TB) *embedded.Server {
	t.Helper()
	server := start(t, t.TempDir())
	t.Cleanup(server.Stop)
	return server
}

func start(t testing.TB, dir string) *embedded.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := embedded.Start(ctx, embedded.Options{Dir: dir, Listen: "127.0.0.1:0", UnsafeNoFsync: true})
	require.NoError(t, err)
	return server
}

// Prefix makes a prefix that no other test has.
func Prefix(t testing.TB) string {
	return "/" + strings.ReplaceAll(t.Name(), "/", ".") + "-" + uuid.NewString()[:8]
}

// Open returns a Store that is closed when the test ends.
func Open(t testing.TB, endpoint, prefix string) *store.Store {
	t.Helper()
	return open(t, store.Options{Endpoints: []string{endpoint}, Prefix: prefix})
}

func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}
