package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The shim serves a socket in the run's folder. These few functions are used
// instead of package net, which would add 2 MB to the 3.5 that a shim takes.

// state is what the shim tells each of its clients: everything, every time. A
// client that reads slowly misses states in between but never the last one.
type state struct {
	// PID and StartedAt are the command's, once it has been started.
	PID       int       `json:"pid,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	// Log and Events are the sizes of the two files.
	Log    int64 `json:"log,omitempty"`
	Events int64 `json:"events,omitempty"`
	// Survivors is what a kill has not got done for a while.
	Survivors []Process `json:"survivors,omitempty"`
	// Exit comes last.
	Exit *Exit `json:"exit,omitempty"`
}

// request is what a client tells the shim.
type request struct {
	Op    string `json:"op"`
	Cause string `json:"cause,omitempty"`
}

const opKill = "kill"

// maxCause bounds the cause of a kill, so that a request always fits into a
// socket's buffer and into maxRequest: writing it never blocks.
const (
	maxCause   = 1024
	maxRequest = 8 * 1024
)

// throughFolder calls f with a path of the run's socket that fits into a
// socket address, which holds 108 bytes, however long the folder's own path is.
func throughFolder(dir string, f func(addr *unix.SockaddrUnix) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("folder %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := f(&unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(fd) + "/" + socketFile}); err != nil {
		return fmt.Errorf("socket %s: %w", filepath.Join(dir, socketFile), err)
	}
	return nil
}

// newSocket makes a socket that the runtime's poller serves.
func newSocket() (int, error) {
	return unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
}

// listenSocket listens on the run's socket. The caller owns the claim, so what
// lies there already is nobody's.
func listenSocket(dir string) (*os.File, error) {
	if err := os.Remove(filepath.Join(dir, socketFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	fd, err := newSocket()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	err = throughFolder(dir, func(addr *unix.SockaddrUnix) error {
		if err := unix.Bind(fd, addr); err != nil {
			return err
		}
		return unix.Listen(fd, unix.SOMAXCONN)
	})
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), socketFile), nil
}

// acceptSocket waits for a client. It ends with an error when the listener is
// closed.
func acceptSocket(listener *os.File) (*os.File, error) {
	raw, err := listener.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var aerr error
	err = raw.Read(func(l uintptr) bool {
		fd, _, aerr = unix.Accept4(int(l), unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
		return !errors.Is(aerr, unix.EAGAIN) && !errors.Is(aerr, unix.EINTR)
	})
	if err != nil {
		// The runtime's own error for this is not exported.
		return nil, fmt.Errorf("accept: %w: %w", os.ErrClosed, err)
	}
	if aerr != nil {
		return nil, fmt.Errorf("accept: %w", aerr)
	}
	return os.NewFile(uintptr(fd), "client"), nil
}

// dialSocket connects to the run's shim. A shim whose backlog is full counts
// as one that cannot be reached for now.
func dialSocket(dir string) (*os.File, error) {
	fd, err := newSocket()
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := throughFolder(dir, func(addr *unix.SockaddrUnix) error { return unix.Connect(fd, addr) }); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "shim"), nil
}

// socketPair makes two connected sockets. The first is served by the runtime's
// poller, the second is to be inherited.
func socketPair() (mine *os.File, theirs int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, -1, fmt.Errorf("socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, -1, errors.Join(fmt.Errorf("socket pair: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "shim"), fds[1], nil
}

// checkPeer refuses a client that is another user's.
func checkPeer(client *os.File) error {
	raw, err := client.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, cerr); err != nil {
		return fmt.Errorf("client's credentials: %w", err)
	}
	if int(cred.Uid) != os.Getuid() {
		return fmt.Errorf("client %d of uid %d: %w", cred.Pid, cred.Uid, os.ErrPermission)
	}
	return nil
}
