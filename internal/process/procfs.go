package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// procfs reads /proc, or in a test a folder that looks like it.
type procfs struct {
	root string
}

var proc = procfs{root: "/proc"}

// procStat is what this package needs of /proc/<pid>/stat.
type procStat struct {
	pid     int
	ppid    int
	threads int
	start   uint64 // clock ticks since boot
	state   byte
	comm    string
}

// key tells processes apart although pids are used again.
type key struct {
	pid   int
	start uint64
}

func (s procStat) key() key { return key{s.pid, s.start} }

// dead reports a zombie: nobody has waited for it, but it is dead.
func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' || s.state == 'x' }

func (s procStat) process() Process {
	return Process{PID: s.pid, Comm: s.comm, State: string(s.state)}
}

// stat reads /proc/<pid>/stat. The error is fs.ErrNotExist or ESRCH when there
// is no such process.
func (p procfs) stat(pid int) (procStat, error) {
	var buf [1024]byte // a stat line is at most some 400 bytes
	path := p.root + "/" + strconv.Itoa(pid) + "/stat"
	line, err := readInto(path, buf[:])
	if err != nil {
		return procStat{}, fmt.Errorf("%s: %w", path, err)
	}
	s, ok := parseStat(line)
	if !ok || s.pid != pid {
		return procStat{}, fmt.Errorf("%s: cannot be parsed: %q", path, line)
	}
	return s, nil
}

// parseStat parses "pid (comm) state ppid …". The comm is the process's own
// choice and may hold anything, so the last parenthesis is what ends it.
func parseStat(line []byte) (procStat, bool) {
	open, end := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || end < open {
		return procStat{}, false
	}
	fields := bytes.Fields(line[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return procStat{}, false
	}
	pid, err1 := strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	ppid, err2 := strconv.Atoi(string(fields[1]))
	threads, err3 := strconv.Atoi(string(fields[17]))
	start, err4 := strconv.ParseUint(string(fields[19]), 10, 64)
	if errors.Join(err1, err2, err3, err4) != nil {
		return procStat{}, false
	}
	return procStat{
		pid: pid, ppid: ppid, threads: threads, start: start,
		state: fields[0][0], comm: string(line[open+1 : end]),
	}, true
}

// readInto reads what fits of a file, in fewer system calls and with fewer
// allocations than os.ReadFile: a scan reads every process of the machine.
func readInto(path string, buf []byte) ([]byte, error) {
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	n, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf) })
	_ = unix.Close(fd) // nothing was written
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// pids lists all processes of the machine.
func (p procfs) pids() ([]int, error) {
	d, err := os.Open(p.root)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// children lists a process's children from task/*/children, which only some
// kernels have (CONFIG_PROC_CHILDREN), and which may miss some while children
// come and go.
func (p procfs) children(pid int) ([]int, error) {
	files, err := filepath.Glob(p.root + "/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil || len(files) == 0 {
		return nil, errors.ErrUnsupported
	}
	var pids []int
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended; its children went to another one
		}
		for field := range bytes.FieldsSeq(data) {
			if child, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids, nil
}

// hasEnv reports whether a process was started with a variable, "NAME=value".
func (p procfs) hasEnv(pid int, variable string) bool {
	data, err := os.ReadFile(p.root + "/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false // ended, or another user's
	}
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		if string(kv) == variable {
			return true
		}
	}
	return false
}
