package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupPrefix stands before a job's name in the cgroup tree.
const cgroupPrefix = "quell-"

// The wait between attempts to remove a cgroup whose members are still exiting
// starts short, since that usually takes less than a millisecond.
const (
	firstWait = 50 * time.Microsecond
	longWait  = time.Second
)

// findCgroup returns the folder of the calling process's own cgroup in the v2
// hierarchy, below which runs get theirs. To nest there is what systemd's
// delegation asks for, and keeps the runs within the service's limits.
func findCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("cgroup2 mount: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("own cgroup: %w", err)
	}
	return cgroupFolder(mounts, own)
}

// cgroupFolder finds the folder from the texts of mountinfo and of cgroup.
func cgroupFolder(mounts, own []byte) (string, error) {
	path := ""
	for line := range strings.Lines(string(own)) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			path = rest
		}
	}
	if path == "" {
		return "", errors.New("own cgroup: not in a v2 hierarchy")
	}
	for line := range strings.Lines(string(mounts)) {
		// 41 31 0:38 /root /mount/point options [optional…] - cgroup2 source superoptions
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		// The mount may show only a part of the hierarchy, as in a container.
		rel, err := filepath.Rel(unescapeMount(fields[3]), path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		return filepath.Join(unescapeMount(fields[4]), rel), nil
	}
	return "", fmt.Errorf("own cgroup %s: no cgroup2 mount shows it", path)
}

// unescapeMount undoes mountinfo's octal escapes of white space and backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// cgroup is one run's v2 cgroup.
type cgroup struct {
	dir string
	// killer is cgroup.kill, held open so that a kill is one system call.
	killer *os.File
}

// makeCgroup makes the cgroup of a run and its job's above it. The folder is
// the caller's alone: one that is there already and in use is not taken over,
// since killing it would hit another's processes.
func makeCgroup(dir string) (*cgroup, error) {
	if err := mkdirCgroup(dir); err != nil {
		return nil, err
	}
	cg, err := openCgroup(dir)
	if err != nil {
		return nil, errors.Join(err, unix.Rmdir(dir))
	}
	return cg, nil
}

func mkdirCgroup(dir string) error {
	var err error
	// Another run of the job may remove or make the same folders meanwhile.
	for range 10 {
		if err = os.Mkdir(filepath.Dir(dir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = os.Mkdir(dir, 0o755)
		switch {
		case errors.Is(err, fs.ErrExist):
			if rerr := unix.Rmdir(dir); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				return fmt.Errorf("cgroup %s is in use: %w", dir, rerr)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return err
}

// openCgroup opens an existing cgroup. It fails where the kernel has no
// cgroup.kill, which came with Linux 5.14.
func openCgroup(dir string) (*cgroup, error) {
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &cgroup{dir: dir, killer: f}, nil
}

func (c *cgroup) close() {
	_ = c.killer.Close() // holds nothing back
}

// kill sends SIGKILL to all members, of nested cgroups too. Against members
// that fork it is atomic.
func (c *cgroup) kill() error {
	if _, err := c.killer.WriteString("1"); err != nil {
		return fmt.Errorf("kill cgroup %s: %w", c.dir, err)
	}
	return nil
}

// has reports whether a process is a member of this very cgroup.
func (c *cgroup) has(pid int) bool {
	return bytes.Contains(readProcs(c.dir), []byte("\n"+strconv.Itoa(pid)+"\n"))
}

// populated reports whether a member is alive, in nested cgroups too.
func (c *cgroup) populated() bool {
	data, err := os.ReadFile(filepath.Join(c.dir, "cgroup.events"))
	return err == nil && bytes.Contains(data, []byte("populated 1"))
}

// readProcs reads cgroup.procs, with a line break before the first line too.
func readProcs(dir string) []byte {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil // removed meanwhile
	}
	return append([]byte{'\n'}, data...)
}

// members lists the living processes, of nested cgroups too. Only the first
// few are looked up; of the others the pid is all that is known.
func (c *cgroup) members() []procStat {
	var all []procStat
	for _, dir := range c.dirs() {
		lines := bufio.NewScanner(bytes.NewReader(readProcs(dir)))
		for lines.Scan() {
			pid, err := strconv.Atoi(lines.Text())
			if err != nil || pid <= 0 {
				continue // the empty first line, or one of another pid namespace
			}
			st := procStat{pid: pid}
			if len(all) < maxLeftovers {
				if st, err = proc.stat(pid); err != nil || st.dead() {
					continue
				}
			}
			all = append(all, st)
		}
	}
	return all
}

// dirs lists the cgroup and the nested ones, each before those below it.
func (c *cgroup) dirs() []string {
	var dirs []string
	_ = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil // what vanishes meanwhile is missed by nobody
	})
	return dirs
}

// remove removes the cgroup and those that members made below it. It succeeds
// only when no process is left in it: that is the proof.
func (c *cgroup) remove() error {
	err := unix.Rmdir(c.dir)
	if errors.Is(err, unix.EBUSY) && !c.populated() {
		// Empty but not removable: there are nested ones.
		c.removeNested()
		err = unix.Rmdir(c.dir)
	}
	// Whoever else removed it could do so only because it was empty.
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup %s: %w", c.dir, err)
	}
	return nil
}

// removeNested removes nested cgroups, the deepest first.
func (c *cgroup) removeNested() {
	dirs := c.dirs()
	for i := len(dirs) - 1; i > 0; i-- {
		_ = unix.Rmdir(dirs[i]) // the removal of the whole tells
	}
}
