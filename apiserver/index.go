package apiserver

import (
	"cmp"
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"quell"
)

// Sizes in a summary, so that it stays near two kilobytes at most.
const (
	summaryText    = 256 // bytes of one text
	summaryTasks   = 4
	summaryDevices = 8
	// filterDevices bounds by how many devices a job can be found, and how many
	// are counted; a job's status has no room for more.
	filterDevices = 8192
)

// index is what the cache knows.
type index struct {
	entries map[string]*entry
	ids     []string // of the jobs that are visible, the oldest first
	nodes   map[string]*nodeEntry
	// transactions has the visible jobs of each, the oldest first.
	transactions map[string][]string
}

// entry is one job: its summary, and what the next summary is made from.
type entry struct {
	hasSpec, hasState bool // both: the job is visible
	summary           *summaryBody
	percentage        float64 // of the state
	record            *quell.AbortRecord
	intent            *quell.StoredIntent
	// How many devices of the state the summary has, and the last of them: they
	// only become more.
	devices    int
	lastDevice string
	// The state's reason, and why a force abort would have to wait, without and
	// with recovery: false.
	reason string
	waits  [2]string
}

// nodeEntry is a node that is registered, or that jobs were given to.
type nodeEntry struct {
	info       quell.NodeInfo // as it was last
	registered bool
	lostAt     time.Time // where it is not registered
	active     int       // its jobs that are not final
}

func newIndex() *index {
	return &index{entries: map[string]*entry{}, nodes: map[string]*nodeEntry{}, transactions: map[string][]string{}}
}

// visible returns a job's summary, nil where there is none.
func (x *index) visible(id string) *summaryBody {
	if e := x.entries[id]; e != nil && e.hasSpec && e.hasState {
		return e.summary
	}
	return nil
}

// change takes a change of one key of a job.
func (x *index) change(c quell.JobChange, now time.Time) {
	e := x.entries[c.ID]
	if e == nil {
		e = &entry{summary: &summaryBody{ID: c.ID, DeviceIDs: []string{}, CurrentTasks: []string{}}}
		x.entries[c.ID] = e
	}
	was := x.visible(c.ID)
	next := *e.summary
	next.Revision = max(next.Revision, c.Revision)
	e.summary = &next
	switch {
	case c.Spec != nil:
		e.hasSpec = true
		next.takeSpec(*c.Spec)
	case c.State != nil:
		e.hasState = true
		e.takeState(*c.State)
	case c.Progress != nil:
		e.takeProgress(*c.Progress)
	case c.Intent != nil:
		intent := *c.Intent
		intent.Intent.Reason = ""
		e.intent = &intent
	case c.Gone == quell.PartSpec:
		e.hasSpec = false
	case c.Gone == quell.PartState:
		e.hasState = false
	case c.Gone == quell.PartProgress:
		next.CurrentTasks = []string{}
	case c.Gone == quell.PartIntent:
		e.intent = nil
	}
	next.Abort = newAbortBrief(next.Status, e.record, e.intent)
	next.Reason = e.why(next.Status)
	x.placed(c.ID, was, x.visible(c.ID), now)
	if !e.hasSpec && !e.hasState && e.intent == nil {
		delete(x.entries, c.ID)
	}
}

// placed keeps the order of the ids, the transactions and the counts of the
// nodes.
func (x *index) placed(id string, was, is *summaryBody, now time.Time) {
	switch {
	case was == nil && is != nil:
		x.ids = with(x.ids, id)
		x.transactions[is.TransactionID] = with(x.transactions[is.TransactionID], id)
	case was != nil && is == nil:
		x.ids = without(x.ids, id)
		if rest := without(x.transactions[was.TransactionID], id); len(rest) > 0 {
			x.transactions[was.TransactionID] = rest
		} else {
			delete(x.transactions, was.TransactionID)
		}
	}
	x.count(was, -1, now)
	x.count(is, 1, now)
	if was != nil {
		x.prune(was.Node)
	}
}

// with and without add an id to a sorted list and take it out.
func with(ids []string, id string) []string {
	if at, found := slices.BinarySearch(ids, id); !found {
		return slices.Insert(ids, at, id)
	}
	return ids
}

func without(ids []string, id string) []string {
	if at, found := slices.BinarySearch(ids, id); found {
		return slices.Delete(ids, at, at+1)
	}
	return ids
}

func (x *index) count(job *summaryBody, by int, now time.Time) {
	if job == nil || job.Node == "" || job.Status.Final() {
		return
	}
	n := x.nodes[job.Node]
	if n == nil {
		n = &nodeEntry{info: quell.NodeInfo{Node: job.Node}, lostAt: now}
		x.nodes[job.Node] = n
	}
	n.active += by
}

// prune forgets a node that is not registered and has nothing to do.
func (x *index) prune(node string) {
	if n := x.nodes[node]; n != nil && !n.registered && n.active <= 0 {
		delete(x.nodes, node)
	}
}

// register takes a change of a node's registration.
func (x *index) register(c quell.NodeChange, now time.Time) {
	n := x.nodes[c.Name]
	if n == nil {
		n = &nodeEntry{info: quell.NodeInfo{Node: c.Name}}
		x.nodes[c.Name] = n
	}
	switch {
	case c.Info != nil:
		n.info, n.registered = *c.Info, true
		n.info.Node = c.Name
	case n.registered:
		n.registered, n.lostAt = false, now
	}
	x.prune(c.Name)
}

// inherit takes over what a full read cannot tell.
func (x *index) inherit(from *index) {
	for name, n := range x.nodes {
		if old := from.nodes[name]; old != nil && !n.registered {
			n.info = old.info
			if !old.registered {
				n.lostAt = old.lostAt
			}
		}
	}
}

