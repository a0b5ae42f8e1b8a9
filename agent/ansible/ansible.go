// Package ansible builds the command of one run, an ansible-playbook or an executable, reads the events that it emits and
// the output that it gives back, and asks the operator's inventory about devices.
//
// It promises that a run's command carries no secret in its arguments, that values from a job's input reach the playbook as
// they are (nothing in them is ever evaluated as a template), that what is encrypted in the inventory stays so until Ansible
// itself uses it, that what Ansible writes on this node stays in the job's own temp folder, and that no line of events
// and no output, however malformed, does harm.
//
// It refuses to know what a job or a status is, where runs are started and how they end, and that etcd exists: it turns a
// playbook and its variables into arguments and an environment, and lines into events.
package ansible

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
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

// Options says where things are.
type Options struct {
	// Binary is the ansible-playbook to run, a path or a name looked up in PATH. Default: ansible-playbook.
	Binary string
	// PlaybookDir is the folder that playbooks are taken from, and the working folder of every run.
	PlaybookDir string
	// PluginDir is the folder, made when it is missing, that the callback plugin is written to.
	PluginDir string
	// Inventory is passed to ansible-playbook when it is not empty, and is what Facts reads: a path, or a list of hosts with
	// a comma in it. Without it Ansible's own configuration decides, and Facts knows no device.
	Inventory string
	// VaultPasswordFile is passed to Ansible when it is not empty: the file, or the program, that gives the
	// password of what is encrypted in inventories, playbooks and their variables.
	VaultPasswordFile string
	// URIMap says which prefixes of playbooks' uris stand for which folders; the first that fits counts. Nil means
	// DefaultURIMap alone.
	URIMap []URIMapping
}

// Ansible builds commands. It is safe for concurrent use.
type Ansible struct {
	binary      string
	playbookDir string
	pluginDir   string
	inventory   string
	vaultFile   string // empty for none
	uriMap      []URIMapping
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

	if a.inventory = o.Inventory; !strings.Contains(o.Inventory, ",") {
		if a.inventory, err = existing(o.Inventory); err != nil {
			return nil, fmt.Errorf("the inventory: %w", err)
		}
	}
	if a.vaultFile, err = existing(o.VaultPasswordFile); err != nil {
		return nil, fmt.Errorf("the vault password file: %w", err)
	}
	if a.uriMap, err = uriMap(o.URIMap); err != nil {
		return nil, err
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
	if err := os.RemoveAll(a.factsDir()); err != nil {
		return nil, fmt.Errorf("remove what was left of the inventory: %w", err)
	}
	if err := writePlugin(a.pluginDir); err != nil {
		return nil, fmt.Errorf("write the callback plugin: %w", err)
	}
	return a, nil
}

// existing returns the absolute path of a file or folder, which must exist, or nothing for none.
func existing(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, err
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
