package process

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "0190-7f", "a b", "...", "ä", strings.Repeat("x", maxName)} {
		assert.NoError(t, ID{good, good}.validate(), good)
	}
	s, err := New(Options{Root: t.TempDir(), Shim: shimPath, NoCgroup: true})
	require.NoError(t, err)
	defer s.Close()
	c := Command{Args: []string{"/bin/true"}}
	for _, bad := range []string{"", ".", "..", "a/b", "/", "a\x00", "a\n", strings.Repeat("x", maxName+1)} {
		for _, id := range []ID{{bad, "run"}, {"job", bad}} {
			_, err := s.Start(id.Job, id.Run, c)
			assert.Error(t, err, "%q", id)
			_, err = s.Adopt(id.Job, id.Run)
			assert.Error(t, err, "%q", id)
			_, err = s.Seal(id.Job, id.Run)
			assert.Error(t, err, "%q", id)
		}
		assert.Error(t, s.Remove(bad))
		assert.Error(t, s.RemoveFiles(bad), "%q", bad)
	}
	entries, err := os.ReadDir(s.root)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestCommandsAreChecked(t *testing.T) {
	for _, bad := range []Command{{}, {Args: []string{"sh"}}, {Args: []string{"/bin/sh"}, Dir: "relative"}} {
		assert.Error(t, bad.validate())
	}
}

func TestCgroupFolder(t *testing.T) {
	const v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	tests := map[string]struct{ mounts, own, want string }{
		"hybrid": {v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n", "1:cpu:/\n0::/\n", "/sys/fs/cgroup/unified"},
		"systemd": {
			"30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n", "0::/system.slice/quell-agent.service\n",
			"/sys/fs/cgroup/system.slice/quell-agent.service",
		},
		"part of the tree": {"30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/ab/c\n", "/sys/fs/cgroup/c"},
		"escaped":          {`30 23 0:26 / /mnt/a\040b rw - cgroup2 cgroup rw` + "\n", "0::/x\n", "/mnt/a b/x"},
		"not shown":        {"30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/docker/abc\n", ""},
		"not mounted":      {v1, "1:cpu:/\n0::/\n", ""},
		"no v2":            {v1, "1:cpu:/\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cgroupFolder([]byte(test.mounts), []byte(test.own))
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.want == "", err != nil)
		})
	}
}

// A cgroup in use is not taken over, an empty one is.
func TestForeignCgroup(t *testing.T) {
	base := needCgroup(t)
	f := newFixture(t, mode{})
	dir := filepath.Join(base, cgroupPrefix+f.job, "run")
	first, err := makeCgroup(dir)
	require.NoError(t, err)
	first.close()
	second, err := makeCgroup(dir)
	require.NoError(t, err)
	assert.False(t, second.has(os.Getpid()))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "used"), 0o755))

	r := f.start("run", f.command("linger"))
	f.reported(1)
	assert.Empty(t, f.mustClaim("run").Cgroup)
	r.Kill("end")
	e := f.done(r)
	assert.Equal(t, ProofReaped, e.Proof)
	assert.DirExists(t, dir)
	second.removeNested()
	require.NoError(t, second.remove())
	require.NoError(t, second.remove(), "gone is gone")
	second.close()
}

func (f *fixture) mustClaim(run string) claim {
	f.t.Helper()
	c, err := readClaim(f.sup.Dir(f.job, run))
	require.NoError(f.t, err)
	return c
}

// An unusable base, as on a machine where the cgroup may not be written.
func TestCgroupThatCannotBeMade(t *testing.T) {
	f := newFixture(t, mode{})
	f.sup.cgroup = filepath.Join(f.root, "nowhere", "at all")
	r := f.start("run", f.command("linger"))
	f.reported(1)
	r.Kill("end")
	assert.Equal(t, ProofReaped, f.done(r).Proof)

	f.sup.cgroup = f.root // a folder, but no cgroup: it has no cgroup.kill
	other := f.start("other", f.command("linger"))
	f.reported(2)
	other.Kill("end")
	assert.Equal(t, ProofReaped, f.done(other).Proof)
	assert.NoDirExists(t, filepath.Join(f.sup.jobCgroup(f.job), "other"))
}

func TestWriteOnce(t *testing.T) {
	dir := t.TempDir()
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := writeOnce(dir, claimFile, claim{Identity: Identity{PID: i + 1}})
			if err == nil {
				won.Add(1)
			} else {
				assert.ErrorIs(t, err, fs.ErrExist)
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, won.Load())
	c, err := readClaim(dir)
	require.NoError(t, err)
	assert.NotZero(t, c.PID)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary files are left")
	info, err := entries[0].Info()
	require.NoError(t, err)
	assert.EqualValues(t, 0o600, info.Mode().Perm())
}

