package template

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"quell"
)

// step is a playbook as a list has it, with its place in the order.
type step struct {
	quell.Playbook
	sequence *float64 // nil: the list does not say
}

// steps reads a list of playbooks, each by one, and puts them in order.
func (r *reader) steps(field string, raw json.RawMessage, one func(field string, item json.RawMessage) step) []quell.Playbook {
	var items []json.RawMessage
	if !r.value(field, raw, &items, "a list of playbooks") {
		return nil
	}
	list := make([]step, len(items))
	for i, item := range items {
		list[i] = one(fmt.Sprintf("%s[%d]", field, i), item)
	}
	return inOrder(list)
}

// inOrder sorts by sequence_no. Steps with the same one keep the list's
// order. A step without one stays behind the step that it follows in the
// list, and at the beginning where it follows none: so a list without any
// number keeps its order, and a step that was added to a numbered list runs
// where it was written. The numbers have then done their work and are not
// stored: the order of Template.Playbooks is the order of the run.
func inOrder(list []step) []quell.Playbook {
	type placed struct {
		quell.Playbook
		at float64
	}
	steps, at := make([]placed, len(list)), math.Inf(-1)
	for i, s := range list {
		if s.sequence != nil {
			at = *s.sequence
		}
		steps[i] = placed{s.Playbook, at}
	}
	slices.SortStableFunc(steps, func(a, b placed) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	var playbooks []quell.Playbook
	for _, s := range steps {
		playbooks = append(playbooks, s.Playbook)
	}
	return playbooks
}

// playbook reads a step in Quell's own format.
func (r *reader) playbook(field string, item json.RawMessage) step {
	s := step{}
	members, err := quell.ParseObject(item)
	if err != nil {
		r.invalid(field, "it is not an object such as {playbook_uri: upgrade.yml}")
		return s
	}
	given := map[string]bool{}
	for _, m := range members {
		given[m.Name] = true
		r.playbookField(&s, field+".", m)
	}
	switch {
	case given["playbook_uri"] && given["executable"]:
		r.invalid(field, "there are playbook_uri and executable: give one of them")
	case !given["playbook_uri"] && !given["executable"]:
		r.invalid(field, "playbook_uri is missing: give it, or an executable")
	}
	if given["executable_args"] && !given["executable"] {
		r.invalid(field+".executable_args", "it goes with executable: give that too, or leave it out")
	}
	return s
}

func (r *reader) playbookField(s *step, prefix string, m quell.Member) {
	field := prefix + m.Name
	switch m.Name {
	case "playbook_uri":
		s.URI = r.path(field, m.Value)
	case "executable":
		s.Executable = r.path(field, m.Value)
	case "executable_args":
		s.Args = r.args(field, m.Value)
	case "multi_device_playbook":
		r.value(field, m.Value, &s.MultiDevice, "true or false")
	case "vendor":
		r.value(field, m.Value, &s.Vendor, "a string")
	case "device_family":
		r.value(field, m.Value, &s.DeviceFamily, "a string")
	case "job_completion_weightage":
		s.Weight = r.weight(field, m.Value)
	case "sequence_no":
		s.sequence = r.sequence(field, m.Value)
	case "timeout":
		s.Timeout = r.duration(field, m.Value)
	case "abortable":
		s.Abortable = r.choice(field, m.Value)
	case "max_retries":
		s.MaxRetries = r.retries(field, m.Value)
	case "refresh_token":
		// Contrail's way to renew a token while a playbook runs; Quell's
		// playbooks get none. It may be a secret and is never repeated.
	default:
		r.unknown(field)
	}
}

// maxPath is the most bytes that quell.Template takes.
const maxPath = 1024

// path reads the path of a playbook or an executable.
func (r *reader) path(field string, raw json.RawMessage) string {
	var p string
	if !r.value(field, raw, &p, "a string") {
		return ""
	}
	switch {
	case strings.TrimSpace(p) == "":
		r.invalid(field, "it is empty: give a path inside the playbook folder")
	case len(p) > maxPath:
		r.invalid(field, "%q has %d bytes: at most %d", shorten(p), len(p), maxPath)
	case strings.ContainsFunc(p, unicode.IsControl):
		r.invalid(field, "%q holds a control character", shorten(p))
	case !filepath.IsLocal(p):
		r.invalid(field, "%q leaves the playbook folder: give a path inside it", shorten(p))
	}
	return p
}

// args reads a list of arguments.
func (r *reader) args(field string, raw json.RawMessage) []string {
	var items []json.RawMessage
	if !r.value(field, raw, &items, "a list of strings") {
		return nil
	}
	args := make([]string, len(items))
	for i, item := range items {
		r.value(fmt.Sprintf("%s[%d]", field, i), item, &args[i], "a string")
	}
	r.checkArgs(field, args)
	return args
}

// checkArgs refuses what cannot be an argument of a process.
func (r *reader) checkArgs(field string, args []string) {
	for i, arg := range args {
		if strings.ContainsRune(arg, 0) {
			r.invalid(fmt.Sprintf("%s[%d]", field, i), "%q holds a NUL character, which no argument can", shorten(arg))
		}
	}
}

func (r *reader) weight(field string, raw json.RawMessage) *float64 {
	const what = "a number from 0 to 100"
	w := new(float64)
	if r.value(field, raw, w, what) && (*w < 0 || *w > 100) {
		r.invalid(field, "%v is not %s", *w, what)
	}
	return w
}

func (r *reader) sequence(field string, raw json.RawMessage) *float64 {
	n := new(float64)
	if !r.value(field, raw, n, "a number") {
		return nil
	}
	return n
}

func (r *reader) retries(field string, raw json.RawMessage) *int {
	what := fmt.Sprintf("a whole number from 0 to %d", quell.MaxRetries)
	n := 0.0 // 3.0 is a whole number too
	if !r.value(field, raw, &n, what) {
		return nil
	}
	if n != math.Trunc(n) || n < 0 || n > quell.MaxRetries {
		r.invalid(field, "%v is not %s", n, what)
		return nil
	}
	v := int(n)
	return &v
}
