package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// retryWait is how long a kill may take before it is made again; it doubles
	// up to longWait. It matters only to kills that do not work at once.
	retryWait = 5 * time.Millisecond
	// huntWait is the same between the passes of a hunt, which usually need more
	// than one.
	huntWait = time.Millisecond
	// survivorsAfter is when a kill that is not done becomes worth telling.
	survivorsAfter = time.Second
)

// tree is what a shim has started: one command and all that descends from it.
type tree struct {
	pid   int
	pidfd int // pins pid; -1 on kernels that have none
	cg    *cgroup
	// inside: the command was seen inside cg, so that emptiness proves something.
	inside bool
	hunt   *hunt

	// ended is closed when the command itself has ended and what died with it is
	// reaped; end says how. reaped is closed when wait4 says ECHILD.
	ended, reaped chan struct{}
	end           ending
}

// ending is how the command itself ended.
type ending struct {
	status syscall.WaitStatus
	at     time.Time
}

// startTree starts the command, in cg if that is not nil and can be used. The
// calling process must be a child subreaper and have no other children. A tree
// has to be reaped by calling reap.
func startTree(c Command, files []uintptr, cg *cgroup) (*tree, error) {
	t := &tree{
		pidfd: -1, hunt: descendants(proc),
		ended: make(chan struct{}), reaped: make(chan struct{}),
	}
	err := errors.ErrUnsupported
	if cg != nil {
		if err = t.exec(c, files, cg); err == nil {
			t.cg = cg
			t.inside = cg.has(t.pid) || t.mainDead() // the dead are no longer shown
			return t, nil
		}
		// Either the cgroup or the command is at fault, and the error does not
		// tell which: what works without the cgroup blames the cgroup.
		if rerr := cg.remove(); rerr != nil {
			return nil, errors.Join(err, rerr)
		}
		cg.close()
	}
	if ferr := t.exec(c, files, nil); ferr != nil {
		return nil, fmt.Errorf("exec %s: %w", c.Args[0], ferr)
	}
	if cg != nil {
		complain(fmt.Errorf("cgroup %s cannot be used: %w", cg.dir, err))
	}
	return t, nil
}

