package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// shimEnv is a shim's whole environment. What the command gets is in its order.
// Two threads are enough for a process that waits, and keep it small.
var shimEnv = []string{"GOMAXPROCS=2", "GOTRACEBACK=single"}

// shimFD is the shim's end of the socket pair.
const shimFD = 3

// pollChild is how often a shim is waited for on kernels without pidfds.
const pollChild = 100 * time.Millisecond

// child is a shim that this process has started and must wait for.
type child struct {
	pid int
	// pidfd becomes readable when the shim ends; nil on kernels that have none.
	pidfd *os.File
	// left is closed when the waiting is given up, ended when the shim has ended
	// and status says how. Either may happen, or both.
	left, ended chan struct{}
	status      syscall.WaitStatus
}

// spawn starts a shim for the run in a folder, in a session of its own.
func (s *Supervisor) spawn(dir string) (*child, *os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	stderr, err := os.OpenFile(filepath.Join(dir, shimLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, nil, err
	}
	defer stderr.Close()
	conn, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(theirs)

	pidfd := -1
	pid, err := syscall.ForkExec(s.shim, []string{s.shim, "--parent-fd=" + strconv.Itoa(shimFD), dir}, &syscall.ProcAttr{
		Dir: "/", Env: shimEnv,
		Files: []uintptr{null.Fd(), null.Fd(), stderr.Fd(), uintptr(theirs)},
		Sys:   &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd},
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("spawn shim %s: %w", s.shim, err), conn.Close())
	}
	return s.addChild(pid, pidfd), conn, nil
}

// addChild waits for a child in the background: without a thread of its own,
// unlike os.Process, and so that Close can end it.
func (s *Supervisor) addChild(pid, pidfd int) *child {
	c := &child{pid: pid, left: make(chan struct{}), ended: make(chan struct{})}
	if pidfd >= 0 && unix.SetNonblock(pidfd, true) == nil {
		c.pidfd = os.NewFile(uintptr(pidfd), "pidfd of shim")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.abandon()
	}
	s.children[c] = struct{}{}
	s.waiting.Go(func() {
		c.wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.children, c)
	})
	return c
}

// abandon ends the waiting. It is called once, under the supervisor's lock.
func (c *child) abandon() {
	close(c.left)
	if c.pidfd != nil {
		_ = c.pidfd.SetReadDeadline(time.Now()) // interrupts wait
	}
}

func (c *child) wait() {
	if c.pidfd != nil {
		defer c.pidfd.Close()
		if raw, err := c.pidfd.SyscallConn(); err == nil {
			// On an error the waiting has been given up, unless the pidfd cannot be
			// polled: then poll is the way out.
			if err := raw.Read(func(uintptr) bool { return c.reap() }); err == nil {
				return
			}
		}
	}
	ticker := time.NewTicker(pollChild)
	defer ticker.Stop()
	for !c.reap() {
		select {
		case <-c.left:
			return
		case <-ticker.C:
		}
	}
}

// reap waits for the child if it has ended.
func (c *child) reap() bool {
	pid, err := ignoringEINTR(func() (int, error) {
		return syscall.Wait4(c.pid, &c.status, syscall.WNOHANG, nil)
	})
	if err == nil && pid == 0 {
		return false
	}
	close(c.ended) // with an error, somebody else has waited for it
	return true
}
