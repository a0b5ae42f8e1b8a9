package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"quell"
)

// Contrail's predefined payload file is
//
//	{"data": [{"object_type": "job-template", "objects": [{…}, …]}, …]}
//
// It is read as Contrail reads it: a member that Quell has no use for is not
// looked at, null and "" mean that a member is missing, and of a repeated
// property the last one counts. What is used is checked like Quell's own.

// isPayload tells a payload of Contrail from a job template, whose format
// has no data.
func (d document) isPayload() bool {
	o := parseLoosely(d.json)
	_, data := o["data"]
	_, name := o["fq_name"]
	_, playbooks := o["playbooks"]
	return data && !name && !playbooks
}

// object is an object of the payload.
type object map[string]json.RawMessage

// parseLoosely returns nil where the text is no object.
func parseLoosely(raw json.RawMessage) object {
	var o object
	if json.Unmarshal(raw, &o) != nil {
		return nil
	}
	return o
}

// get returns a member, false where it is missing.
func (o object) get(name string) (json.RawMessage, bool) {
	raw, found := o[name]
	return raw, found && string(raw) != "null" && string(raw) != `""`
}

// skippedType is an object type that Quell does not read.
type skippedType struct {
	name  string
	count int
}

func (c *collection) skip(objectType string, count int) {
	for i := range c.skipped {
		if c.skipped[i].name == objectType {
			c.skipped[i].count += count
			return
		}
	}
	c.skipped = append(c.skipped, skippedType{objectType, count})
}

// skippedLines has a line for each object type that was skipped.
func (c *collection) skippedLines() []string {
	var lines []string
	for _, s := range c.skipped {
		noun := "objects"
		if s.count == 1 {
			noun = "object"
		}
		lines = append(lines, fmt.Sprintf("skipped %d %s of type %q: only job templates are read", s.count, noun, shorten(s.name)))
	}
	return lines
}

// payload reads a payload. place is the document's, "" where it is the only
// one.
func (c *collection) payload(place string, d document) {
	prefix := ""
	if place != "" {
		prefix = place + ", "
	}
	add := func(at string, problems []string) {
		for _, text := range problems {
			if at != "" {
				text = at + ": " + text
			}
			c.problems = append(c.problems, text)
		}
	}
	if len(d.problems) > 0 {
		add(place, d.problems)
		return
	}
	r := reader{}
	var entries []json.RawMessage
	r.value("data", parseLoosely(d.json)["data"], &entries, `a list such as [{"object_type": "job-template", "objects": […]}]`)
	add(place, r.problems)
	for i, entry := range entries {
		at := fmt.Sprintf("%sdata[%d]", prefix, i)
		r := reader{}
		kind, objects := r.entry(entry)
		add(at, r.problems)
		switch kind {
		case "":
		case "job-template", "job_template": // Contrail spells its types both ways
			for j, o := range objects {
				r := reader{lenient: true}
				t := r.contrailTemplate(o)
				c.add(fmt.Sprintf("%s.objects[%d]", at, j), t, r.problems)
			}
		default:
			c.skip(kind, len(objects))
		}
	}
}

// entry reads a member of data: its type, "" where that is wrong, and its
// objects.
func (r *reader) entry(raw json.RawMessage) (kind string, objects []json.RawMessage) {
	o := parseLoosely(raw)
	if o == nil {
		r.invalid("", `it is not an object such as {"object_type": "job-template", "objects": […]}`)
		return "", nil
	}
	if raw, found := o.get("object_type"); !found {
		r.invalid("object_type", `it is missing: give "job-template", or another that is then skipped`)
	} else {
		r.value("object_type", raw, &kind, "a string")
	}
	if raw, found := o.get("objects"); found {
		r.value("objects", raw, &objects, "a list of objects")
	}
	return kind, objects
}

// contrailTemplate reads a job template of a payload. What it returns is
// incomplete when it has recorded problems.
func (r *reader) contrailTemplate(raw json.RawMessage) quell.Template {
	t := quell.Template{}
	o := parseLoosely(raw)
	if o == nil {
		r.invalid("", "it is not an object: give a job template")
		return t
	}
	if v, found := o.get("fq_name"); found {
		t.FQName = r.name("fq_name", v)
	} else {
		r.invalid("fq_name", "it is missing%s: give %s", nameOf(o), nameForm)
	}
	for _, f := range []struct {
		name string
		read func(field string, raw json.RawMessage)
	}{
		{"uuid", func(field string, raw json.RawMessage) { t.UUID = r.uuid(field, raw) }},
		{"display_name", func(field string, raw json.RawMessage) { r.value(field, raw, &t.DisplayName, "a string") }},
		{"job_template_description", func(field string, raw json.RawMessage) { r.value(field, raw, &t.Description, "a string") }},
		{"job_template_concurrency_level", func(field string, raw json.RawMessage) { t.Concurrency = r.concurrency(field, raw) }},
		{"job_template_synchronous_job", func(field string, raw json.RawMessage) { r.value(field, raw, &t.Synchronous, "true or false") }},
		{"job_template_input_schema", func(field string, raw json.RawMessage) { t.InputSchema = r.schema(field, raw) }},
		{"job_template_output_schema", func(field string, raw json.RawMessage) { t.OutputSchema = r.schema(field, raw) }},
	} {
		if v, found := o.get(f.name); found {
			f.read(f.name, v)
		}
	}
	before := len(r.problems)
	// Contrail runs what a template lists as executables like its playbooks;
	// they come last, since only playbooks carry a sequence_no.
	t.Playbooks = append(
		r.wrapped(o, "job_template_playbooks", "playbook_info", r.playbookInfo),
		r.wrapped(o, "job_template_executables", "executable_info", r.executableInfo)...)
	if len(t.Playbooks) == 0 && len(r.problems) == before {
		r.invalid("", "the job template %shas neither playbooks nor executables: give at least one", spaced(t.FQName))
	}
	t.RecoveryPlaybooks = r.wrapped(o, "job_template_recovery_playbooks", "playbook_info", r.playbookInfo)
	r.finish(&t)
	return t
}

