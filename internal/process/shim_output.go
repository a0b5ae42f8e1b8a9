package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// output copies what the tree writes to one pipe into a file of the run.
type output struct {
	name string
	pipe *os.File // the reading end
	fd   int      // the same, for the reads after the end
	// child is the writing end, which the command inherits and the shim closes
	// after the start.
	child int
	file  *os.File
	size  int64
	grew  func(size int64)
	done  chan struct{}
	// err is the first error of writing. The copying goes on regardless: a full
	// disk must not block the command or kill it with SIGPIPE.
	err error
}

// newOutput makes the pipe and the file. Both ends close on exec; only the
// reading end is non-blocking, since that is no business of the command.
func newOutput(dir, name string, grew func(int64)) (*output, error) {
	path := filepath.Join(dir, name)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, fileMode)
	if err != nil {
		return nil, err // names the path
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe of %s: %w", path, err), file.Close())
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(fmt.Errorf("pipe of %s: %w", path, err), unix.Close(fds[0]), unix.Close(fds[1]), file.Close())
	}
	return &output{
		name: name, pipe: os.NewFile(uintptr(fds[0]), name), fd: fds[0], child: fds[1],
		file: file, grew: grew, done: make(chan struct{}),
	}, nil
}

// start closes the command's end and begins to copy.
func (o *output) start() {
	_ = unix.Close(o.child) // the shim has written nothing to it
	go o.copy()
}

func (o *output) copy() {
	defer close(o.done)
	buf := make([]byte, 32*1024)
	for {
		n, err := o.pipe.Read(buf)
		o.keep(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.drain(buf)
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				o.fail(err)
			}
			return
		}
	}
}

// drain takes what stands in the pipe and no more: a process outside the tree
// may have got hold of the writing end and write for ever.
func (o *output) drain(buf []byte) {
	left, err := unix.IoctlGetInt(o.fd, unix.TIOCINQ)
	for err == nil && left > 0 {
		var n int
		n, err = ignoringEINTR(func() (int, error) { return unix.Read(o.fd, buf[:min(left, len(buf))]) })
		if n <= 0 {
			break
		}
		o.keep(buf[:n])
		left -= n
	}
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		o.fail(err)
	}
}

func (o *output) keep(data []byte) {
	if len(data) == 0 {
		return
	}
	n, err := o.file.Write(data)
	if err != nil {
		o.fail(err)
	}
	if n > 0 {
		o.size += int64(n)
		o.grew(o.size)
	}
}

func (o *output) fail(err error) {
	if o.err == nil {
		o.err = fmt.Errorf("%s: %w", o.name, err)
	}
}

// finish is called when all writers of the tree are dead. It returns when all
// that they wrote is in the file.
func (o *output) finish() error {
	// The copier either meets the end of the pipe first or is interrupted and
	// drains it: both leave the pipe empty, and neither waits for anybody.
	err := o.pipe.SetReadDeadline(time.Now())
	if err != nil {
		_ = o.pipe.Close() // which interrupts it too
	}
	<-o.done
	if err != nil {
		o.fail(err)
	}
	_ = o.pipe.Close() // nothing was written to it
	return errors.Join(o.err, o.file.Close())
}

// discard gives up an output that was never started.
func (o *output) discard() error {
	return errors.Join(unix.Close(o.child), o.pipe.Close(), o.file.Close())
}
