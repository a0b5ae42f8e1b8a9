package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Command is what a run executes.
type Command struct {
	// Args is the command line. Args[0] is the absolute path of the executable:
	// the shim searches no PATH.
	Args []string `json:"args"`
	// Env is the whole environment, apart from QUELL_RUN=<job>/<run>, which Start
	// adds. It lies on disk until the shim has read it: put no secrets here.
	Env []string `json:"env"`
	// Dir is the absolute working directory; empty means the run's folder.
	Dir string `json:"dir,omitempty"`
	// NoCgroup makes this run use the fallback, a child subreaper alone.
	NoCgroup bool `json:"no_cgroup,omitempty"`
}

func (c Command) validate() error {
	if len(c.Args) == 0 {
		return errors.New("command: no arguments")
	}
	if !filepath.IsAbs(c.Args[0]) {
		return fmt.Errorf("command %q: not an absolute path", c.Args[0])
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("command's folder %q: not an absolute path", c.Dir)
	}
	return nil
}

// order is what the supervisor writes for the shim.
type order struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	Run     string `json:"run"`
	// Cgroup is where the run's cgroup is to be made; empty means the fallback.
	Cgroup  string  `json:"cgroup,omitempty"`
	Command Command `json:"command"`
}

// newOrder resolves what the caller left open and marks the environment.
func newOrder(id ID, dir, cgroup string, c Command) order {
	mark := runVariable + "="
	env := make([]string, 0, len(c.Env)+1)
	for _, kv := range c.Env {
		if !strings.HasPrefix(kv, mark) {
			env = append(env, kv)
		}
	}
	c.Env = append(env, mark+id.String())
	if c.Dir == "" {
		c.Dir = dir
	}
	if c.NoCgroup {
		cgroup = ""
	}
	return order{Version: recordVersion, Job: id.Job, Run: id.Run, Cgroup: cgroup, Command: c}
}

// write replaces the order as a whole, since a late shim of an earlier
// supervisor may be reading it. It needs no fsync: as long as no shim has
// claimed the run, it can be written again.
func (o order) write(dir string) error {
	data, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("order of %s/%s: %w", o.Job, o.Run, err)
	}
	tmp, err := writeTemp(dir, orderFile, data, false)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, orderFile)); err != nil {
		return errors.Join(fmt.Errorf("order: %w", err), os.Remove(tmp))
	}
	return nil
}

func readOrder(dir string) (order, error) {
	var o order
	if err := readRecord(dir, orderFile, &o); err != nil {
		return order{}, err
	}
	return o, o.Command.validate()
}
