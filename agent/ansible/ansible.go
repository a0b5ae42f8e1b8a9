// Package ansible builds the ansible-playbook command of one run and reads the events that it emits.
//
// It promises that a run's command carries no secret in its arguments, that values from a job's input reach the playbook as
// they are (nothing in them is ever evaluated as a template), that what Ansible writes on this node stays in
// the job's own temp folder, and that no line of events, however malformed, does harm.
//
// It refuses to know what a job or a status is, where commands run and how they end, and that etcd exists: it turns a
// playbook and its variables into arguments and an environment, and lines into events.
package ansible

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// EventsFD is the file descriptor at which a command that this package built expects the write end of a pipe: the first
// of exec.Cmd's ExtraFiles.
const EventsFD = 3

// pluginName is the file that holds the callback plugin. Ansible loads every plugin that it finds in a folder of
// callback plugins, so the folder should hold nothing else.
const pluginName = "quell_events.py"

//go:embed quell_events.py
var plugin []byte

// ErrOutside says that a playbook lies outside the playbook folder, or would by way of a symbolic link.
var ErrOutside = errors.New("lies outside the playbook folder")

// Options says where things are.
type Options struct {
	// Binary is the ansible-playbook to run, a path or a name looked up in PATH. Default: ansible-playbook.
	Binary string
	// PlaybookDir is the folder that playbooks are taken from, and the working folder of every run.
	PlaybookDir string
	// PluginDir is the folder, made when it is missing, that the callback plugin is written to.
	PluginDir string
	// Inventory is passed to ansible-playbook when it is not empty: a path, or a list of hosts with a comma in it.
	// Without it Ansible's own configuration decides.
	Inventory string
}

// Ansible builds commands. It is safe for concurrent use.
type Ansible struct {
	binary      string
	playbookDir string
	pluginDir   string
	inventory   string
}

// New resolves the binary and the folders, and writes the callback plugin.
func New(o Options) (*Ansible, error) {
	if o.Binary == "" {
		o.Binary = "ansible-playbook"
	}
	binary, err := exec.LookPath(o.Binary)
	if err != nil {
		return nil, fmt.Errorf("%s was not found (it comes with ansible-core): %w", o.Binary, err)
	}
	a := &Ansible{}
	if a.binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}

	if o.PlaybookDir == "" {
		return nil, errors.New("the playbook folder is not set")
	}
	if a.playbookDir, err = filepath.Abs(o.PlaybookDir); err != nil {
		return nil, err
	}
	if info, err := os.Stat(a.playbookDir); err != nil {
		return nil, fmt.Errorf("the playbook folder: %w", err)
	} else if !info.IsDir() {
		return nil, fmt.Errorf("the playbook folder %s is not a folder", a.playbookDir)
	}

	switch {
	case o.Inventory == "" || strings.Contains(o.Inventory, ","):
		a.inventory = o.Inventory
	default:
		if a.inventory, err = filepath.Abs(o.Inventory); err != nil {
			return nil, err
		}
		if _, err := os.Stat(a.inventory); err != nil {
			return nil, fmt.Errorf("the inventory: %w", err)
		}
	}

	if o.PluginDir == "" {
		return nil, errors.New("the folder of the callback plugin is not set")
	}
	if a.pluginDir, err = filepath.Abs(o.PluginDir); err != nil {
		return nil, err
	}
	if err := checkPath(a.pluginDir); err != nil {
		return nil, fmt.Errorf("the folder of the callback plugin: %w", err)
	}
	if err := writePlugin(a.pluginDir); err != nil {
		return nil, fmt.Errorf("write the callback plugin: %w", err)
	}
	return a, nil
}

// Resolve returns the path of the playbook that a uri names, with symbolic links followed. The uri is taken relative to
// the playbook folder (an absolute one is taken as it is) and must not lead out of it: errors.Is tells
// fs.ErrNotExist, for a file that is missing, from ErrOutside.
func (a *Ansible) Resolve(uri string) (string, error) {
	if uri == "" || strings.ContainsRune(uri, 0) {
		return "", fmt.Errorf("%q is not a playbook", uri)
	}
	// The folder may itself be a link that is moved from one release to the next, so it is looked up every time.
	root, err := filepath.EvalSymlinks(a.playbookDir)
	if err != nil {
		return "", fmt.Errorf("the playbook folder: %w", err)
	}
	path := filepath.Clean(uri)
	if !filepath.IsAbs(path) {
		path = filepath.Join(a.playbookDir, path)
	}
	// Checked before anything is looked up: an error must not tell which files exist elsewhere.
	if !within(a.playbookDir, path) && !within(root, path) {
		return "", fmt.Errorf("playbook %q %w", uri, ErrOutside)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", fmt.Errorf("playbook %q: %w", uri, cause(err))
	}
	if !within(root, real) {
		return "", fmt.Errorf("playbook %q %w", uri, ErrOutside)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("playbook %q: %w", uri, cause(err))
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("playbook %q is not a regular file", uri)
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

func writePlugin(dir string) error {
	// Whoever can write here runs code as the agent.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(dir, pluginName)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, plugin) {
		return nil
	}
	return writeFile(path, plugin)
}

// writeFile puts a file that only its owner may read in place as a whole.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
