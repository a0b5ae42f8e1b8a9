package quell

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Mode is the abort mode.
type Mode string

// The abort modes. Force is the stronger one.
const (
	Graceful Mode = "graceful" // the runs in progress end by themselves, nothing starts after them
	Force    Mode = "force"    // the tree of every run dies at once
)

// Source says by which way an abort was requested.
type Source string

// The sources.
const (
	SourceAPI     Source = "api"
	SourceCLI     Source = "cli"
	SourceWeb     Source = "web"
	SourceEtcdctl Source = "etcdctl"
	SourceLocal   Source = "local"
)

// Sources lists every source.
var Sources = []Source{SourceAPI, SourceCLI, SourceWeb, SourceEtcdctl, SourceLocal}

// Sizes of the texts in an intent, in bytes; longer ones are cut, since an
// abort must not fail for a long reason.
const (
	maxReason      = 1024
	maxRequestedBy = 256
	// MaxIntentSize is the largest value of an abort key, in bytes.
	MaxIntentSize = 16 << 10
)

// Intent is an abort intent: what somebody wants done to a job, or to all of
// them (design: Keys in etcd).
type Intent struct {
	Mode        Mode
	RequestedBy string
	Source      Source
	Reason      string
	RequestedAt time.Time     // zero where the writer did not say
	ForceAfter  time.Duration // a graceful abort turns to force this long after it was first seen; 0: never
	NoRecovery  bool          // recovery playbooks are skipped, or stopped where they run
	Override    bool          // kill even a playbook that is not abortable
}

// intentJSON is how an intent is written in etcd.
type intentJSON struct {
	Mode        Mode      `json:"mode"`
	RequestedBy string    `json:"requested_by,omitempty"`
	Source      Source    `json:"source,omitempty"`
	Reason      string    `json:"reason,omitempty"`
	RequestedAt time.Time `json:"requested_at,omitzero"`
	ForceAfter  string    `json:"force_after,omitempty"`
	Recovery    bool      `json:"recovery"`
	Override    bool      `json:"override"`
}

// MarshalJSON writes the intent as the design has it in etcd, never longer
// than [ParseIntent] reads.
func (i Intent) MarshalJSON() ([]byte, error) {
	w := intentJSON{
		Mode: i.Mode, RequestedBy: cut(i.RequestedBy, maxRequestedBy), Source: i.Source, Reason: cut(i.Reason, maxReason),
		RequestedAt: i.RequestedAt, Recovery: !i.NoRecovery, Override: i.Override,
	}
	if i.ForceAfter > 0 {
		w.ForceAfter = i.ForceAfter.String()
	}
	return json.Marshal(w)
}

// ParseMode reads an abort mode in any case.
func ParseMode(text string) (Mode, error) {
	switch mode := Mode(strings.ToLower(text)); mode {
	case Graceful, Force:
		return mode, nil
	}
	return "", fmt.Errorf("unknown abort mode %q: it is graceful or force", excerpt(text))
}

// ParseIntent reads the value of an abort key: the bare word graceful or
// force (any case; white space and quotes around it are ignored; its source
// is etcdctl then), or a JSON object. Anything else is an error that says
// what was wrong; such a value is not acted on (design: Keys in etcd).
func ParseIntent(value []byte) (Intent, error) {
	if len(value) > MaxIntentSize {
		return Intent{}, Errorf(CodeInvalid, "the abort intent has %d bytes: at most %d are read", len(value), MaxIntentSize)
	}
	text := strings.TrimSpace(string(value))
	if !strings.HasPrefix(text, "{") {
		word := strings.Trim(text, " \t\r\n'\"")
		mode, err := ParseMode(word)
		if err != nil {
			return Intent{}, Errorf(CodeInvalid, "the abort intent %q is neither graceful nor force nor a JSON object with a mode", excerpt(text))
		}
		return Intent{Mode: mode, Source: SourceEtcdctl}, nil
	}
	members, err := ParseObject([]byte(text))
	if err != nil {
		return Intent{}, Errorf(CodeInvalid, "the abort intent cannot be read: %w", err)
	}
	intent := Intent{Source: SourceEtcdctl}
	for _, m := range members {
		if err := intent.set(m); err != nil {
			return Intent{}, Errorf(CodeInvalid, "the abort intent's %w", err)
		}
	}
	if intent.Mode == "" {
		return Intent{}, Errorf(CodeInvalid, "the abort intent has no mode: it is graceful or force")
	}
	return intent, nil
}