func TestDamagedRecords(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	dir, err := f.sup.makeRunDir(ID{f.job, "run"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, claimFile), []byte("{"), 0o600))
	_, err = f.sup.Adopt(f.job, "run")
	require.ErrorContains(t, err, claimFile)
	assert.NotErrorIs(t, err, ErrNotClaimed)
	_, err = f.sup.Start(f.job, "run", f.command("linger"))
	require.Error(t, err, "not to be started over a claim that cannot be read")
}

func TestParseStat(t *testing.T) {
	tail := " S 7 1 1 0 -1 4194304 101 0 0 0 0 0 0 0 20 0 3 0 125965 3133440 417\n"
	for _, comm := range []string{"sh", "a b", ") S 1 (", "x)", ""} {
		st, ok := parseStat([]byte("42 (" + comm + ")" + tail))
		require.True(t, ok, comm)
		assert.Equal(t, procStat{pid: 42, ppid: 7, threads: 3, start: 125965, state: 'S', comm: comm}, st)
	}
	for _, bad := range []string{"", "42", "42 (sh", "42 (sh) S 1", "x (sh)" + tail, "42 (sh) S x" + tail} {
		_, ok := parseStat([]byte(bad))
		assert.False(t, ok, bad)
	}
}

// fakeProc is a folder like /proc: a parent for each pid, and lists of children
// if wanted.
func fakeProc(t *testing.T, parents map[int]int, lists bool) procfs {
	p := procfs{root: t.TempDir()}
	children := make(map[int]string)
	for pid, ppid := range parents {
		children[ppid] += strconv.Itoa(pid) + " "
	}
	for pid, ppid := range parents {
		dir := filepath.Join(p.root, strconv.Itoa(pid))
		task := filepath.Join(dir, "task", strconv.Itoa(pid))
		require.NoError(t, os.MkdirAll(task, 0o755))
		state := 'S'
		if pid%100 == 99 {
			state = 'Z'
		}
		stat := fmt.Sprintf("%d (p%d) %c %d%s 1 0 %d\n", pid, pid, state, ppid, strings.Repeat(" 0", 15), pid*10)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600))
		if lists {
			require.NoError(t, os.WriteFile(filepath.Join(task, "children"), []byte(children[pid]), 0o600))
		}
	}
	return p
}

func TestDescendants(t *testing.T) {
	// 999 is dead, 5 is a descendant with a small pid, 2000 is another's.
	parents := map[int]int{100: 1, 101: 100, 102: 101, 103: 102, 999: 100, 5: 103, 2000: 1, 2001: 2000, 1: 0}
	for _, lists := range []bool{true, false} {
		p := fakeProc(t, parents, lists)
		_, err := p.children(100)
		assert.Equal(t, lists, err == nil)
		d := &family{procs: p, root: 100}
		seen := make(map[key]bool)
		found := make(map[int]int)
		for range 4 { // as the rounds of a pass
			require.NoError(t, d.find(seen, func(st procStat) { seen[st.key()] = true; found[st.pid]++ }))
		}
		d.passes = 1
		if !lists { // the first pass leaves out small pids; the second one does not
			seen = make(map[key]bool)
			for range 4 {
				require.NoError(t, d.find(seen, func(st procStat) { seen[st.key()] = true; found[st.pid] = 1 }))
			}
		}
		assert.Equal(t, map[int]int{101: 1, 102: 1, 103: 1, 5: 1}, found, "lists: %v", lists)
	}
}

// A pid that is in use again is not signalled, nor is one whose parent is not
// the member that it was.
func TestReusedPidsAreNotOurs(t *testing.T) {
	p := fakeProc(t, map[int]int{100: 1, 101: 100, 102: 101}, false)
	d := &family{procs: p, root: 100, members: map[int]uint64{100: 0, 101: 1010}}
	st, err := p.stat(102)
	require.NoError(t, err)
	assert.True(t, d.ours(st))
	d.members[101] = 7
	assert.False(t, d.ours(st), "parent is another process now")
	d.members[101] = 1010
	st.start++
	assert.False(t, d.ours(st), "process is another one now")
	_, err = p.stat(4711)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

// Whether the command has ended can be told without a pidfd too.
func TestMainDead(t *testing.T) {
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	require.NoError(t, err)
	defer unix.Close(fd)
	trees := []*tree{
		{pid: cmd.Process.Pid, pidfd: fd, ended: make(chan struct{})},
		{pid: cmd.Process.Pid, pidfd: -1, ended: make(chan struct{})},
	}
	for _, tr := range trees {
		assert.False(t, tr.mainDead())
	}
	require.NoError(t, in.Close())
	_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	require.NoError(t, err)
	for range 2 { // a zombie first, and then reaped
		for _, tr := range trees {
			assert.True(t, tr.mainDead())
		}
		_ = cmd.Wait()
	}
}
