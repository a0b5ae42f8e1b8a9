package process

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotClaimed means that nobody has started the run, and that it can still be
// started or sealed.
var ErrNotClaimed = errors.New("run is not claimed")

// ErrUnfinished means that a run of the job has no exit record yet.
var ErrUnfinished = errors.New("run is not finished")

// Options configures a Supervisor.
type Options struct {
	// Root holds the folders of the runs, as <Root>/<job>/<run>.
	Root string
	// Shim is the path of quell-shim. Only Start needs it.
	Shim string
	// NoCgroup makes all runs use the fallback, a child subreaper alone.
	NoCgroup bool
	// Logger may be nil: then nothing is logged.
	Logger *slog.Logger
}

// Supervisor starts and adopts runs. Several may share a root, also in several
// processes: each run is claimed by one shim only, and anybody may watch it.
type Supervisor struct {
	root   string
	shim   string
	cgroup string // below which runs get theirs; empty means the fallback
	log    *slog.Logger

	mu       sync.Mutex
	closed   bool
	children map[*child]struct{}
	waiting  sync.WaitGroup
}

// New returns a supervisor of the runs below a root, which it makes. It is to
// be closed after the last of its runs.
func New(o Options) (*Supervisor, error) {
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("root of runs: %w", err)
	}
	if err := os.MkdirAll(root, folderMode); err != nil {
		return nil, fmt.Errorf("root of runs: %w", err)
	}
	s := &Supervisor{root: root, log: o.Logger, children: make(map[*child]struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.Shim != "" {
		if s.shim, err = filepath.Abs(o.Shim); err != nil {
			return nil, fmt.Errorf("shim: %w", err)
		}
	}
	if !o.NoCgroup {
		if s.cgroup, err = findCgroup(); err != nil {
			s.log.Warn("cgroup v2 cannot be used; runs are killed by their child subreaper", "error", err)
		}
	}
	return s, nil
}

// Close stops waiting for the shims that were started here. They live on.
func (s *Supervisor) Close() {
	s.mu.Lock()
	s.closed = true
	for c := range s.children {
		c.abandon()
	}
	s.mu.Unlock()
	s.waiting.Wait()
}

// Dir is the folder of a run.
func (s *Supervisor) Dir(job, run string) string { return filepath.Join(s.root, job, run) }

// LogPath is where a run's stdout and stderr are.
func (s *Supervisor) LogPath(job, run string) string {
	return filepath.Join(s.Dir(job, run), logFile)
}

// EventsPath is where what a run wrote to its fd 3 is.
func (s *Supervisor) EventsPath(job, run string) string {
	return filepath.Join(s.Dir(job, run), eventsFile)
}

// Start starts a run, and returns as soon as its shim has been spawned. A run
// that is claimed already is not started again but adopted.
func (s *Supervisor) Start(job, run string, c Command) (*Run, error) {
	id := ID{job, run}
	if s.shim == "" {
		return nil, fmt.Errorf("start run %s: no shim", id)
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("start run %s: %w", id, err)
	}
	switch r, err := s.Adopt(job, run); {
	case err == nil:
		return r, nil
	case !errors.Is(err, ErrNotClaimed):
		return nil, err
	}
	dir, err := s.makeRunDir(id)
	if err != nil {
		return nil, fmt.Errorf("start run %s: %w", id, err)
	}
	cgroup := ""
	if s.cgroup != "" {
		cgroup = filepath.Join(s.jobCgroup(job), run)
	}
	if err := newOrder(id, dir, cgroup, c).write(dir); err != nil {
		return nil, fmt.Errorf("start run %s: %w", id, err)
	}
	shim, conn, err := s.spawn(dir)
	if err != nil {
		return nil, fmt.Errorf("start run %s: %w", id, err)
	}
	return s.watch(id, shim, conn), nil
}

// Adopt takes over a run that has been claimed, by whomever: one that is alive
// under its shim, one that has ended meanwhile, and one whose shim is dead. The
// last is killed. It fails with ErrNotClaimed if there is no such run.
func (s *Supervisor) Adopt(job, run string) (*Run, error) {
	id := ID{job, run}
	if err := id.validate(); err != nil {
		return nil, fmt.Errorf("adopt run: %w", err)
	}
	dir := s.Dir(job, run)
	exit, err := readExit(dir)
	if err == nil {
		return s.finished(id, exit), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("adopt run %s: %w", id, err)
	}
	if _, err = readClaim(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("adopt run %s: %w", id, ErrNotClaimed)
	}
	if err != nil {
		return nil, fmt.Errorf("adopt run %s: %w", id, err)
	}
	return s.watch(id, nil, nil), nil
}

// Seal claims a run so that no shim, however late, can start it. It reports
// false when the run is claimed already: then there is something to adopt.
func (s *Supervisor) Seal(job, run string) (claimed bool, err error) {
	id := ID{job, run}
	if err := id.validate(); err != nil {
		return false, fmt.Errorf("seal run: %w", err)
	}
	dir, err := s.makeRunDir(id)
	if err != nil {
		return false, fmt.Errorf("seal run %s: %w", id, err)
	}
	claimed, err = seal(dir)
	if err != nil || !claimed {
		return claimed, wrap(err, "seal run %s", id)
	}
	_, err = settle(dir, id, neverStarted(nil, ""))
	return true, wrap(err, "seal run %s", id)
}

// seal claims the run in a folder for nobody.
func seal(dir string) (bool, error) {
	me, err := self()
	if err != nil {
		return false, err
	}
	err = writeOnce(dir, claimFile, claim{Version: recordVersion, Identity: me, Sealed: true})
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// neverStarted is the exit of a run that is sealed.
func neverStarted(kill *Kill, problem string) Exit {
	return Exit{
		ExitCode: -1, NeverStarted: true, Kill: kill, Error: problem,
		Proof: ProofNeverStarted, DeadAt: time.Now(),
	}
}

// settle writes the exit record of a run that no shim will write, and returns
// the one that stands: somebody else may have been quicker.
func settle(dir string, id ID, e Exit) (Exit, error) {
	e.Version, e.Job, e.Run = recordVersion, id.Job, id.Run
	if c, err := readClaim(dir); err == nil {
		e.Shim, e.Cgroup = c.Identity, c.Cgroup
	}
	err := writeOnce(dir, exitFile, e)
	if errors.Is(err, fs.ErrExist) {
		return readExit(dir)
	}
	return e, err
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

func (s *Supervisor) makeRunDir(id ID) (string, error) {
	if err := id.validate(); err != nil {
		return "", err
	}
	dir := s.Dir(id.Job, id.Run)
	if err := makeDir(filepath.Dir(dir)); err != nil {
		return "", err
	}
	return dir, makeDir(dir)
}

func (s *Supervisor) jobCgroup(job string) string {
	return filepath.Join(s.cgroup, cgroupPrefix+job)
}

// Unfinished lists the runs below the root that are claimed and have no exit
// record: what a restarted agent, or one that looks for strays, has to adopt.
func (s *Supervisor) Unfinished() ([]ID, error) { return s.unfinished("*") }

// unfinished is Unfinished for the jobs that match a pattern.
func (s *Supervisor) unfinished(job string) ([]ID, error) {
	claims, err := filepath.Glob(filepath.Join(escapeGlob(s.root), job, "*", claimFile))
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var ids []ID
	for _, path := range claims {
		dir := filepath.Dir(path)
		if _, err := os.Lstat(filepath.Join(dir, exitFile)); errors.Is(err, fs.ErrNotExist) {
			ids = append(ids, ID{Job: filepath.Base(filepath.Dir(dir)), Run: filepath.Base(dir)})
		} else if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
	}
	return ids, nil
}

func escapeGlob(path string) string {
	var escaped []rune
	for _, r := range path {
		switch r {
		case '*', '?', '[', '\\':
			escaped = append(escaped, '\\')
		}
		escaped = append(escaped, r)
	}
	return string(escaped)
}

// Remove removes what a job's runs, all of them finished, still have in the
// cgroup tree: the cgroup of the job itself. Their folders stay.
func (s *Supervisor) Remove(job string) error {
	if err := s.checkFinished(job); err != nil {
		return fmt.Errorf("remove job's cgroup: %w", err)
	}
	dirs := make(map[string]bool)
	if s.cgroup != "" {
		dirs[s.jobCgroup(job)] = true
	}
	// An earlier agent may have been in another cgroup; the claims tell.
	claims, err := filepath.Glob(filepath.Join(escapeGlob(filepath.Join(s.root, job)), "*", claimFile))
	if err != nil {
		return fmt.Errorf("remove job %s's cgroup: %w", job, err)
	}
	for _, path := range claims {
		if c, err := readClaim(filepath.Dir(path)); err == nil && c.Cgroup != "" {
			dirs[filepath.Dir(c.Cgroup)] = true
		}
	}
	for dir := range dirs {
		if rerr := unix.Rmdir(dir); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", dir, rerr))
		}
	}
	return err
}

// RemoveFiles deletes the folders of a job's runs, all of them finished, with
// their logs and records. The runs can be started again afterwards.
func (s *Supervisor) RemoveFiles(job string) error {
	if err := s.checkFinished(job); err != nil {
		return fmt.Errorf("remove job's folder: %w", err)
	}
	if err := os.RemoveAll(filepath.Join(s.root, job)); err != nil {
		return fmt.Errorf("remove job's folder: %w", err)
	}
	return nil
}

func (s *Supervisor) checkFinished(job string) error {
	if err := validateName("job", job); err != nil {
		return err
	}
	ids, err := s.unfinished(escapeGlob(job))
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		return fmt.Errorf("%s: %w", ids[0], ErrUnfinished)
	}
	return nil
}
