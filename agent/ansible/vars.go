package ansible

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	inputVar   = "playbook_input"
	tempDirVar = "quell_temp_dir"
	unsafeKey  = "__ansible_unsafe"
	// maxDepth bounds how deeply values may be nested: Ansible walks them recursively, in Python.
	maxDepth = 64
)

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

	// reserved names mean something to Ansible itself; a variable of that name would change how the run works. So would
	// every name that starts with ansible_.
	reserved = []string{
		inputVar, tempDirVar, "environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file",
		"inventory_hostname", "inventory_hostname_short", "omit", "play_hosts", "playbook_dir", "role_name", "role_path", "vars",
	}
)

// asyncDir is where `async` tasks keep their results. The one setting that Ansible has for it goes for this node and for
// remote hosts alike, on which the job's temp folder need not be creatable; this template, evaluated task by task, tells
// them apart.
const asyncDir = `{{ (` + tempDirVar + ` ~ '/async') if (ansible_connection | default('')) == 'local'` +
	` or inventory_hostname in ['localhost', '127.0.0.1', '::1'] else '~/.ansible_async' }}`

// unsafeString is a string that Ansible keeps as it is.
type unsafeString struct {
	Text string `json:"__ansible_unsafe"`
}

// encodeVars returns the extra variables of a run: vars and trusted as playbook_input, and each of their members also at the
// top level.
//
// Ansible evaluates the values of variables as templates, which can run commands on this node, and evaluates
// any string as an expression where a playbook says `when: "{{ … }}"`. The values of vars come from whoever may start a job.
// Therefore every string in them is marked as unsafe, which makes Ansible keep it as it is. Keys cannot be marked, and become
// values by way of filters such as dict2items, so one that holds template syntax is refused.
//
// What is trusted is handed on untouched, for Ansible to evaluate and decrypt. A name that is in both is refused: neither
// may the input of a job stand in for what the operator said, nor the other way round without the caller's saying so.
func encodeVars(vars, trusted map[string]any, tempDir string) ([]byte, error) {
	members, err := normalize(vars)
	if err != nil {
		return nil, err
	}
	for name, value := range members {
		kept, refused := protect(value, 1)
		if refused != nil {
			return nil, refused.in("." + name).in(inputVar)
		}
		members[name] = kept
	}
	more, err := normalize(trusted)
	if err != nil {
		return nil, err
	}
	if err := merge(members, more); err != nil {
		return nil, err
	}
	for name := range members {
		if !identifier.MatchString(name) || strings.HasPrefix(name, "ansible_") || slices.Contains(reserved, name) {
			return nil, fmt.Errorf("the playbook's variables: %q cannot be the name of a variable", name)
		}
	}

	// Some of the members are large, so they are encoded once for both places.
	both, err := encode(members)
	if err != nil {
		return nil, err
	}
	own, err := encode(map[string]any{tempDirVar: unsafeString{tempDir}, "ansible_async_dir": asyncDir})
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 2*len(both)+len(own)+len(inputVar)+8)
	out = append(out, `{"`+inputVar+`":`...)
	out = append(out, both...)
	if len(members) > 0 {
		out = append(out, ',')
		out = append(out, both[1:len(both)-1]...)
	}
	out = append(out, ',')
	return append(out, own[1:]...), nil
}

// plainVars returns the variables of an executable: the members of playbook_input, with no marks.
func plainVars(vars, trusted map[string]any) ([]byte, error) {
	members, err := normalize(vars)
	if err != nil {
		return nil, err
	}
	more, err := normalize(trusted)
	if err != nil {
		return nil, err
	}
	for name, value := range more {
		more[name] = unmark(value)
	}
	if err := merge(members, more); err != nil {
		return nil, err
	}
	return encode(members)
}

// normalize passes variables through JSON, so that only its six kinds of values are left to look at, in maps and slices
// that nobody else has.
func normalize(vars map[string]any) (map[string]any, error) {
	plain, err := json.Marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	members := map[string]any{}
	if err := dec.Decode(&members); err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}
	if members == nil {
		members = map[string]any{}
	}
	return members, nil
}

func merge(members, more map[string]any) error {
	for name, value := range more {
		if _, ok := members[name]; ok {
			return fmt.Errorf("the playbook's variables: %q is among the trusted ones and among the others", name)
		}
		members[name] = value
	}
	return nil
}

func encode(value any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}
	return bytes.TrimSpace(out.Bytes()), nil
}

// refusal is why a value is refused. The path to it is put together on the way out, so that it costs nothing when all is
// well.
type refusal struct {
	path string
	why  string
}

func (r *refusal) Error() string { return clip(r.path, 200) + ": " + r.why }

// in says what the value lies in.
func (r *refusal) in(step string) *refusal {
	r.path = step + r.path
	return r
}

// protect marks every string in a value as unsafe. Maps and slices are changed in place.
func protect(value any, depth int) (any, *refusal) {
	if depth > maxDepth {
		return nil, &refusal{why: fmt.Sprintf("nested more than %d deep", maxDepth)}
	}
	switch v := value.(type) {
	case string:
		return unsafeString{v}, nil
	case []any:
		for i, item := range v {
			kept, refused := protect(item, depth+1)
			if refused != nil {
				return nil, refused.in(fmt.Sprintf("[%d]", i))
			}
			v[i] = kept
		}
	case map[string]any:
		for key, item := range v {
			if hasTemplate(key) {
				return nil, &refusal{why: fmt.Sprintf("the key %q holds template syntax", clip(key, 100))}
			}
			// Ansible decodes an object with such a key as something else.
			if strings.HasPrefix(key, "__ansible") {
				return nil, &refusal{why: fmt.Sprintf("the key %q is Ansible's own", clip(key, 100))}
			}
			kept, refused := protect(item, depth+1)
			if refused != nil {
				return nil, refused.in("." + key)
			}
			v[key] = kept
		}
	}
	return value, nil
}

// unmark replaces what is marked as unsafe in a trusted value by its text. Maps and slices are changed in place.
func unmark(value any) any {
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			v[i] = unmark(item)
		}
	case map[string]any:
		if text, ok := v[unsafeKey].(string); ok && len(v) == 1 {
			return text
		}
		for key, item := range v {
			v[key] = unmark(item)
		}
	}
	return value
}

func hasTemplate(s string) bool {
	return strings.Contains(s, "{{") || strings.Contains(s, "{%") || strings.Contains(s, "{#")
}