func (t *tree) exec(c Command, files []uintptr, cg *cgroup) error {
	attr := &syscall.ProcAttr{
		Dir: c.Dir, Env: c.Env, Files: files,
		Sys: &syscall.SysProcAttr{Setsid: true, PidFD: &t.pidfd},
	}
	if cg != nil {
		dir, err := os.Open(cg.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		// Born inside: no descendant can ever have been outside.
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(dir.Fd())
	}
	pid, err := syscall.ForkExec(c.Args[0], c.Args, attr)
	t.pid = pid
	return err
}

// mainDead reports whether the command itself has ended, without reaping it.
func (t *tree) mainDead() bool {
	if isClosed(t.ended) {
		return true
	}
	if t.pidfd >= 0 {
		var info unix.Siginfo
		_, err := ignoringEINTR(func() (int, error) {
			return 0, unix.Waitid(unix.P_PIDFD, t.pidfd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		})
		if err == nil || errors.Is(err, unix.ECHILD) {
			return err != nil || info.Signo != 0
		}
		// Linux before 5.4 has pidfds, but does not wait for them.
	}
	st, err := proc.stat(t.pid)
	return err != nil || st.dead()
}

// reap waits for everything there is to wait for, until wait4 says ECHILD. A
// process whose parent dies becomes this process's child before its parent can
// be reaped, so having no children means having no descendants.
func (t *tree) reap() {
	defer close(t.reaped)
	main, flags := t.pid, unix.WALL
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, flags, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil: // ECHILD
			if !isClosed(t.ended) {
				close(t.ended)
			}
			return
		case pid == 0: // what is left lives
			close(t.ended)
			flags &^= unix.WNOHANG
		case pid == main && (status.Exited() || status.Signaled()):
			t.end = ending{status: status, at: time.Now()}
			main = 0 // another process may get the pid from now on
			// What died with it is reaped first, so that whoever hears of the end
			// can tell whether anything is left.
			flags |= unix.WNOHANG
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// strike is the first blow: the command itself goes first, so that it cannot
// react to the death of its children with an exit of its own.
func (t *tree) strike() error {
	var err error
	if t.pidfd >= 0 {
		if err = unix.PidfdSendSignal(t.pidfd, unix.SIGKILL, nil, 0); err != nil {
			err = fmt.Errorf("kill the command: %w", err)
		}
	}
	if t.cg != nil {
		err = errors.Join(err, t.cg.kill())
	}
	return err
}

// leftovers lists what lives after the command has ended by itself.
func (t *tree) leftovers() []procStat {
	var left []procStat
	if t.cg != nil {
		left = t.cg.members()
	}
	if len(left) == 0 && !isClosed(t.reaped) {
		var err error
		left, _, err = t.hunt.pass()
		complain(err)
	}
	return left
}

// finish kills until it is proved that nothing of the tree is alive, however
// long that takes. struck says that the first blow has fallen. found hears of
// the processes that had to be hunted, and survivors of those that a kill has
// not ended for a while.
func (t *tree) finish(struck bool, found func([]procStat), survivors func([]Process)) Proof {
	watch := &vigil{begin: time.Now(), tell: survivors, complain: complain}
	t.killAll(struck, found, watch)
	proof := ProofReaped
	if t.cg != nil {
		// Its last members may be exiting still, or never have been descendants.
		buryCgroup(t.cg, watch, func(d time.Duration) bool { time.Sleep(d); return true })
		if t.inside {
			proof = ProofCgroup
		}
	}
	watch.over()
	return proof
}

// killAll kills until wait4 says ECHILD.
func (t *tree) killAll(struck bool, found func([]procStat), watch *vigil) {
	for wait := huntWait; !isClosed(t.reaped); wait = min(2*wait, longWait) {
		if t.cg != nil && !struck {
			complain(t.cg.kill())
		}
		struck = false // if that was not enough, all is done again
		var hunted []procStat
		if t.mustHunt() {
			var fresh int
			var err error
			hunted, fresh, err = t.hunt.pass()
			complain(err)
			found(hunted)
			if fresh > 0 {
				wait = huntWait
			}
		}
		if watch.due() {
			if t.cg != nil {
				hunted = append(hunted, t.cg.members()...)
			}
			watch.look(hunted)
		}
		t.waitReaped(watch.until(wait))
	}
}

// mustHunt reports whether there may be processes that no cgroup holds. A
// member that has moved itself out shows as a child although the cgroup is
// empty.
func (t *tree) mustHunt() bool {
	if t.cg == nil || !t.inside {
		return true
	}
	return !t.waitReaped(retryWait) && !t.cg.populated()
}

// waitReaped waits for ECHILD for at most d.
func (t *tree) waitReaped(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-t.reaped:
		return true
	case <-timer.C:
		return isClosed(t.reaped)
	}
}

// buryCgroup kills and removes a cgroup. It gives up only when pause does.
func buryCgroup(cg *cgroup, watch *vigil, pause func(time.Duration) bool) bool {
	defer cg.close()
	last := ""
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := cg.remove()
		if err == nil {
			return true
		}
		if !errors.Is(err, unix.EBUSY) && err.Error() != last {
			watch.complain(err)
			last = err.Error()
		}
		if wait > retryWait && cg.populated() {
			watch.complain(cg.kill())
		}
		if watch.due() {
			watch.look(cg.members())
		}
		if !pause(watch.until(wait)) {
			return false
		}
	}
}

// vigil tells what a kill has not ended for a while, and when that changes.
type vigil struct {
	begin    time.Time
	tell     func([]Process)
	told     []Process
	complain func(error) // nil errors too
}

func (v *vigil) due() bool { return time.Since(v.begin) >= survivorsAfter }

// look takes what is alive, once it is due.
func (v *vigil) look(alive []procStat) {
	now := make([]Process, 0, min(len(alive), maxLeftovers))
	for _, st := range alive[:min(len(alive), maxLeftovers)] {
		if st.comm == "" {
			continue
		}
		now = append(now, st.process())
	}
	if !slices.Equal(now, v.told) {
		v.told = now
		v.tell(now)
	}
}

// until shortens a wait that would reach beyond the moment of telling.
func (v *vigil) until(wait time.Duration) time.Duration {
	if left := survivorsAfter - time.Since(v.begin); left > 0 {
		return min(wait, left)
	}
	return wait
}

// over takes back what was told.
func (v *vigil) over() {
	if len(v.told) > 0 {
		v.tell(nil)
	}
}
