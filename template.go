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
	FQName            FQName          `json:"fq_name"`
	DisplayName       string          `json:"display_name,omitempty"`
	Playbooks         []Playbook      `json:"playbooks"`
	RecoveryPlaybooks []Playbook      `json:"recovery_playbooks,omitempty"`
	InputSchema       json.RawMessage `json:"input_schema,omitempty"` // JSON Schema
}

// Playbook is one step of a job template.
type Playbook struct {
	URI string `json:"playbook_uri"` // inside the agent's playbook folder
	// Weight is the step's share of 100 in the job's progress; nil: an equal
	// part of what the others leave.
	Weight  *float64 `json:"job_completion_weightage,omitempty"`
	Timeout Duration `json:"timeout,omitzero"` // 0: none
	// Abortable is false where a force abort has to wait for the playbook's
	// end (a firmware flash); nil means true.
	Abortable *bool `json:"abortable,omitempty"`
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
			text, _ := json.Marshal(p.URI) // a string can always be encoded
			size += len(text)
		}
	}
	if size > maxURIs {
		return Errorf(CodeInvalid, "the job template %s: its playbook_uris have %d bytes together: at most %d", t.FQName, size, maxURIs)
	}
	return nil
}

// These keep a job's status inside its 64 KiB.
const (
	maxPlaybooks = 64
	maxURIs      = 8 << 10 // all playbook_uris together, encoded
)

func (p Playbook) problem() string {
	switch {
	case strings.TrimSpace(p.URI) == "":
		return "playbook_uri is missing"
	case len(p.URI) > 1024:
		return "playbook_uri is longer than 1024 bytes"
	case !utf8.ValidString(p.URI) || strings.ContainsFunc(p.URI, unicode.IsControl):
		return fmt.Sprintf("playbook_uri %q is no UTF-8 or holds a control character", excerpt(p.URI))
	case p.Weight != nil && !(*p.Weight >= 0 && *p.Weight <= 100): // neither is NaN
		return fmt.Sprintf("job_completion_weightage %v is not between 0 and 100", *p.Weight)
	case p.Timeout < 0:
		return fmt.Sprintf("timeout %s is below zero", time.Duration(p.Timeout))
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
