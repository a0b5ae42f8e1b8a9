package quell

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxVariableDepth bounds how deep what playbooks are given may nest: Ansible
// walks it recursively.
const maxVariableDepth = 60

// CheckVariables says why a JSON value cannot be handed to a playbook, if it
// cannot. Its strings are marked for Ansible as what is never evaluated; a
// member's name cannot be, and becomes a value by way of filters such as
// dict2items. So one that holds template syntax is refused, and so are those
// that Ansible decodes as something else.
func CheckVariables(value json.RawMessage) error {
	if len(value) == 0 {
		return nil
	}
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return fmt.Errorf("it is not JSON: %w", err)
	}
	return checkVariable(v, "", 1)
}

func checkVariable(value any, path string, depth int) error {
	if depth > maxVariableDepth {
		return fmt.Errorf("%q nests deeper than %d levels", excerpt(path), maxVariableDepth)
	}
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			if err := checkVariable(item, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, item := range v {
			if strings.Contains(name, "{{") || strings.Contains(name, "{%") || strings.Contains(name, "{#") || strings.HasPrefix(name, "__ansible") {
				return fmt.Errorf("the property %q in %q holds template syntax or is Ansible's own", excerpt(name), excerpt(path))
			}
			if err := checkVariable(item, strings.TrimPrefix(path+"."+name, "."), depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
