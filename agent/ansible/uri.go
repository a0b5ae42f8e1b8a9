package ansible

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultURIMap is the mapping, as ParseURIMapping takes it, of the folder that Contrail's own job templates name: its
// playbooks lie in the playbook folder itself.
const DefaultURIMap = "./opt/contrail/fabric_ansible_playbooks/="

var (
	// ErrOutside says that a playbook lies outside the playbook folder, or would by way of a symbolic link.
	ErrOutside = errors.New("lies outside the playbook folder")
	// ErrNotExecutable says that the agent may not execute a file that is to be run as an executable.
	ErrNotExecutable = errors.New("may not be executed")
)

// URIMapping says which folder inside the playbook folder the files are taken from whose uri starts with a prefix.
type URIMapping struct {
	// From is the prefix, which ends where a folder's name does: with or without a slash at its end it is the same. One that
	// starts with "./" stands for the spellings without it and with "/" as well.
	From string
	// To is relative to the playbook folder; empty is that folder itself.
	To string
}

// ParseURIMapping reads a mapping that is written as FROM=TO.
func ParseURIMapping(s string) (URIMapping, error) {
	from, to, ok := strings.Cut(s, "=")
	if !ok {
		return URIMapping{}, fmt.Errorf("the uri mapping %q is not of the form FROM=TO", s)
	}
	return URIMapping{From: from, To: to}.normal()
}

// normal returns the mapping with a slash at the end of both folders.
func (m URIMapping) normal() (URIMapping, error) {
	refuse := func(why string) (URIMapping, error) {
		return URIMapping{}, fmt.Errorf("the uri mapping %q: %s", m.From+"="+m.To, why)
	}
	switch {
	case strings.ContainsRune(m.From+m.To, 0):
		return refuse("it holds a NUL")
	case strings.Trim(m.From, "./") == "":
		return refuse("what it maps from is no folder's name")
	case m.To != "" && !filepath.IsLocal(m.To):
		return refuse("what it maps to must be a folder inside the playbook folder, named relative to it, or nothing")
	}
	m.From = strings.TrimRight(m.From, "/") + "/"
	if m.To = filepath.Clean(m.To) + "/"; m.To == "./" {
		m.To = ""
	}
	return m, nil
}

// uriMap checks a list of mappings; nil is the default.
func uriMap(list []URIMapping) ([]URIMapping, error) {
	if list == nil {
		m, err := ParseURIMapping(DefaultURIMap)
		return []URIMapping{m}, err
	}
	out := make([]URIMapping, len(list))
	for i, m := range list {
		var err error
		if out[i], err = m.normal(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// apply returns the uri with the prefix replaced, and whether it has it.
func (m URIMapping) apply(uri string) (string, bool) {
	prefixes := []string{m.From}
	if bare, ok := strings.CutPrefix(m.From, "./"); ok {
		prefixes = append(prefixes, bare, "/"+bare)
	}
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(uri, prefix); ok {
			return m.To + rest, true
		}
	}
	return uri, false
}

// Resolve returns the path of the playbook that a uri names, with symbolic links followed. The uri is mapped (Options.URIMap),
// taken relative to the playbook folder (an absolute one is taken as it is) and must not lead out of it: errors.Is tells
// fs.ErrNotExist, for a file that is missing, from ErrOutside.
func (a *Ansible) Resolve(uri string) (string, error) { return a.resolve("playbook", uri) }

// Check says why a run of the playbook, or of the executable, that a uri names could not be started now; nil: it
// could.
func (a *Ansible) Check(uri string, executable bool) error {
	_, err := a.find(uri, executable)
	return err
}

// find resolves the uri of a playbook, or of an executable, which this process must be allowed to execute.
func (a *Ansible) find(uri string, executable bool) (string, error) {
	if !executable {
		return a.Resolve(uri)
	}
	path, err := a.resolve("executable", uri)
	if err != nil {
		return "", err
	}
	// Of an absolute path it looks at the permissions alone.
	if _, err := exec.LookPath(path); err != nil {
		return "", fmt.Errorf("executable %q %w", uri, ErrNotExecutable)
	}
	return path, nil
}

// resolve is Resolve; what names the kind of the file in errors.
func (a *Ansible) resolve(what, uri string) (string, error) {
	mapped, name := uri, fmt.Sprintf("%s %q", what, uri)
	for _, m := range a.uriMap {
		if to, ok := m.apply(uri); ok {
			mapped = to
			name += fmt.Sprintf(" (%q in the playbook folder)", to)
			break
		}
	}
	if mapped == "" || strings.ContainsRune(mapped, 0) {
		return "", fmt.Errorf("%q is not the name of a file", uri)
	}
	// The folder may itself be a link that is moved from one release to the next, so it is looked up every time.
	root, err := filepath.EvalSymlinks(a.playbookDir)
	if err != nil {
		return "", fmt.Errorf("the playbook folder: %w", err)
	}
	path := filepath.Clean(mapped)
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.playbookDir, path)
	}
	// Checked before anything is looked up: an error must not tell which files exist elsewhere.
	if !within(a.playbookDir, path) && !within(root, path) {
		return "", fmt.Errorf("%s %w", name, ErrOutside)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, cause(err))
	}
	if !within(root, real) {
		return "", fmt.Errorf("%s %w", name, ErrOutside)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, cause(err))
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	return real, nil
}

// within reports whether path lies below dir.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && filepath.IsLocal(rel)
}

// cause takes the path, which the caller did not name, off a file's error.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
