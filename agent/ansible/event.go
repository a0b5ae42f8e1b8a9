package ansible

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxLine is the longest line of events that is accepted. The plugin's own are at most 4096 bytes.
const MaxLine = 16 << 10

// The bounds of an event's texts, in bytes. The plugin keeps to them; whoever else writes to the pipe is cut off.
const (
	maxName    = 256
	maxMessage = 2048
)

// EventType says what an event reports.
type EventType string

// The events, in the order in which a run emits them.
const (
	PlaybookStart  EventType = "playbook_start"   // Tasks
	TaskStart      EventType = "task_start"       // Task, Play, Handler
	TaskResult     EventType = "result"           // Host, Task, Status, Ignored, Message
	NoHostsMatched EventType = "no_hosts_matched" // Play
	HostSummary    EventType = "host_stats"       // Host, Stats: once a host, at the end
	PlaybookStats  EventType = "stats"            // Hosts: the end
)

// ResultStatus says how a task ended on a host.
type ResultStatus string

// The ends of a task.
const (
	ResultOK          ResultStatus = "ok"
	ResultChanged     ResultStatus = "changed"
	ResultFailed      ResultStatus = "failed"
	ResultUnreachable ResultStatus = "unreachable"
	ResultSkipped     ResultStatus = "skipped"
)

// ErrUnknownEvent says that a line is sound, but of a type that this version does not know: the run may have been started by
// another one.
var ErrUnknownEvent = errors.New("unknown event")

// Event is one line of what the callback plugin emits. Which fields are set depends on the type.
type Event struct {
	Type    EventType
	Time    time.Time
	Tasks   int
	Hosts   int
	Play    string
	Task    string
	Handler bool
	Host    string
	Status  ResultStatus
	Ignored bool
	Message string
	Stats   HostStats
}

// HostStats counts how the tasks of a host ended. As in Ansible's own recap, OK includes the changed and the rescued ones.
type HostStats struct {
	OK          int `json:"ok"`
	Changed     int `json:"changed"`
	Failures    int `json:"failures"`
	Unreachable int `json:"unreachable"`
	Skipped     int `json:"skipped"`
	Rescued     int `json:"rescued"`
	Ignored     int `json:"ignored"`
}

// Failed reports whether the host ended the playbook badly.
func (s HostStats) Failed() bool { return s.Failures > 0 || s.Unreachable > 0 }

// wireEvent is an event's JSON.
type wireEvent struct {
	Event   *EventType   `json:"event"`
	TS      float64      `json:"ts"`
	Tasks   int          `json:"tasks"`
	Hosts   int          `json:"hosts"`
	Play    string       `json:"play"`
	Task    string       `json:"task"`
	Handler bool         `json:"handler"`
	Host    string       `json:"host"`
	Status  ResultStatus `json:"status"`
	Ignored bool         `json:"ignored"`
	Message string       `json:"message"`
	Stats   *HostStats   `json:"stats"`
}

// DecodeEvent reads one line. Members that it does not know are skipped, so that the plugin of a later version is
// understood; a type that it does not know is ErrUnknownEvent.
func DecodeEvent(line []byte) (Event, error) {
	if len(line) > MaxLine {
		return Event{}, fmt.Errorf("an event of %d bytes: at most %d are allowed", len(line), MaxLine)
	}
	if !utf8.Valid(line) {
		return Event{}, errors.New("an event that is not UTF-8")
	}
	var w wireEvent
	if err := json.Unmarshal(line, &w); err != nil {
		return Event{}, fmt.Errorf("an event that is not as expected: %w", err)
	}
	if w.Event == nil {
		return Event{}, errors.New("an event without a type")
	}
	// Year 5138 and before: what milliseconds since 1970 hold without overflow, and more than any clock says.
	if w.TS < 0 || w.TS > 1e11 {
		return Event{}, fmt.Errorf("an event at the time %v", w.TS)
	}
	e := Event{
		Type:    *w.Event,
		Time:    time.UnixMilli(int64(w.TS * 1000)).UTC(),
		Tasks:   w.Tasks,
		Hosts:   w.Hosts,
		Play:    clip(w.Play, maxName),
		Task:    clip(w.Task, maxName),
		Handler: w.Handler,
		Host:    clip(w.Host, maxName),
		Status:  w.Status,
		Ignored: w.Ignored,
		Message: clip(w.Message, maxMessage),
	}
	if w.Stats != nil {
		e.Stats = *w.Stats
	}
	if err := e.validate(); err != nil {
		return Event{}, err
	}
	return e, nil
}

func (e Event) validate() error {
	s := e.Stats
	for _, n := range []int{e.Tasks, e.Hosts, s.OK, s.Changed, s.Failures, s.Unreachable, s.Skipped, s.Rescued, s.Ignored} {
		if n < 0 {
			return fmt.Errorf("a %s event with a negative count", e.Type)
		}
	}
	switch e.Type {
	case PlaybookStart, TaskStart, NoHostsMatched, PlaybookStats:
		return nil
	case HostSummary:
		if e.Host == "" {
			return fmt.Errorf("a %s event without a host", e.Type)
		}
		return nil
	case TaskResult:
		if e.Host == "" {
			return fmt.Errorf("a %s event without a host", e.Type)
		}
		switch e.Status {
		case ResultOK, ResultChanged, ResultFailed, ResultUnreachable, ResultSkipped:
			return nil
		}
		return fmt.Errorf("a %s event with the status %q", e.Type, clip(string(e.Status), 40))
	}
	return fmt.Errorf("%w %q", ErrUnknownEvent, clip(string(e.Type), 40))
}

// clip cuts a text to at most limit bytes, between characters.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const ellipsis = "…"
	cut := limit - len(ellipsis)
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	// A clone, since the rest of the text would stay in memory with it.
	return strings.Clone(s[:cut]) + ellipsis
}
