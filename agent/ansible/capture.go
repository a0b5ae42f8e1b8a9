package ansible

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// maxStderr is how much of the end of a command's standard error is kept.
const maxStderr = 8 << 10

// pipeDelay bounds the wait for a command's pipes to end after the command itself has.
const pipeDelay = 2 * time.Second

// capture runs a command in a process group of its own and returns what it wrote, of its standard error the end. When ctx
// ends, or when there is more than limit bytes of output, the group is killed; what is left of it when the command has
// ended is killed as well. It returns when the command has been waited for.
func capture(ctx context.Context, cmd *exec.Cmd, limit int) (stdout, stderr []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	tooMuch := fmt.Errorf("%s answered more than %d bytes", filepath.Base(cmd.Path), limit)
	out := &bounded{limit: limit, over: func() { cancel(tooMuch) }}
	said := &tail{}
	cmd.Stdout, cmd.Stderr = out, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = pipeDelay
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	kill := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	killed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(killed)
		kill()
	})
	waitErr := awaitExit(cmd.Process.Pid)
	if !stop() {
		<-killed
	}
	// The command has not been reaped, so the group's id is still its own.
	if waitErr == nil {
		kill()
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // It ended well; somebody that left the group holds a pipe.
	}
	switch {
	case out.full:
		err = tooMuch
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return out.data.Bytes(), said.data, err
}

// awaitExit returns when a child has ended, and leaves it to be reaped.
func awaitExit(pid int) error {
	const byPID = 1
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, byPID, uintptr(pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno == 0 {
			return nil
		}
		if errno != syscall.EINTR {
			return errno
		}
	}
}

// bounded keeps what is written to it up to a limit, calls over beyond that, and never fails.
type bounded struct {
	data  bytes.Buffer // not embedded: io.Copy would find its ReadFrom, which knows no limit
	limit int
	full  bool
	over  func()
}

func (b *bounded) Write(data []byte) (int, error) {
	if b.full || b.data.Len()+len(data) > b.limit {
		b.full = true
		b.over()
		return len(data), nil
	}
	return b.data.Write(data)
}

// tail keeps the end of what is written to it.
type tail struct {
	data []byte
}

func (t *tail) Write(data []byte) (int, error) {
	t.data = append(t.data, data...)
	if excess := len(t.data) - maxStderr; excess > 0 {
		t.data = append(t.data[:0], t.data[excess:]...)
	}
	return len(data), nil
}
