package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"quell"
)

// What a job has on its node's disk: a folder for each of its runs, which stay
// with their logs, and while it is not final a temp folder.

// runsOf lists a job's runs on this node in the order in which they ran.
func runsOf(dataDir, job string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(RunsDir(dataDir), job))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var runs []string
	for _, e := range entries {
		if e.IsDir() {
			runs = append(runs, e.Name())
		}
	}
	// playbook-10 comes after playbook-9, recovery after all of them.
	slices.SortFunc(runs, func(x, y string) int {
		xk, _, _ := strings.Cut(x, "-")
		yk, _, _ := strings.Cut(y, "-")
		if xk != yk {
			return strings.Compare(xk, yk)
		}
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		return strings.Compare(x, y)
	})
	return runs, nil
}

// orderFile lists a job's runs in the order in which they have their place in
// its log: a playbook's run from when it starts, and one of several on devices
// once it has ended, so that the log only grows at its end.
const orderFile = "order"

// logRuns lists the runs in a job's log.
func logRuns(dataDir, job string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(RunsDir(dataDir), job, orderFile))
	if errors.Is(err, os.ErrNotExist) {
		return runsOf(dataDir, job) // an earlier release ran it
	}
	if err != nil {
		return nil, fmt.Errorf("list the runs of the log: %w", err)
	}
	end := strings.LastIndex(string(text), "\n") // a line without an end is still being written
	if end < 0 {
		return nil, nil
	}
	return strings.Split(string(text[:end]), "\n"), nil
}

// listInLog gives a run its place in the job's log. It may be repeated.
func (r *runner) listInLog(ref quell.RunRef) {
	path := filepath.Join(RunsDir(r.o.DataDir), r.id, orderFile)
	listed, err := os.ReadFile(path)
	if slices.Contains(strings.Split(string(listed), "\n"), ref.Name()) {
		return
	}
	var text strings.Builder
	switch {
	case errors.Is(err, os.ErrNotExist): // the runs that an earlier release has made go first
		before, _ := runsOf(r.o.DataDir, r.id) // without the folder nothing can be written either
		for _, name := range before {
			if name == ref.Name() {
				break
			}
			if strings.Count(name, "-") == 1 { // it knew no other
				text.WriteString(name + "\n")
			}
		}
	case len(listed) > 0 && listed[len(listed)-1] != '\n': // a crash has cut a line
		text.WriteString("\n")
	}
	text.WriteString(ref.Name() + "\n")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text.String())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		r.log.Error("a run has no place in the job's log", "run", ref.Name(), "error", err)
	}
}

func (r *runner) runDir(ref quell.RunRef) string { return r.o.Processes.Dir(r.id, ref.Name()) }

// mark makes the run's folder. It is made before the begin is stored: a run
// that was begun and has no folder here was begun on another disk, where it
// may have been started.
func (r *runner) mark(ref quell.RunRef) error {
	dir := r.runDir(ref)
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return makeDir(dir)
}

// marked says whether the run was begun by an agent on this disk.
func (r *runner) marked(ref quell.RunRef) bool {
	_, err := os.Stat(r.runDir(ref))
	return err == nil
}

// makeDir makes a folder whose name outlasts a power cut.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return fmt.Errorf("make the run's folder: %w", err)
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// tempDir is the job's own temp folder.
func (r *runner) tempDir() string { return filepath.Join(r.o.TempDir, "quell-"+r.id) }

func (r *runner) varsFile(ref quell.RunRef) string {
	return filepath.Join(r.tempDir(), "vars-"+ref.Name()+".json")
}

func (r *runner) hasTempDir() bool {
	_, err := os.Lstat(r.tempDir())
	return err == nil
}

// makeTempDir makes the job's temp folder. Its name is no secret, so one that
// somebody else has put there is refused.
func (r *runner) makeTempDir() error {
	dir := r.tempDir()
	err := os.Mkdir(dir, 0o700)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if mine, err := ownPrivateFolder(dir); err != nil || !mine {
		return fmt.Errorf("the temp folder %s is not a private folder of this agent's user: remove it: %w", dir, errors.Join(err, os.ErrPermission))
	}
	return nil
}

// ownPrivateFolder says whether path is a folder of this user's that nobody
// else can look into.
func ownPrivateFolder(path string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && info.Mode().Perm() == 0o700 && int(stat.Uid) == os.Geteuid(), nil
}

// cleanUp removes what the job needs no longer. What a killed playbook leaves
// in its temp folder may hold secrets. The temp folder goes last: as long as
// it is there, the next agent knows that this was not done (see sweep).
func (r *runner) cleanUp() {
	if err := errors.Join(r.o.Processes.Remove(r.id), os.RemoveAll(r.tempDir())); err != nil {
		r.log.Error("what the job had for itself on this node could not be removed", "error", err)
	}
}
