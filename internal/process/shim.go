package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrClaimed means that the run belongs to somebody else already.
var ErrClaimed = errors.New("run is claimed already")

// exitClaimed is the shim's exit code for ErrClaimed.
const exitClaimed = 75

// ShimExitCode is the exit code for what RunShim returned.
func ShimExitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrClaimed):
		return exitClaimed
	default:
		return 1
	}
}

// ShimOptions is what a shim is told on its command line.
type ShimOptions struct {
	// Dir is the folder of the run.
	Dir string
	// ParentFD is an inherited socket to the process that started the shim; zero
	// means that there is none.
	ParentFD int
}

// shim is the state of RunShim.
type shim struct {
	dir    string
	order  order
	claim  claim
	server *server

	// mu makes start and kill exclude each other: a kill either comes first, and
	// then nothing is ever started, or finds a tree that it can kill.
	mu   sync.Mutex
	tree *tree
	kill *Kill
	// struck: the command was alive when the kill was made.
	struck bool
	// killed is closed by the first kill.
	killed chan struct{}

	log, events *output
	exit        Exit         // of the main goroutine alone
	left        map[int]bool // the pids of leftovers
}

// RunShim claims the run in a folder, starts its command, and stays until all
// of its tree is dead and the exit record is written. It makes the whole
// process its own: child subreaper, signals, wait4(-1). SIGTERM, SIGINT and
// SIGHUP do not end it: only the end of its tree does.
func RunShim(o ShimOptions) error {
	deafen()
	keepFromCommand(o.ParentFD)
	s := &shim{killed: make(chan struct{}), left: make(map[int]bool)}
	s.server = newServer(s.requestKill)
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("run's folder: %w", err)
	}
	s.dir = dir
	cg, err := s.claimRun()
	if err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		s.never(cg, err)
	} else {
		s.start(o.ParentFD, cg)
	}
	if o.ParentFD > 0 {
		if err := unix.SetNonblock(o.ParentFD, true); err != nil {
			complain(fmt.Errorf("parent's socket: %w", err))
		}
		s.server.attach(os.NewFile(uintptr(o.ParentFD), "parent"))
	}
	s.undertake()
	s.record()
	s.server.close()
	_ = os.Remove(filepath.Join(s.dir, socketFile)) // stale ones do no harm
	return nil
}

// deafen makes the process survive what is meant to end the agent. The signals
// are caught, not ignored: ignored ones would stay ignored in the command, as
// SIGINT would when the agent was started by nohup or in the background.
func deafen() {
	signal.Notify(make(chan os.Signal, 1),
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGPIPE, unix.SIGALRM,
		unix.SIGUSR1, unix.SIGUSR2, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
}

// keepFromCommand keeps inherited descriptors from the command: the parent's
// socket, and what others may have left open in the agent.
func keepFromCommand(parent int) {
	err := unix.CloseRange(uint(shimFD), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err != nil && parent > 0 { // before Linux 5.11
		unix.CloseOnExec(parent)
	}
}

// claimRun reads the order and claims the run. The cgroup is made first, so
// that a claim never names one that is somebody else's.
func (s *shim) claimRun() (*cgroup, error) {
	var err error
	if s.order, err = readOrder(s.dir); err != nil {
		if _, cerr := os.Stat(filepath.Join(s.dir, claimFile)); cerr == nil {
			return nil, ErrClaimed // and its owner has removed the order
		}
		return nil, fmt.Errorf("order: %w", err)
	}
	me, err := self()
	if err != nil {
		return nil, err
	}
	var cg *cgroup
	s.claim = claim{Version: recordVersion, Identity: me}
	if s.order.Cgroup != "" {
		if cg, err = makeCgroup(s.order.Cgroup); err != nil {
			complain(fmt.Errorf("cgroup cannot be used: %w", err))
		} else {
			s.claim.Cgroup = cg.dir
		}
	}
	if err := writeOnce(s.dir, claimFile, s.claim); err != nil {
		if cg != nil {
			err = errors.Join(err, cg.remove())
			cg.close()
		}
		if errors.Is(err, fs.ErrExist) {
			return nil, ErrClaimed
		}
		return nil, fmt.Errorf("claim: %w", err)
	}
	s.exit = Exit{
		Version: recordVersion, Job: s.order.Job, Run: s.order.Run,
		Shim: s.claim.Identity, Cgroup: s.claim.Cgroup, ExitCode: -1,
	}
	// It may hold what only the command should see. A crash before this leaves
	// it to be removed with the folder.
	complain(os.Remove(filepath.Join(s.dir, orderFile)))
	return cg, nil
}

// prepare makes ready all that must not fail once the command runs.
func (s *shim) prepare() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("child subreaper: %w", err)
	}
	var err error
	s.log, err = newOutput(s.dir, logFile, func(n int64) { s.server.grew(func(st *state) { st.Log = n }) })
	if err != nil {
		return err
	}
	s.events, err = newOutput(s.dir, eventsFile, func(n int64) { s.server.grew(func(st *state) { st.Events = n }) })
	if err != nil {
		return err
	}
	return s.server.listen(s.dir)
}

