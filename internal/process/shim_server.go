package process

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

const (
	// growthPace is how often a client is told that the files grow. The first
	// growth after a quiet time is told at once.
	growthPace = 5 * time.Millisecond
	// farewell bounds how long an ending shim waits for clients to read the exit.
	farewell = time.Second
)

// server tells clients the state and takes their requests. Whoever changes the
// state never waits for a client.
type server struct {
	onKill func(cause string)

	mu       sync.Mutex
	state    state
	clients  map[*client]struct{}
	closing  bool
	listener *os.File

	work sync.WaitGroup // accept loop, and two for each client
}

type client struct {
	conn *os.File
	// grew and urgent are ticks: look at the state again. gone is closed by the
	// reader when the client has hung up.
	grew, urgent chan struct{}
	gone         chan struct{}
}

func newServer(onKill func(cause string)) *server {
	return &server{onKill: onKill, clients: make(map[*client]struct{})}
}

// listen starts to serve the run's socket.
func (s *server) listen(dir string) error {
	l, err := listenSocket(dir)
	if err != nil {
		return err
	}
	s.listener = l
	s.work.Go(func() {
		for {
			conn, err := acceptSocket(l)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				complain(err)
				time.Sleep(farewell / 10) // out of descriptors, most likely
				continue
			}
			if err := checkPeer(conn); err != nil {
				complain(errors.Join(err, conn.Close()))
				continue
			}
			s.attach(conn)
		}
	})
	return nil
}

// attach serves a connected client.
func (s *server) attach(conn *os.File) {
	c := &client{
		conn: conn, grew: make(chan struct{}, 1), urgent: make(chan struct{}, 1), gone: make(chan struct{}),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = conn.Close() // it finds the exit record
		return
	}
	s.clients[c] = struct{}{}
	s.work.Go(func() { s.read(c) })
	s.work.Go(func() { s.write(c) })
}

// read takes requests until the client hangs up. A client that is not
// understood is cut off.
func (s *server) read(c *client) {
	defer close(c.gone)
	lines := bufio.NewScanner(c.conn)
	lines.Buffer(make([]byte, 0, 512), maxRequest)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			complain(fmt.Errorf("request: %w", err))
			return
		}
		if r.Op != opKill {
			complain(fmt.Errorf("request %q: %w", r.Op, errors.ErrUnsupported))
			return
		}
		s.onKill(r.Cause)
	}
}

// write tells the client the state each time it has changed, and hangs up when
// the client does or the exit has been told.
func (s *server) write(c *client) {
	defer s.drop(c)
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		s.mu.Lock()
		st := s.state
		s.mu.Unlock()
		line, err := json.Marshal(st)
		if err != nil {
			complain(fmt.Errorf("state: %w", err))
			return
		}
		if _, err := c.conn.Write(append(line, '\n')); err != nil || st.Exit != nil {
			return
		}
		select {
		case <-c.urgent:
			continue
		case <-c.gone:
			return
		case <-c.grew:
		}
		select {
		case <-c.urgent:
		case <-c.gone:
			return
		case <-pace.C:
			pace.Reset(growthPace)
		}
	}
}

func (s *server) drop(c *client) {
	s.mu.Lock()
	delete(s.clients, c)
	s.mu.Unlock()
	_ = c.conn.Close() // ends its reader; all that matters has been written
}

// grew changes the sizes of the files.
func (s *server) grew(change func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	for c := range s.clients {
		tick(c.grew)
	}
}

// update changes anything else; clients are told at once.
func (s *server) update(change func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
	for c := range s.clients {
		tick(c.urgent)
	}
}

// close ends the serving once the clients have been told the exit, or have not
// read it in time. It waits for all that the server has started.
func (s *server) close() {
	s.mu.Lock()
	s.closing = true
	for c := range s.clients {
		_ = c.conn.SetDeadline(time.Now().Add(farewell)) // of both its goroutines
	}
	s.mu.Unlock()
	if s.listener != nil {
		_ = s.listener.Close() // ends the accept loop
	}
	s.work.Wait()
}

// tick leaves a mark in a channel of capacity one.
func tick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// complain writes to the shim's stderr, which is the run's shim.log.
func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339Nano), err)
	}
}
