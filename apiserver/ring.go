package apiserver

import (
	"cmp"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// ringSize is how many events are kept for clients that come back.
const ringSize = 4096

// position is where an event is in the history of the store, the same on all
// servers: the revision, and the how manieth event of it.
type position struct {
	revision int64
	n        int
}

// wholeRevision is behind every event of a revision.
const wholeRevision = math.MaxInt

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.revision, q.revision), cmp.Compare(p.n, q.n))
}

// String is the position as the id of an event.
func (p position) String() string {
	text := strconv.FormatInt(p.revision, 10)
	if p.n == wholeRevision {
		return text
	}
	return text + "." + strconv.Itoa(p.n)
}

// parsePosition reads an event's id, or a bare revision.
func parsePosition(text string) (position, bool) {
	whole, part, exact := strings.Cut(text, ".")
	revision, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || revision < 0 {
		return position{}, false
	}
	if !exact {
		return position{revision, wholeRevision}, true
	}
	n, err := strconv.Atoi(part)
	return position{revision, n}, err == nil && n >= 0
}

// The kinds of events.
const (
	kindJob   = "job"
	kindNode  = "node"
	kindReset = "reset"
)

// event is one change. What it points to is never written to.
type event struct {
	at       position
	kind     string
	id       string // of the job, or the node's name
	job, was *summaryBody
	node     *nodeBody
}

// ring keeps the last events. Readers have a place in it and nothing else, so
// that a slow one costs no memory.
type ring struct {
	mu    sync.Mutex
	buf   []event
	first uint64        // the place of the oldest that is kept
	next  uint64        // the place of the next to come
	start position      // nothing up to here is kept
	end   position      // of the last
	moved chan struct{} // closed when something comes
}

func newRing(size int) *ring {
	return &ring{buf: make([]event, size), moved: make(chan struct{})}
}

func (r *ring) add(events []event) {
	if len(events) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.buf))
	for _, e := range events {
		slot := &r.buf[r.next%size]
		if r.next-r.first == size {
			r.start = slot.at
			r.first++
		}
		*slot, r.end = e, e.at
		r.next++
	}
	r.wake()
}

// reset forgets everything: what happened before the revision is not known.
func (r *ring) reset(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.buf)
	r.next++ // so that every reader has missed something
	r.first = r.next
	r.start = position{revision, wholeRevision}
	r.end = r.start
	r.wake()
}

func (r *ring) wake() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// place is where a reader goes on that has seen everything up to a position.
// It is too old where some of what comes after is not kept.
func (r *ring) place(after position) (place uint64, tooOld bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after.compare(r.start) < 0 {
		return r.next, true
	}
	n := sort.Search(int(r.next-r.first), func(i int) bool {
		return r.at(r.first+uint64(i)).at.compare(after) > 0
	})
	return r.first + uint64(n), false
}

func (r *ring) at(place uint64) *event { return &r.buf[place%uint64(len(r.buf))] }

// now is behind the last event.
func (r *ring) now() (uint64, position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next, r.end
}

// read returns what comes at a place, up to a number, and a channel that is
// closed when there is more. lost says that the place is not kept any more.
func (r *ring) read(place uint64, most int) (events []event, lost bool, moved <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if place < r.first {
		return nil, true, r.moved
	}
	for ; place < r.next && len(events) < most; place++ {
		events = append(events, *r.at(place))
	}
	return events, false, r.moved
}