// nameOf helps to find a template that lacks its fq_name.
func nameOf(o object) string {
	var name string
	if json.Unmarshal(o["name"], &name) != nil || name == "" {
		return ""
	}
	return fmt.Sprintf(" (its name is %q)", shorten(name))
}

// wrapped reads a list of steps, which Contrail puts in an object of its own.
func (r *reader) wrapped(o object, outer, inner string, one func(string, json.RawMessage) step) []quell.Playbook {
	raw, found := o.get(outer)
	if !found {
		return nil
	}
	holder := parseLoosely(raw)
	if holder == nil {
		r.invalid(outer, `it is not an object such as {"%s": […]}`, inner)
		return nil
	}
	raw, found = holder.get(inner)
	if !found {
		return nil
	}
	return r.steps(outer+"."+inner, raw, one)
}

// playbookInfo reads a playbook of a payload.
func (r *reader) playbookInfo(field string, item json.RawMessage) step {
	return r.contrailStep(field, item, "playbook_uri", "multi_device_playbook", "vendor", "device_family",
		"job_completion_weightage", "sequence_no")
}

// executableInfo reads an executable of a payload.
func (r *reader) executableInfo(field string, item json.RawMessage) step {
	s := r.contrailStep(field, item, "executable_path", "job_completion_weightage")
	raw, found := parseLoosely(item).get("executable_args")
	switch {
	case !found:
	case raw[0] == '"':
		field += ".executable_args"
		var text string
		r.value(field, raw, &text, "a string or a list of strings")
		args, err := splitArgs(text)
		if err != nil {
			r.invalid(field, "%v", err)
		}
		r.checkArgs(field, args)
		s.Args = args
	default:
		s.Args = r.args(field+".executable_args", raw)
	}
	return s
}

// contrailStep reads the members of these names, the first of which must be
// there.
func (r *reader) contrailStep(field string, item json.RawMessage, names ...string) step {
	s := step{}
	o := parseLoosely(item)
	if o == nil {
		r.invalid(field, `it is not an object such as {"%s": "upgrade"}`, names[0])
		return s
	}
	if _, found := o.get(names[0]); !found {
		r.invalid(field, "%s is missing", names[0])
	}
	for _, name := range names {
		raw, found := o.get(name)
		raw = loosen(name, raw)
		switch {
		case !found:
		case name == "executable_path": // the one member that Quell calls otherwise
			s.Executable = r.path(field+"."+name, raw)
		default:
			r.playbookField(&s, field+".", quell.Member{Name: name, Value: raw})
		}
	}
	return s
}

// loosen reads the text of a number, of true or false, or of a path from the
// root as what is meant: in Contrail's objects one stands for the other. The
// agent maps such a path into its playbook folder, or finds nothing there.
func loosen(name string, raw json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return raw
	}
	switch name {
	case "job_completion_weightage", "sequence_no":
		if number := json.RawMessage(strings.TrimSpace(text)); json.Valid(number) && !strings.HasPrefix(text, `"`) {
			return number
		}
	case "multi_device_playbook":
		switch strings.ToLower(text) {
		case "true", "false":
			return json.RawMessage(strings.ToLower(text))
		}
	case "playbook_uri", "executable_path":
		if strings.HasPrefix(text, "/") {
			text, _ := json.Marshal("." + text)
			return text
		}
	}
	return raw
}

// splitArgs splits a line into arguments as a shell does: at white space that
// is neither quoted nor behind a backslash. Nothing is expanded: $ and * are
// characters like others.
func splitArgs(line string) ([]string, error) {
	var args []string
	var arg strings.Builder
	begun := false // '' is an argument, if an empty one
	end := func() {
		if begun {
			args = append(args, arg.String())
		}
		arg.Reset()
		begun = false
	}
	quote, escaped := rune(0), false
	for _, c := range line {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`", c) {
				arg.WriteRune('\\') // inside "…" it escapes these alone
			}
			arg.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			begun, escaped = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			begun, quote = true, c
		case quote == 0 && strings.ContainsRune(" \t\r\n", c):
			end()
		default:
			arg.WriteRune(c)
			begun = true
		}
	}
	switch {
	case quote != 0:
		return nil, fmt.Errorf("the quote %c is not closed: close it, or put a backslash in front of it", quote)
	case escaped:
		return nil, errors.New("there is nothing behind the last backslash: give two for a backslash")
	}
	end()
	return args, nil
}
