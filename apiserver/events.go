package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	heartbeat    = 15 * time.Second
	eventTimeout = 10 * time.Second // for a client to take what was sent
	eventsAtOnce = 256
)

// filterNames are the parameters of a list that choose jobs.
var filterNames = []string{"status", "fabric", "device", "node", "template", "requester", "transaction", "since", "until", "text"}

// subscriber is one client of GET /v1/events.
type subscriber struct {
	server  *Server
	w       http.ResponseWriter
	control *http.ResponseController
	matches func(*summaryBody) bool
	node    string // the filter's

	place uint64
	after position // nothing up to here is sent again
}

// getEvents sends changes as they come.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	sub, tooOld, err := s.subscribe(ctx, w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.opts.Metrics.Subscribers.Inc()
	defer s.opts.Metrics.Subscribers.Dec()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no") // a proxy must pass it on at once
	header.Set(headerCacheAge, s.cacheAge())
	w.WriteHeader(http.StatusOK)
	if err := sub.run(ctx, tooOld); err != nil && ctx.Err() == nil {
		s.opts.Metrics.SubscribersCut.Inc()
		s.log.Debug("a client of the events was cut off", keyClient, r.RemoteAddr, keyError, err)
	}
}

// subscribe checks the request and finds the place to begin at.
func (s *Server) subscribe(ctx context.Context, w http.ResponseWriter, r *http.Request) (*subscriber, bool, error) {
	values, err := parseQuery(r)
	if err != nil {
		return nil, false, err
	}
	statuses := values["status"] // the one that may be repeated
	delete(values, "status")
	if err := checkValues(values, append(filterNames, "last_event_id")...); err != nil {
		return nil, false, err
	}
	f := Filter{
		Status: statuses, Fabric: values.Get("fabric"), Device: values.Get("device"), Node: values.Get("node"), Template: values.Get("template"),
		Requester: values.Get("requester"), Transaction: values.Get("transaction"), Since: values.Get("since"), Until: values.Get("until"), Text: values.Get("text"),
	}
	matches, err := f.compile(s.opts.Now(), inQuery)
	if err != nil {
		return nil, false, err
	}
	if err := s.sync(ctx, 0); err != nil {
		return nil, false, err
	}
	sub := &subscriber{server: s, w: w, control: http.NewResponseController(w), matches: matches, node: f.Node}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = values.Get("last_event_id")
	}
	if last == "" {
		sub.place, sub.after = s.cache.events.now()
		return sub, false, nil
	}
	after, ok := parsePosition(last)
	if !ok {
		return nil, false, invalid("the Last-Event-ID %q is none: give the id of an event, or the revision of a list", excerpt(last))
	}
	sub.after = after
	place, tooOld := s.cache.events.place(after)
	sub.place = place
	return sub, tooOld, nil
}

// run sends until the client or the server ends it, which is no error.
func (u *subscriber) run(ctx context.Context, tooOld bool) error {
	ring := u.server.cache.events
	if err := u.send([]byte("retry: 1000\n\n")); err != nil {
		return err
	}
	beat := time.NewTicker(u.server.heartbeat)
	defer beat.Stop()
	for {
		events, lost, moved := ring.read(u.place, eventsAtOnce)
		if lost || tooOld {
			tooOld = false
			if err := u.reset(); err != nil {
				return err
			}
			continue
		}
		if len(events) > 0 {
			u.place += uint64(len(events))
			if err := u.send(u.encode(events)); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		select {
		case <-moved:
		case <-beat.C:
			if err := u.send([]byte(": heartbeat\n\n")); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// reset tells the client to list again, and goes on from now.
func (u *subscriber) reset() error {
	u.place, u.after = u.server.cache.events.now()
	return u.send(fmt.Appendf(nil, "event: %s\nid: %s\ndata: {\"revision\":%d}\n\n", kindReset, u.after, u.after.revision))
}

// encode writes those of the events that the client asked for.
func (u *subscriber) encode(events []event) []byte {
	var text bytes.Buffer
	for _, e := range events {
		if e.at.compare(u.after) <= 0 {
			continue
		}
		if data := u.data(e); data != nil {
			fmt.Fprintf(&text, "event: %s\nid: %s\ndata: %s\n\n", e.kind, e.at, data)
		}
	}
	return text.Bytes()
}

// data is an event's data, nil where it was not asked for.
func (u *subscriber) data(e event) []byte {
	var v any
	switch {
	case e.kind == kindNode && (u.node == "" || u.node == e.id):
		v = e.node
	case e.kind == kindJob && e.job != nil && (u.matches(e.job) || e.was != nil && u.matches(e.was)):
		v = e.job
	case e.kind == kindJob && e.job == nil && u.matches(e.was):
		gone := *e.was
		gone.Deleted = true
		v = gone
	default:
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		u.server.log.Error("an event cannot be encoded", keyError, err)
		return nil
	}
	return data
}

// send cuts off a client that does not take what is sent.
func (u *subscriber) send(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	_ = u.control.SetWriteDeadline(time.Now().Add(eventTimeout)) // not supported without a connection
	if _, err := u.w.Write(text); err != nil {
		return err
	}
	return flush(u.control)
}
