package quell

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// FQName is the fully qualified name of a job template: its parts from the
// outermost to its own.
type FQName []string

// String joins the parts with ':', which is also how users type the name.
func (n FQName) String() string { return strings.Join(n, ":") }

// ParseFQName splits what [FQName.String] joined, and checks it.
func ParseFQName(text string) (FQName, error) {
	n := FQName(strings.Split(text, ":"))
	return n, n.Check()
}

// Check says what is wrong with the name, if anything.
func (n FQName) Check() error {
	if len(n) == 0 {
		return Errorf(CodeInvalid, "the fq_name is empty")
	}
	for i, part := range n {
		switch {
		case part == "" || strings.TrimSpace(part) != part:
			return Errorf(CodeInvalid, "part %d of the fq_name %q is empty or has space around it", i+1, excerpt(n.String()))
		case !utf8.ValidString(part), strings.ContainsFunc(part, func(r rune) bool { return r == ':' || unicode.IsControl(r) }):
			return Errorf(CodeInvalid, "part %d of the fq_name %q holds a ':', a control character or no UTF-8", i+1, excerpt(n.String()))
		}
	}
	if size := len(n.String()); size > maxFQName {
		return Errorf(CodeInvalid, "the fq_name %q has %d bytes: at most %d", excerpt(n.String()), size, maxFQName)
	}
	return nil
}

const maxFQName = 512

// Template is a job template: what may be run.
type Template struct {
	FQName FQName `json:"fq_name"`
	// UUID is the template's job_template_id: the file's, or one made of the
	// fq_name by whoever reads the file.
	UUID        string      `json:"uuid,omitempty"`
	DisplayName string      `json:"display_name,omitempty"`
	Description string      `json:"description,omitempty"`
	Concurrency Concurrency `json:"concurrency_level,omitempty"`
	// Synchronous makes the request that starts a job answer at its end.
	Synchronous bool `json:"synchronous,omitempty"`
	// NodeLabels are labels that a node must have to run the job.
	NodeLabels        map[string]string `json:"node_labels,omitempty"`
	Timeout           Duration          `json:"timeout,omitzero"`       // of the whole job, from its first playbook's begin; 0: the agent's default
	QueueTimeout      Duration          `json:"queue_timeout,omitzero"` // of waiting for a node and for locks; 0: the default
	Playbooks         []Playbook        `json:"playbooks"`
	RecoveryPlaybooks []Playbook        `json:"recovery_playbooks,omitempty"`
	Recovery          RecoveryPolicy    `json:"recovery,omitzero"`
	InputSchema       json.RawMessage   `json:"input_schema,omitempty"`  // JSON Schema
	OutputSchema      json.RawMessage   `json:"output_schema,omitempty"` // JSON Schema
}

// Concurrency is what jobs of a template must not share (design: What users
// type). Empty is the same as none.
type Concurrency string

// The levels.
const (
	ConcurrencyNone   Concurrency = "none"
	ConcurrencyDevice Concurrency = "device" // one job at a time for each of its devices
	ConcurrencyFabric Concurrency = "fabric" // one job at a time for its fabric
)

// RecoveryPolicy says after which ends the recovery playbooks run; nil means
// that they do.
type RecoveryPolicy struct {
	OnFailure  *bool `json:"on_failure,omitempty"`
	OnForce    *bool `json:"on_force,omitempty"`
	OnGraceful *bool `json:"on_graceful,omitempty"`
}

// Playbook is one step of a job template: a playbook, or an executable that
// is run like one.
type Playbook struct {
	URI        string   `json:"playbook_uri,omitempty"` // inside the agent's playbook folder
	Executable string   `json:"executable,omitempty"`   // likewise, in place of URI
	Args       []string `json:"executable_args,omitempty"`
	// MultiDevice runs the step once for each of the job's devices.
	MultiDevice  bool   `json:"multi_device_playbook,omitempty"`
	Vendor       string `json:"vendor,omitempty"`        // kept for who reads it; nothing is decided on it
	DeviceFamily string `json:"device_family,omitempty"` // likewise
	// Weight is the step's share of 100 in the job's progress; nil: an equal
	// part of what the others leave.
	Weight  *float64 `json:"job_completion_weightage,omitempty"`
	Timeout Duration `json:"timeout,omitzero"` // of one run; 0: the agent's default
	// Abortable is false where a force abort has to wait for the playbook's
	// end (a firmware flash); nil means true.
	Abortable *bool `json:"abortable,omitempty"`
	// MaxRetries bounds how often the step is run again because its output
	// asks for it (retry_devices); nil means DefaultRetries.
	MaxRetries *int `json:"max_retries,omitempty"`
}

// DefaultRetries is how often a step is run again at most where its template
// does not say, and MaxRetries the most that a template may say.
const (
	DefaultRetries = 3
	MaxRetries     = 100
)

