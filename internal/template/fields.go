package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"quell"
)

// reader reads one job template and collects its problems.
type reader struct {
	as       quell.FQName // the name that the template must have; nil: its own
	problems []string
	// lenient makes a repeated property inside a schema no problem: the last
	// one counts. Contrail reads its files that way.
	lenient bool
}

func (r *reader) invalid(field, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	r.problems = append(r.problems, text)
}

func (r *reader) unknown(field string) {
	r.invalid(shorten(field), "the property is unknown")
}

const nameForm = "a list of strings such as [default-global-system-config, image_upgrade_template]"

// document reads a job template in Quell's own format. What it returns is
// incomplete when it has recorded problems.
func (r *reader) document(d document) quell.Template {
	t := quell.Template{}
	members, err := d.members()
	if err != nil {
		for _, text := range strings.Split(err.Error(), "\n") {
			r.invalid("", "%s", text)
		}
		// The name makes the error's label; what else was read is not used.
		var named struct {
			FQName quell.FQName `json:"fq_name"`
		}
		if json.Unmarshal(d.json, &named) == nil {
			t.FQName = named.FQName
		}
		return t
	}
	if r.as != nil && d.isPayload() {
		r.invalid("", "it is a payload of Contrail: give one job template in Quell's own format")
		return t
	}
	for _, m := range members {
		r.templateField(&t, m)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(members, func(m quell.Member) bool { return m.Name == name })
	}
	switch {
	case !has("fq_name") && r.as == nil:
		r.invalid("fq_name", "it is missing: give %s", nameForm)
	case !has("fq_name"):
		t.FQName = r.as
	case r.as != nil && t.FQName != nil && t.FQName.String() != r.as.String():
		r.invalid("fq_name", "it is not %s, the name in the request: make them the same, or leave it out", shorten(r.as.String()))
	}
	if !has("playbooks") {
		r.invalid("", "the job template %shas no playbooks: give at least one", spaced(t.FQName))
	}
	r.finish(&t)
	return t
}

// spaced is the name for the middle of a sentence; a template may lack it.
func spaced(n quell.FQName) string {
	if len(n) == 0 {
		return ""
	}
	return shorten(n.String()) + " "
}

// finish checks what concerns the template as a whole, and gives it a uuid.
func (r *reader) finish(t *quell.Template) {
	if len(r.problems) > 0 {
		return
	}
	if err := t.Check(); err != nil {
		r.invalid("", "%s", quell.MessageOf(err))
		return
	}
	if t.UUID == "" {
		t.UUID = UUIDOf(t.FQName)
	}
}

func (r *reader) templateField(t *quell.Template, m quell.Member) {
	switch m.Name {
	case "$schema": // for editors
		r.value(m.Name, m.Value, new(string), "a string")
	case "fq_name":
		t.FQName = r.name(m.Name, m.Value)
	case "uuid":
		t.UUID = r.uuid(m.Name, m.Value)
	case "display_name":
		r.value(m.Name, m.Value, &t.DisplayName, "a string")
	case "description":
		r.value(m.Name, m.Value, &t.Description, "a string")
	case "concurrency_level":
		t.Concurrency = r.concurrency(m.Name, m.Value)
	case "synchronous":
		r.value(m.Name, m.Value, &t.Synchronous, "true or false")
	case "node_labels":
		t.NodeLabels = r.labels(m.Name, m.Value)
	case "timeout":
		t.Timeout = r.duration(m.Name, m.Value)
	case "queue_timeout":
		t.QueueTimeout = r.duration(m.Name, m.Value)
	case "playbooks":
		before := len(r.problems)
		t.Playbooks = r.steps(m.Name, m.Value, r.playbook)
		if len(t.Playbooks) == 0 && len(r.problems) == before {
			r.invalid(m.Name, "the list is empty: give at least one")
		}
	case "recovery_playbooks":
		t.RecoveryPlaybooks = r.steps(m.Name, m.Value, r.playbook)
	case "recovery":
		r.recovery(m.Name, m.Value, &t.Recovery)
	case "input_schema":
		t.InputSchema = r.schema(m.Name, m.Value)
	case "output_schema":
		t.OutputSchema = r.schema(m.Name, m.Value)
	default:
		r.unknown(m.Name)
	}
}