// set takes one member of an intent's JSON object.
func (i *Intent) set(m Member) error {
	var err error
	var text string
	read := func(into any, what string) error {
		if string(m.Value) == "null" || json.Unmarshal(m.Value, into) != nil {
			return fmt.Errorf("%s is not %s", m.Name, what)
		}
		return nil
	}
	switch m.Name {
	case "mode":
		if err = read(&text, "a string"); err == nil {
			i.Mode, err = ParseMode(text)
		}
	case "requested_by":
		err = read(&text, "a string")
		i.RequestedBy = cut(text, maxRequestedBy)
	case "reason":
		err = read(&text, "a string")
		i.Reason = cut(text, maxReason)
	case "source":
		if err = read(&text, "a string"); err == nil && !slices.Contains(Sources, Source(text)) {
			err = fmt.Errorf("source %q is none of %v", excerpt(text), Sources)
		}
		i.Source = Source(text)
	case "requested_at":
		err = read(&i.RequestedAt, "a time as in RFC 3339")
	case "force_after":
		if err = read(&text, "a string such as \"5m\""); err == nil {
			i.ForceAfter, err = ParseForceAfter(text)
		}
	case "recovery":
		var recovery bool
		err = read(&recovery, "true or false")
		i.NoRecovery = !recovery
	case "override":
		err = read(&i.Override, "true or false")
	default:
		err = fmt.Errorf("property %q is unknown", excerpt(m.Name))
	}
	return err
}

// ParseForceAfter reads the time after which a graceful abort turns to force.
func ParseForceAfter(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("force_after %q is not a time above zero such as 90s or 5m", excerpt(text))
	}
	return d, nil
}

// Merge returns what holds when later comes after i: force after graceful
// wins, graceful after force and a repetition change nothing. An intent of
// the same mode can only add: skip recovery, override, an earlier force. The
// one that changed something is the one on record.
func (i Intent) Merge(later Intent) Intent {
	switch {
	case i.Mode == "":
		return later
	case later.Mode == "", i.Mode == Force && later.Mode == Graceful:
		return i
	}
	merged := later
	merged.NoRecovery = i.NoRecovery || later.NoRecovery
	merged.Override = i.Override || later.Override
	if i.Mode != later.Mode {
		return merged
	}
	if i.ForceAfter > 0 && (later.ForceAfter == 0 || i.ForceAfter < later.ForceAfter) {
		merged.ForceAfter = i.ForceAfter
	}
	if merged.same(i) {
		return i
	}
	return merged
}

// same says whether both ask for the same, whoever asks. Force has nothing to
// wait for.
func (i Intent) same(other Intent) bool {
	return i.Mode == other.Mode && i.NoRecovery == other.NoRecovery && i.Override == other.Override &&
		(i.Mode == Force || i.ForceAfter == other.ForceAfter)
}

// Adds says whether later would change what i asks for.
func (i Intent) Adds(later Intent) bool { return !i.Merge(later).same(i) }

// StoredIntent is an abort key as it was read.
type StoredIntent struct {
	Key      string
	Revision int64 // the key's mod revision
	// Before bounds an abort-all: it hits the jobs whose spec was created
	// before this revision. 0 for a job's own key.
	Before int64
	Intent Intent
	Err    error // why the value is not acted on
}

// Effective is the intent that holds for one job. Its Mode is empty when
// nobody wants the job aborted.
type Effective struct {
	Intent
	Key   string // the key that it was read from
	Own   bool   // the job's own key is there, whether it can be read or not
	Error string // what is wrong with an intent that is not acted on
}

// EffectiveIntent computes what holds for a job from its own abort key (nil:
// none), from the abort-all intents, and from the revision at which its spec
// was created. It is the whole of the rule (design: What an abort does).
func EffectiveIntent(own *StoredIntent, all []StoredIntent, specRevision int64) Effective {
	hits := make([]StoredIntent, 0, len(all)+1)
	for _, a := range all {
		if specRevision < a.Before {
			hits = append(hits, a)
		}
	}
	if own != nil {
		hits = append(hits, *own)
	}
	slices.SortStableFunc(hits, func(a, b StoredIntent) int { return cmp.Compare(a.Revision, b.Revision) })
	e := Effective{Own: own != nil}
	for _, h := range hits {
		if h.Err != nil {
			e.Error = MessageOf(h.Err)
			continue
		}
		if merged := e.Merge(h.Intent); merged != e.Intent {
			e.Intent, e.Key = merged, h.Key
		}
	}
	return e
}

// excerpt shortens a text from outside for an error message.
func excerpt(text string) string {
	const longest = 60
	if len(text) <= longest {
		return text
	}
	return cut(text, longest) + "…"
}

// cut shortens a text to at most size bytes without breaking a character.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	for size > 0 && !utf8.RuneStart(text[size]) {
		size--
	}
	return text[:size]
}