// start starts the command unless a kill has come first.
func (s *shim) start(parent int, cg *cgroup) {
	if cause, ok := pendingKill(parent); ok {
		s.requestKill(cause)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if isClosed(s.killed) {
		s.never(cg, nil)
		return
	}
	null, err := os.Open(os.DevNull)
	if err == nil {
		defer null.Close()
		files := []uintptr{null.Fd(), uintptr(s.log.child), uintptr(s.log.child), uintptr(s.events.child)}
		s.tree, err = startTree(s.order.Command, files, cg)
	}
	if err != nil {
		s.never(nil, err) // startTree has removed the cgroup
		return
	}
	s.exit.PID, s.exit.StartedAt = s.tree.pid, time.Now()
	go s.tree.reap() // ends by itself, at the latest with the tree
	s.log.start()
	s.events.start()
	s.server.update(func(st *state) { st.PID, st.StartedAt = s.exit.PID, s.exit.StartedAt })
}

// never gives up what had been prepared for the command.
func (s *shim) never(cg *cgroup, err error) {
	s.exit.NeverStarted = true
	if err != nil {
		s.exit.Error = err.Error()
	}
	if cg != nil {
		complain(cg.remove())
		cg.close()
	}
	for _, o := range []*output{s.log, s.events} {
		if o != nil {
			complain(o.discard())
		}
	}
}

// pendingKill looks for a kill in what the parent has sent so far, and leaves
// it there: a kill that was sent before the start must win, and the server has
// not begun to read.
func pendingKill(parent int) (cause string, ok bool) {
	if parent <= 0 {
		return "", false
	}
	buf := make([]byte, maxRequest)
	n, _, err := unix.Recvfrom(parent, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n <= 0 {
		return "", false // nothing yet, or the parent has gone
	}
	var r request
	if json.Unmarshal(buf[:n], &r) != nil || r.Op != opKill {
		return "", false
	}
	return r.Cause, true
}

// requestKill makes the first kill of the run; later ones change nothing. It
// signals at once, on the caller's goroutine; undertake does the rest.
func (s *shim) requestKill(cause string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if isClosed(s.killed) {
		return
	}
	s.kill = &Kill{Cause: cause, RequestedAt: time.Now()}
	// A command that is dead already, though not yet reaped, was not killed by
	// this, and what it left behind is being seen to.
	if s.tree != nil && !s.tree.mainDead() {
		s.struck = true
		complain(s.tree.strike())
		s.kill.SignalledAt = time.Now()
	}
	close(s.killed)
}

// undertake waits for the command's end, whichever comes about, kills what is
// left of its tree, and completes the exit.
func (s *shim) undertake() {
	if s.tree == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.exit.Kill, s.exit.Proof, s.exit.DeadAt = s.kill, ProofNeverStarted, time.Now()
		return
	}
	select {
	case <-s.tree.ended:
	case <-s.killed:
	}
	struck := s.wasStruck()
	if !struck {
		<-s.tree.ended // a kill that came too late: it is dead and about to be reaped
		s.findLeftovers(s.tree.leftovers())
	}
	s.exit.Proof = s.tree.finish(struck, s.findLeftovers, func(p []Process) {
		s.server.update(func(st *state) { st.Survivors = p })
	})
	s.exit.DeadAt = time.Now()

	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.tree.end
	s.exit.Kill, s.exit.EndedAt = s.kill, end.at
	if end.status.Signaled() {
		s.exit.Signal = signalName(end.status.Signal())
		s.exit.Killed = s.struck && end.status.Signal() == unix.SIGKILL
	} else {
		s.exit.ExitCode = end.status.ExitStatus()
	}
	if err := errors.Join(s.log.finish(), s.events.finish()); err != nil {
		s.exit.OutputError = err.Error()
	}
}

func (s *shim) wasStruck() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.struck
}

// findLeftovers records processes that were found alive after the command's
// end. Those that a kill of the living command has to end are none.
func (s *shim) findLeftovers(found []procStat) {
	if s.wasStruck() {
		return
	}
	for _, st := range found {
		if s.left[st.pid] {
			continue // of an earlier pass
		}
		s.left[st.pid] = true
		s.exit.LeftoverCount++
		if len(s.exit.Leftovers) < maxLeftovers && st.comm != "" {
			s.exit.Leftovers = append(s.exit.Leftovers, Process{PID: st.pid, Comm: st.comm})
		}
	}
}

// record writes the exit record and tells the clients. While the disk refuses
// the record, the shim stays: it is then the only one who knows.
func (s *shim) record() {
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := writeOnce(s.dir, exitFile, s.exit)
		if errors.Is(err, fs.ErrExist) {
			return // an adopter took this shim for dead
		}
		// Also where it could not be written: the clients may keep it.
		s.server.update(func(st *state) { st.Exit, st.Survivors = &s.exit, nil })
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return // written, or the folder has been removed
		}
		if wait == firstWait {
			complain(err)
		}
		time.Sleep(wait)
	}
}

// signalName is a signal's name without SIG, such as KILL.
func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); len(name) > 3 {
		return name[3:]
	}
	return strconv.Itoa(int(sig)) // a real-time signal
}