// Name is the playbook or the executable.
func (p Playbook) Name() string {
	if p.Executable != "" {
		return p.Executable
	}
	return p.URI
}

// MayKill says whether a force abort may kill the playbook.
func (p Playbook) MayKill() bool { return p.Abortable == nil || *p.Abortable }

// Check says what is wrong with the template, if anything.
func (t Template) Check() error {
	if err := t.FQName.Check(); err != nil {
		return err
	}
	if len(t.Playbooks) == 0 {
		return Errorf(CodeInvalid, "the job template %s has no playbooks: give at least one", t.FQName)
	}
	switch t.Concurrency {
	case "", ConcurrencyNone, ConcurrencyDevice, ConcurrencyFabric:
	default:
		return Errorf(CodeInvalid, "the job template %s: the concurrency_level %q is unknown: it is none, device or fabric", t.FQName, excerpt(string(t.Concurrency)))
	}
	if t.Timeout < 0 || t.QueueTimeout < 0 {
		return Errorf(CodeInvalid, "the job template %s: a timeout is below zero", t.FQName)
	}
	if n := len(t.Playbooks) + len(t.RecoveryPlaybooks); n > maxPlaybooks {
		return Errorf(CodeInvalid, "the job template %s has %d playbooks: at most %d", t.FQName, n, maxPlaybooks)
	}
	size := 0
	for _, list := range []struct {
		name      string
		playbooks []Playbook
	}{{"playbooks", t.Playbooks}, {"recovery_playbooks", t.RecoveryPlaybooks}} {
		for i, p := range list.playbooks {
			if problem := p.problem(); problem != "" {
				return Errorf(CodeInvalid, "the job template %s: %s[%d]: %s", t.FQName, list.name, i, problem)
			}
			text, _ := json.Marshal(p.Name()) // a string can always be encoded
			size += len(text)
		}
	}
	if text, err := json.Marshal(t); err != nil || len(text) > MaxTemplateSize {
		return Errorf(CodeTooLarge, "the job template %s has %d bytes: at most %d are stored", t.FQName, len(text), MaxTemplateSize)
	}
	if size > maxURIs {
		return Errorf(CodeInvalid, "the job template %s: its playbook_uris have %d bytes together: at most %d", t.FQName, size, maxURIs)
	}
	return nil
}

// MaxTemplateSize bounds a stored template, in bytes: a job has a copy of it
// beside its input.
const MaxTemplateSize = MaxSpecSize / 2

// These keep a job's status inside its 64 KiB.
const (
	maxPlaybooks = 64
	maxURIs      = 8 << 10 // all playbook_uris together, encoded
)

func (p Playbook) problem() string {
	name, value := "playbook_uri", p.URI
	if p.Executable != "" {
		name, value = "executable", p.Executable
	}
	switch {
	case p.URI != "" && p.Executable != "":
		return "there are playbook_uri and executable: give one of them"
	case strings.TrimSpace(value) == "":
		return "playbook_uri is missing"
	case len(value) > 1024:
		return name + " is longer than 1024 bytes"
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Sprintf("%s %q is no UTF-8 or holds a control character", name, excerpt(value))
	case p.Executable == "" && len(p.Args) > 0:
		return "executable_args goes with executable"
	case p.Weight != nil && !(*p.Weight >= 0 && *p.Weight <= 100): // neither is NaN
		return fmt.Sprintf("job_completion_weightage %v is not between 0 and 100", *p.Weight)
	case p.Timeout < 0:
		return fmt.Sprintf("timeout %s is below zero", time.Duration(p.Timeout))
	case p.MaxRetries != nil && (*p.MaxRetries < 0 || *p.MaxRetries > MaxRetries):
		return fmt.Sprintf("max_retries %d is not between 0 and %d", *p.MaxRetries, MaxRetries)
	}
	return ""
}

// Weights returns each playbook's share of the job, together 1.
func (t Template) Weights() []float64 {
	given, missing := 0.0, 0
	for _, p := range t.Playbooks {
		if p.Weight == nil {
			missing++
			continue
		}
		given += *p.Weight
	}
	rest := 0.0
	if missing > 0 {
		rest = max(0, 100-given) / float64(missing)
	}
	total := given + rest*float64(missing)
	weights := make([]float64, len(t.Playbooks))
	for i, p := range t.Playbooks {
		switch {
		case total == 0:
			weights[i] = 1 / float64(len(t.Playbooks))
		case p.Weight == nil:
			weights[i] = rest / total
		default:
			weights[i] = *p.Weight / total
		}
	}
	return weights
}

// Duration is a length of time that is written as text such as "30m".
type Duration time.Duration

// String is the text.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s is not a time such as \"30m\"", excerpt(string(data)))
	}
	return d.UnmarshalText([]byte(text))
}

// UnmarshalText reads the text; YAML comes this way.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a time such as 30m", excerpt(string(text)))
	}
	*d = Duration(v)
	return nil
}