func (x *index) unreachableSince(node string) *time.Time {
	n := x.nodes[node]
	if n == nil || n.registered {
		return nil
	}
	return utc(&n.lostAt)
}

// nodeBody shows a node; one that is not known is Deleted.
func (x *index) nodeBody(name string) nodeBody {
	n := x.nodes[name]
	if n == nil {
		return nodeBody{Node: name, Labels: map[string]string{}, Deleted: true}
	}
	body := nodeBody{
		Node: name, Address: n.info.Address, Release: n.info.Release, Labels: n.info.Labels, Capacity: n.info.Capacity,
		JobsRunning: n.active, Unreachable: !n.registered, UnreachableSince: x.unreachableSince(name),
	}
	if body.Labels == nil {
		body.Labels = map[string]string{}
	}
	return body
}

// takeSpec keeps of a spec what lists show.
func (b *summaryBody) takeSpec(spec quell.Spec) {
	b.Template, b.DisplayName = spec.Template.FQName, cut(spec.Template.DisplayName, summaryText)
	b.Requester, b.CreatedAt = cut(spec.Requester, summaryText), spec.CreatedAt.UTC()
	b.Fabric = fabricOf(spec.Input)
	b.TransactionID, b.TransactionDescr = spec.Transaction(), orNull(cut(spec.Params.TransactionDescr, summaryText))
	b.ResumedFrom = orNull(spec.ResumedFrom)
	b.addDevices(len(spec.Params.DeviceList), func(i int) string { return spec.Params.DeviceList[i] })
}

// addDevices adds those of the devices that the summary does not have.
func (b *summaryBody) addDevices(n int, id func(int) string) {
	known := make(map[uint64]bool, max(n, len(b.devices)))
	for _, h := range b.devices {
		known[h] = true
	}
	// What was handed out is not written to, nor what lies behind it.
	ids, devices := slices.Clip(b.DeviceIDs), slices.Clip(b.devices)
	for i := range n {
		h := hash(id(i))
		if known[h] || len(devices) == filterDevices {
			continue
		}
		known[h] = true
		if devices = append(devices, h); len(ids) < summaryDevices {
			ids = append(ids, cut(id(i), summaryText/4))
		}
	}
	b.DeviceIDs, b.devices, b.DeviceCount = ids, slices.Clip(devices), len(devices)
}

// fabricOf is the name of an input's fabric, null where there is none.
func fabricOf(input json.RawMessage) *string {
	return orNull(cut(quell.FabricOf(input), summaryText))
}

var seed = maphash.MakeSeed()

func hash(text string) uint64 { return maphash.String(seed, text) }

func (e *entry) takeState(s quell.State) {
	b := e.summary
	b.Status, b.Node, e.reason = s.Status, s.Node, cut(s.Reason, summaryText)
	e.waits = [2]string{}
	keeps := func(p quell.PlaybookState) bool { return p.Unabortable }
	if slices.ContainsFunc(s.Playbooks, keeps) || slices.ContainsFunc(s.Recovery, keeps) {
		for i := range e.waits {
			e.waits[i] = cut(s.WaitsFor(quell.Intent{Mode: quell.Force, NoRecovery: i == 1}), summaryText)
		}
	}
	b.StartedAt, b.EndedAt = utc(s.StartedAt), utc(s.EndedAt)
	if e.percentage = s.Percentage; s.Status.Final() {
		b.Percentage, b.CurrentTasks = s.Percentage, []string{}
	} else {
		b.Percentage = max(b.Percentage, s.Percentage) // it never falls
	}
	// Devices turn up at few of a job's transitions.
	if n := len(s.Devices); n > 0 && (n != e.devices || s.Devices[n-1].ID != e.lastDevice) {
		b.addDevices(n, func(i int) string { return s.Devices[i].ID })
		e.devices, e.lastDevice = n, s.Devices[n-1].ID
	}
	if e.record = nil; s.Abort != nil {
		record := *s.Abort
		record.Survivors, record.Reason = nil, ""
		e.record = &record
	}
}

// why is the job's reason, as newJobBody has it: what its abort has to wait
// for is said at once.
func (e *entry) why(status quell.Status) string {
	held := holding(quell.Job{State: quell.State{Status: status, Abort: e.record}, Intent: e.intent})
	if held.Mode != quell.Force || held.Override || status.Final() {
		return e.reason
	}
	waits := e.waits[0]
	if held.NoRecovery {
		waits = e.waits[1]
	}
	return cmp.Or(waits, e.reason)
}

func (e *entry) takeProgress(p quell.Progress) {
	b := e.summary
	if b.Status.Final() {
		return
	}
	b.Percentage = max(b.Percentage, e.percentage, p.Percentage)
	b.CurrentTasks = make([]string, 0, min(len(p.Tasks), summaryTasks))
	for _, task := range p.Tasks[:min(len(p.Tasks), summaryTasks)] {
		b.CurrentTasks = append(b.CurrentTasks, cut(task, summaryText/2))
	}
}

func newAbortBrief(status quell.Status, record *quell.AbortRecord, intent *quell.StoredIntent) *abortBrief {
	full := newAbortRecord(quell.Job{State: quell.State{Status: status, Abort: record}, Intent: intent})
	if full == nil {
		return nil
	}
	return &abortBrief{
		Mode: full.Mode, Source: full.Source, RequestedBy: full.RequestedBy, RequestedAt: full.RequestedAt,
		SeenAt: full.SeenAt, Outcome: full.Outcome, Error: cut(full.Error, summaryText),
	}
}

// lastPart is the part of a joined name behind the last colon.
func lastPart(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }
