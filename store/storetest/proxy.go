package storetest

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a Store and its etcd and spoils the connection.
type Proxy struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	held    [2]bool // by direction
	marker  []byte  // a request that has it turns on HoldAnswers
	down    bool    // new connections are closed at once
	links   map[*link]bool
}

// The directions.
const (
	requests = 0 // to etcd
	answers  = 1
)

// link is one connection through the proxy.
type link struct {
	ends [2]net.Conn // the Store's, etcd's
	dead bool
}

// NewProxy starts a proxy to an etcd, whole at first.
func NewProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	target, err := url.Parse(endpoint)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: listener, target: target.Host, links: map[*link]bool{}}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		p.running.Wait()
	})
	return p
}

// Endpoint is where the Store finds it.
func (p *Proxy) Endpoint() string { return "http://" + p.listener.Addr().String() }

// Pause holds back what is sent in both directions; nothing is lost.
func (p *Proxy) Pause() { p.set(func() { p.held = [2]bool{true, true} }) }

// HoldAnswers lets requests through and holds back the answers: what is
// written arrives and nobody is told. After it, Cut loses the answers.
func (p *Proxy) HoldAnswers() { p.set(func() { p.held = [2]bool{answers: true} }) }

// HoldAnswersTo is HoldAnswers from the first request on that has the text in
// it, in one piece: what comes before is answered.
func (p *Proxy) HoldAnswersTo(text string) { p.set(func() { p.marker = []byte(text) }) }

// Cut breaks all connections, loses what was held back, and lets none come up.
func (p *Proxy) Cut() {
	p.set(func() {
		p.down = true
		for l := range p.links {
			l.end()
		}
	})
}

// Resume makes it whole again; what was held back goes on.
func (p *Proxy) Resume() { p.set(func() { p.held, p.marker, p.down = [2]bool{}, nil, false }) }

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		etcd, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = conn.Close()
			continue
		}
		l := &link{ends: [2]net.Conn{conn, etcd}}
		p.set(func() {
			if p.down {
				l.end()
				return
			}
			p.links[l] = true
			p.running.Go(func() { p.pump(l, requests) })
			p.running.Go(func() { p.pump(l, answers) })
		})
	}
}

// pump carries one direction of a link.
func (p *Proxy) pump(l *link, direction int) {
	defer p.set(func() {
		l.end()
		delete(p.links, l)
	})
	from, to := l.ends[direction], l.ends[1-direction]
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (!p.pass(l, direction, buffer[:n]) || !write(to, buffer[:n])) || err != nil {
			return
		}
	}
}

func write(to net.Conn, data []byte) bool {
	_, err := to.Write(data)
	return err == nil
}

// pass waits until the direction is open; it returns false when the link has
// ended.
func (p *Proxy) pass(l *link, direction int, data []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if direction == requests && len(p.marker) > 0 && bytes.Contains(data, p.marker) {
		p.held[answers] = true
	}
	for p.held[direction] && !l.dead {
		p.changed.Wait()
	}
	return !l.dead
}

// end closes both ends; the proxy's lock is held.
func (l *link) end() {
	l.dead = true
	_ = l.ends[0].Close()
	_ = l.ends[1].Close()
}
