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

// encodeVars returns the extra variables of a run: vars as playbook_input and each of its members also at the top level.
//
// Ansible evaluates the values of variables as templates, which can run commands on this node, and evaluates
// any string as an expression where a playbook says `when: "{{ … }}"`. The values come from whoever may start a job.
// Therefore every string is marked as unsafe, which makes Ansible keep it as it is. Keys cannot be marked, and become values
// by way of filters such as dict2items, so one that holds template syntax is refused.
func encodeVars(vars map[string]any, tempDir string) ([]byte, error) {
	plain, err := json.Marshal(vars)
	if err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}
	// Through JSON, so that only its six kinds of values are left to look at.
	dec := json.NewDecoder(bytes.NewReader(plain))
	dec.UseNumber()
	var members map[string]any
	if err := dec.Decode(&members); err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}

	top := make(map[string]any, len(members)+3)
	for name, value := range members {
		if !identifier.MatchString(name) || strings.HasPrefix(name, "ansible_") || slices.Contains(reserved, name) {
			return nil, fmt.Errorf("the playbook's variables: %q cannot be the name of a variable", name)
		}
		kept, err := protect(value, inputVar+"."+name, 1)
		if err != nil {
			return nil, err
		}
		top[name], members[name] = kept, kept
	}
	if members == nil {
		members = map[string]any{}
	}
	top[inputVar] = members
	top[tempDirVar] = map[string]string{unsafeKey: tempDir}
	top["ansible_async_dir"] = asyncDir

	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(top); err != nil {
		return nil, fmt.Errorf("the playbook's variables: %w", err)
	}
	return out.Bytes(), nil
}

// protect marks every string in a value as unsafe. The path names the value in errors.
func protect(value any, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s…: nested more than %d deep", clip(path, 100), maxDepth)
	}
	switch v := value.(type) {
	case string:
		return map[string]string{unsafeKey: v}, nil
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			kept, err := protect(item, fmt.Sprintf("%s[%d]", path, i), depth+1)
			if err != nil {
				return nil, err
			}
			out[i] = kept
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			if hasTemplate(key) {
				return nil, fmt.Errorf("%s: the key %q holds template syntax", path, clip(key, 100))
			}
			// Ansible decodes an object with such a key as something else.
			if strings.HasPrefix(key, "__ansible") {
				return nil, fmt.Errorf("%s: the key %q is Ansible's own", path, clip(key, 100))
			}
			kept, err := protect(item, path+"."+key, depth+1)
			if err != nil {
				return nil, err
			}
			out[key] = kept
		}
		return out, nil
	default:
		return v, nil
	}
}

func hasTemplate(s string) bool {
	return strings.Contains(s, "{{") || strings.Contains(s, "{%") || strings.Contains(s, "{#")
}