// name reads an fq_name, nil where it is none. Its content is checked here
// and not left to Template.Check, since every problem's label needs a good
// one.
func (r *reader) name(field string, raw json.RawMessage) quell.FQName {
	var parts []json.RawMessage
	if !r.value(field, raw, &parts, nameForm) {
		return nil
	}
	name, good := make(quell.FQName, len(parts)), true
	for i, part := range parts {
		good = r.value(fmt.Sprintf("%s[%d]", field, i), part, &name[i], "a string") && good
	}
	if !good {
		return nil
	}
	if err := name.Check(); err != nil {
		r.invalid(field, "%s", quell.MessageOf(err))
		return nil
	}
	return name
}

// uuid reads a UUID in its usual form of 36 characters and returns it in
// lower case, so that the same UUID is always the same text.
func (r *reader) uuid(field string, raw json.RawMessage) string {
	const what = "a UUID such as 1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11"
	var text string
	if !r.value(field, raw, &text, what) {
		return ""
	}
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 { // Parse takes other forms too
		r.invalid(field, "%q is not %s: give one, or leave it out", shorten(text), what)
		return ""
	}
	return id.String()
}

func (r *reader) concurrency(field string, raw json.RawMessage) quell.Concurrency {
	var level quell.Concurrency
	if !r.value(field, raw, &level, "a string") {
		return ""
	}
	switch level {
	case quell.ConcurrencyNone: // the empty level: there is one way to store it
		return ""
	case quell.ConcurrencyDevice, quell.ConcurrencyFabric:
		return level
	}
	r.invalid(field, "%q is unknown: it is none, device or fabric", shorten(string(level)))
	return ""
}

func (r *reader) labels(field string, raw json.RawMessage) map[string]string {
	members, err := quell.ParseObject(raw)
	if err != nil {
		r.invalid(field, "it is not an object of strings such as {site: west}")
		return nil
	}
	labels := make(map[string]string, len(members))
	for _, m := range members {
		if strings.TrimSpace(m.Name) == "" {
			r.invalid(field, "a label's name is empty: give it one")
			continue
		}
		text := ""
		r.value(field+"."+shorten(m.Name), m.Value, &text, "a string")
		labels[m.Name] = text
	}
	return labels
}

func (r *reader) duration(field string, raw json.RawMessage) quell.Duration {
	const what = "a time such as 30m"
	var d quell.Duration
	if r.value(field, raw, &d, what) && d <= 0 {
		r.invalid(field, "%s is not above zero: give %s, or leave it out", d, what)
	}
	return d
}

func (r *reader) recovery(field string, raw json.RawMessage, into *quell.RecoveryPolicy) {
	members, err := quell.ParseObject(raw)
	if err != nil {
		r.invalid(field, "it is not an object such as {on_graceful: false}")
		return
	}
	for _, m := range members {
		inner := field + "." + m.Name
		switch m.Name {
		case "on_failure":
			into.OnFailure = r.choice(inner, m.Value)
		case "on_force":
			into.OnForce = r.choice(inner, m.Value)
		case "on_graceful":
			into.OnGraceful = r.choice(inner, m.Value)
		default:
			r.unknown(inner)
		}
	}
}

// choice reads true or false where missing is a third thing.
func (r *reader) choice(field string, raw json.RawMessage) *bool {
	v := new(bool)
	r.value(field, raw, v, "true or false")
	return v
}

// schema reads a JSON Schema: an object, a string that holds one, or an empty
// string for none.
func (r *reader) schema(field string, raw json.RawMessage) json.RawMessage {
	if bytes.HasPrefix(raw, []byte(`"`)) {
		var text string
		if !r.value(field, raw, &text, "a JSON Schema") {
			return nil
		}
		if raw = bytes.TrimSpace([]byte(text)); len(raw) == 0 {
			return nil
		}
	}
	if !bytes.HasPrefix(raw, []byte("{")) {
		r.invalid(field, "it is not a JSON Schema as an object: give one, as it is or in a string, or leave it out")
		return nil
	}
	_, err := quell.ParseObject(raw)
	if err != nil && r.lenient {
		raw, err = lastOfEach(raw)
	}
	if err == nil {
		_, err = compile(raw)
	}
	if err != nil {
		r.invalid(field, "%v", err)
		return nil
	}
	return raw
}

// lastOfEach rewrites an object so that no property in it is repeated, and
// says what else is wrong with it.
func lastOfEach(raw json.RawMessage) (json.RawMessage, error) {
	value, err := decode(raw)
	if err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(value); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	_, err = quell.ParseObject(raw)
	return raw, err
}

// value decodes one value and says whether that went well.
func (r *reader) value(field string, raw json.RawMessage, into any, what string) bool {
	if string(raw) == "null" {
		r.invalid(field, "it is empty: give %s, or leave it out", what)
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		r.invalid(field, "%s is not %s", shorten(string(raw)), what)
		return false
	}
	return true
}
