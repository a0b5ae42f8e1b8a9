package template

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"quell"
)

// reader reads one document and collects its problems.
type reader struct {
	as       quell.FQName // the name that the template must have; nil: its own
	problems problemList
}

func (r *reader) add(code quell.Code, field, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if field != "" {
		text = field + ": " + text
	}
	r.problems = append(r.problems, problem{code: code, text: text})
}

func (r *reader) invalid(field, format string, args ...any) {
	r.add(quell.CodeInvalid, field, format, args...)
}

func (r *reader) unknown(field string) {
	r.invalid(shorten(field), "the property is unknown")
}

func (r *reader) unsupported(field, format string, args ...any) {
	r.add(quell.CodeUnsupported, field, format+"; this version of Quell does not offer it yet: leave it out", args...)
}

// document reads one job template. What it returns is incomplete when it has
// recorded problems.
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
	for _, m := range members {
		r.templateField(&t, m)
	}
	switch {
	case r.as == nil:
	case t.FQName == nil:
		t.FQName = r.as
	case t.FQName.String() != r.as.String():
		r.invalid("fq_name", "it is not %s, the name in the request: make them the same, or leave it out", shorten(r.as.String()))
	}
	if len(r.problems) == 0 {
		if err := t.Check(); err != nil {
			r.invalid("", "%s", quell.MessageOf(err))
		}
	}
	return t
}

func (r *reader) templateField(t *quell.Template, m quell.Member) {
	switch m.Name {
	case "fq_name":
		r.name(t, m)
	case "display_name":
		r.value(m.Name, m.Value, &t.DisplayName, "a string")
	case "concurrency_level":
		var level string
		if !r.value(m.Name, m.Value, &level, "a string") {
			return
		}
		switch level {
		case "none":
		case "device", "fabric":
			r.unsupported(m.Name, "%s is a level of its own", level)
		default:
			r.invalid(m.Name, "%q is unknown: it is none, device or fabric", shorten(level))
		}
	case "playbooks":
		t.Playbooks = r.playbooks(m)
	case "recovery_playbooks":
		t.RecoveryPlaybooks = r.playbooks(m)
	case "input_schema":
		r.schema(t, m)
	case "output_schema":
		r.unsupported(m.Name, "an output is not checked")
	default:
		r.unknown(m.Name)
	}
}

// name reads the fq_name. Its content is checked here and not left to
// Template.Check, since every problem's label needs a good one.
func (r *reader) name(t *quell.Template, m quell.Member) {
	var parts []json.RawMessage
	if !r.value(m.Name, m.Value, &parts, "a list of strings such as [default-global-system-config, image_upgrade_template]") {
		return
	}
	name := make(quell.FQName, len(parts))
	for i, part := range parts {
		if !r.value(fmt.Sprintf("%s[%d]", m.Name, i), part, &name[i], "a string") {
			return
		}
	}
	if err := name.Check(); err != nil {
		r.invalid(m.Name, "%s", quell.MessageOf(err))
		return
	}
	t.FQName = name
}

func (r *reader) schema(t *quell.Template, m quell.Member) {
	if len(m.Value) == 0 || m.Value[0] != '{' {
		r.invalid(m.Name, "it is not a JSON Schema as an object: give one, or leave it out")
		return
	}
	if _, err := compile(m.Value); err != nil {
		r.invalid(m.Name, "%v", err)
		return
	}
	t.InputSchema = m.Value
}

func (r *reader) playbooks(m quell.Member) []quell.Playbook {
	var items []json.RawMessage
	if !r.value(m.Name, m.Value, &items, "a list of playbooks") {
		return nil
	}
	list := make([]quell.Playbook, len(items))
	for i, item := range items {
		list[i] = r.playbook(fmt.Sprintf("%s[%d]", m.Name, i), item)
	}
	return list
}

func (r *reader) playbook(field string, item json.RawMessage) quell.Playbook {
	p := quell.Playbook{}
	members, err := quell.ParseObject(item)
	if err != nil {
		r.invalid(field, "it is not an object such as {playbook_uri: upgrade.yml}")
		return p
	}
	for _, m := range members {
		inner := field + "." + m.Name
		switch m.Name {
		case "playbook_uri":
			if r.value(inner, m.Value, &p.URI, "a string") && p.URI != "" && !filepath.IsLocal(p.URI) {
				r.invalid(inner, "%q leaves the playbook folder: give a path inside it", shorten(p.URI))
			}
		case "job_completion_weightage":
			p.Weight = new(float64)
			r.value(inner, m.Value, p.Weight, "a number from 0 to 100")
		case "timeout":
			r.value(inner, m.Value, &p.Timeout, "a time such as 30m")
		case "abortable":
			p.Abortable = new(bool)
			r.value(inner, m.Value, p.Abortable, "true or false")
		case "multi_device_playbook":
			multi := false
			if r.value(inner, m.Value, &multi, "true or false") && multi {
				r.unsupported(inner, "a playbook that runs once for each device is a kind of its own")
			}
		default:
			r.unknown(inner)
		}
	}
	return p
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
