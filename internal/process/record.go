package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// recordVersion is that of the files in a run's folder, which a later version
// of the supervisor finds when it adopts.
const recordVersion = 1

// maxLeftovers is how many leftovers a record lists; it counts them all.
const maxLeftovers = 16

// Process is one process as records and survivors name it: never with its
// command line, which may hold secrets.
type Process struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
	// State is the letter of /proc/<pid>/stat, for survivors.
	State string `json:"state,omitempty"`
}

// Proof says how it is known that nothing of a run's tree is alive.
type Proof string

const (
	// ProofCgroup means that wait4 said ECHILD (or the shim is dead and can start nothing
	// more), and the run's cgroup was empty and its removal succeeded.
	ProofCgroup Proof = "cgroup"
	// ProofReaped means that wait4 said ECHILD to the child subreaper of the tree.
	ProofReaped Proof = "reaped"
	// ProofNeverStarted means that nothing was started, and the claim bars every later start.
	ProofNeverStarted Proof = "never_started"
	// ProofRebooted means that the node has been booted since.
	ProofRebooted Proof = "rebooted"
	// Unproven means that the shim died and the run had no cgroup. What carried the run's
	// environment variable was killed; what had dropped it was not found.
	Unproven Proof = "unproven"
)

// Kill is a request to kill a run. The first one of a run stands.
type Kill struct {
	Cause       string    `json:"cause"`
	RequestedAt time.Time `json:"requested_at"`
	// SignalledAt is zero when there was nothing to signal: not started yet, or
	// ended already.
	SignalledAt time.Time `json:"signalled_at,omitzero"`
}

// Exit is how a run ended.
type Exit struct {
	Version int    `json:"version"`
	Job     string `json:"job"`
	Run     string `json:"run"`
	// Shim and Cgroup are those of the claim.
	Shim   Identity `json:"shim"`
	Cgroup string   `json:"cgroup,omitempty"`

	// PID is the command's process; zero when never started or not known.
	PID       int       `json:"pid,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	// EndedAt is when the command itself had ended, DeadAt when all of its tree
	// was proved dead.
	EndedAt time.Time `json:"ended_at,omitzero"`
	DeadAt  time.Time `json:"dead_at,omitzero"`
	// ExitCode is -1 unless the command ended by exiting.
	ExitCode int `json:"exit_code"`
	// Signal is what ended the command otherwise, such as KILL.
	Signal string `json:"signal,omitempty"`
	// NeverStarted means that the command has not run and never will.
	NeverStarted bool `json:"never_started,omitempty"`

	Kill *Kill `json:"kill,omitempty"`
	// Killed means that the command was alive when the kill was made and died of
	// it. A run that ended by itself just before is not killed.
	Killed bool `json:"killed,omitempty"`

	// Leftovers is what the command had left behind when it ended by itself.
	Leftovers     []Process `json:"leftovers,omitempty"`
	LeftoverCount int       `json:"leftover_count,omitempty"`

	Proof Proof `json:"proof"`
	// Error is why the run has no proper end: exec failed, the shim died.
	Error string `json:"error,omitempty"`
	// OutputError is why the log or the events are not complete.
	OutputError string `json:"output_error,omitempty"`
}

// Proven reports whether it is certain that nothing of the tree is alive.
func (e Exit) Proven() bool { return e.Proof != Unproven && e.Proof != "" }

// claim says who alone may start a run. It is what an adopter goes by.
type claim struct {
	Version int `json:"version"`
	Identity
	// Cgroup is the run's cgroup, made by the claimant; empty in the fallback.
	Cgroup string `json:"cgroup,omitempty"`
	// Sealed: claimed so that no shim may ever start it.
	Sealed bool `json:"sealed,omitempty"`
}

func readClaim(dir string) (claim, error) {
	var c claim
	err := readRecord(dir, claimFile, &c)
	return c, err
}

func readExit(dir string) (Exit, error) {
	var e Exit
	err := readRecord(dir, exitFile, &e)
	return e, err
}

func readRecord(dir, name string, v any) error {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err // names the path
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeOnce makes a record that appears whole, is on the disk when writeOnce
// returns, and is never replaced: of two writers the second one gets
// fs.ErrExist. Both guarantees of a claim, and of an exit record that a dying
// shim and its adopter may write at the same time, rest on link(2).
func writeOnce(dir, name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	tmp, err := writeTemp(dir, name, append(data, '\n'), true)
	if err != nil {
		return err
	}
	if err := os.Link(tmp, filepath.Join(dir, name)); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return errors.Join(os.Remove(tmp), syncDir(dir))
}

// writeTemp writes data to a new file beside the one called name.
func writeTemp(dir, name string, data []byte, durable bool) (path string, err error) {
	f, err := os.CreateTemp(dir, "."+name+".*") // 0600
	if err != nil {
		return "", err // names the path
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// makeDir makes a folder and puts its name on the disk: a claim that vanished
// with its folder in a power cut would let a run start twice.
func makeDir(dir string) error {
	switch err := os.Mkdir(dir, folderMode); {
	case errors.Is(err, os.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(dir))
}
