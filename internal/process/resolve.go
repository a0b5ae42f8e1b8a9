package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The wait between looks at a run that can be neither reached nor settled yet:
// a shim that has claimed but does not listen yet, or is just ending.
const (
	firstLook = time.Millisecond
	lastLook  = 500 * time.Millisecond
)

// quietPasses is how many passes of a hunt by environment must find nothing,
// one after the other.
const quietPasses = 2

// resolve finds out, from what lies in the run's folder, what became of a run
// to which there is no connection. It returns a new connection, or how the run
// ended, or neither when the Run is closed.
func (r *Run) resolve() (*os.File, *Exit) {
	last := ""
	for wait := firstLook; r.ctx.Err() == nil; wait = min(2*wait, lastLook) {
		conn, exit, err := r.look()
		if conn != nil || exit != nil {
			return conn, exit
		}
		if err != nil && err.Error() != last {
			r.log.Debug("run cannot be reached yet", "error", err)
			last = err.Error()
		}
		r.pause(wait)
	}
	return nil, nil
}

// pause waits, and reports false when the Run has been closed.
func (r *Run) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.ctx.Done():
		return false
	}
}

// look is one attempt of resolve. Its order matters: a shim writes its exit
// record before it dies, so the record is looked for after the shim is known
// to be dead, and only then is the run taken for one that has none.
func (r *Run) look() (*os.File, *Exit, error) {
	if exit, err := readExit(r.dir); err == nil {
		return nil, &exit, nil
	}
	c, err := readClaim(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r.unclaimed(), nil
	}
	if err != nil {
		return nil, nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, nil, err
	}
	rebooted := c.Boot != boot
	if !c.Sealed && !rebooted && c.alive() {
		conn, err := dialSocket(r.dir)
		if err != nil {
			return nil, nil, err
		}
		r.connect(conn)
		return conn, nil, nil
	}
	exit, err := readExit(r.dir)
	switch {
	case err == nil:
		return nil, &exit, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, nil, err
	case c.Sealed:
		exit = neverStarted(r.asked(), "")
	case rebooted:
		exit = Exit{ExitCode: -1, Kill: r.asked(), Proof: ProofRebooted, Error: "node was restarted while the run was going on", DeadAt: time.Now()}
	default:
		proof, done := r.bury(c)
		if !done {
			return nil, nil, r.ctx.Err()
		}
		exit = Exit{ExitCode: -1, Kill: r.asked(), Proof: proof, Error: "shim died while the run was going on", DeadAt: time.Now()}
	}
	return nil, r.settle(exit), nil
}

// unclaimed deals with a shim, started here, that has gone or is going without
// a claim. To be sure that none comes later the run is sealed.
func (r *Run) unclaimed() *Exit {
	if r.shim == nil {
		return nil // the folder has been removed
	}
	select {
	case <-r.shim.ended:
	case <-r.ctx.Done():
		return nil
	}
	claimed, err := seal(r.dir)
	if err == nil && !claimed {
		return nil // after all: look again
	}
	problem := "shim ended with " + describe(r.shim) + " and claimed nothing"
	if text := r.shimComplaint(); text != "" {
		problem += ": " + text
	}
	if err != nil {
		// Nothing was started, but a late shim could be: nobody else spawns one
		// for a run that somebody watches.
		problem += fmt.Sprintf("; the run cannot be sealed: %v", err)
	}
	return r.settle(neverStarted(r.asked(), problem))
}

func describe(c *child) string {
	if c.status.Signaled() {
		return "SIG" + signalName(c.status.Signal())
	}
	return fmt.Sprintf("exit code %d", c.status.ExitStatus())
}

// shimComplaint is the last line that the shim has written to its stderr.
func (r *Run) shimComplaint() string {
	data, err := os.ReadFile(filepath.Join(r.dir, shimLog))
	if err != nil {
		return ""
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(lines[len(lines)-1])
}

// asked is the kill that was asked for here.
func (r *Run) asked() *Kill {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kill
}

// settle writes the exit record. The run is over whether or not that works.
func (r *Run) settle(e Exit) *Exit {
	stands, err := settle(r.dir, r.id, e)
	if err != nil {
		r.log.Error("exit record cannot be written", "error", err)
		return &e
	}
	return &stands
}

// bury kills what a dead shim has left of its tree: the members of the cgroup,
// and whatever carries the run's environment variable. It reports false when
// the Run was closed before that was done.
func (r *Run) bury(c claim) (Proof, bool) {
	r.log.Warn("shim is dead; killing what is left of its run", "shim", c.PID)
	watch := &vigil{begin: time.Now(), tell: r.survive, complain: func(err error) {
		if err != nil {
			r.log.Error("run of a dead shim", "error", err)
		}
	}}
	proof := Unproven
	if c.Cgroup != "" {
		switch cg, err := openCgroup(c.Cgroup); {
		case err == nil:
			watch.complain(cg.kill())
			if !buryCgroup(cg, watch, r.pause) {
				return "", false
			}
			proof = ProofCgroup
		case !errors.Is(err, fs.ErrNotExist):
			watch.complain(err)
		}
	}
	hunt := marked(proc, runVariable+"="+r.id.String(), c.Start)
	quiet := 0
	for wait := huntWait; ; wait = min(2*wait, longWait) {
		found, fresh, err := hunt.pass()
		watch.complain(err)
		quiet++
		if len(found) > 0 || err != nil {
			quiet = 0
		}
		if quiet == quietPasses {
			return proof, true
		}
		if fresh > 0 {
			wait = huntWait
		}
		if watch.due() {
			watch.look(found)
		}
		if !r.pause(watch.until(wait)) {
			return "", false
		}
	}
}
