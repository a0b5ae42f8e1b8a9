package process

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestClaimedRunIsLeftAlone(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	r := f.start("run", f.command("linger"))
	f.reported(1)
	dir := f.sup.Dir(f.job, "run")
	before := f.shimOf("run")
	for _, withOrder := range []bool{false, true} {
		if withOrder {
			require.NoError(t, newOrder(r.ID(), dir, "", f.command("linger")).write(dir))
		}
		err := exec.Command(shimPath, dir).Run()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 75, exit.ExitCode())
	}
	assert.Equal(t, before, f.shimOf("run"))
	f.drain()
	assert.Len(t, f.known, 1, "nothing else was started")
	r.Kill("end")
	f.done(r)
}

func TestShimSurvivesSignals(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	r := f.start("run", f.command("linger"))
	wait(t, r.Started(), "started")
	shim := f.shimOf("run")
	for _, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE, unix.SIGUSR1} {
		require.NoError(t, unix.Kill(shim.PID, sig))
	}
	// That it answers afterwards is the proof: the signals came first.
	r.Kill("end")
	assert.True(t, f.done(r).Killed)
}

func TestShimIsSmall(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		r := f.start("run", f.command("linger"))
		wait(t, r.Started(), "started")
		status, err := os.ReadFile("/proc/" + strconv.Itoa(f.shimOf("run").PID) + "/status")
		require.NoError(t, err)
		match := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
		require.NotNil(t, match)
		rss, err := strconv.Atoi(string(match[1]))
		require.NoError(t, err)
		t.Logf("resident: %d kB", rss)
		assert.Less(t, rss, 8*1024)
		r.Kill("end")
		f.done(r)
	})
}

func TestLongRoot(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	root := f.root + strings.Repeat("/a-long-name-of-a-folder", 8)
	require.Greater(t, len(root), 108)
	sup, err := New(Options{Root: root, Shim: shimPath, NoCgroup: true})
	require.NoError(t, err)
	t.Cleanup(sup.Close)
	f.sup = sup
	first := f.start("run", f.command("linger"))
	wait(t, first.Started(), "started")
	require.NoError(t, first.Close())
	r, err := sup.Adopt(f.job, "run")
	require.NoError(t, err)
	r.Kill("end")
	assert.True(t, f.done(r).Killed)
	require.NoError(t, r.Close())
}

// A client that never reads, and one that talks nonsense, disturb nobody.
func TestBadClients(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	gate := filepath.Join(f.root, "gate")
	require.NoError(t, unix.Mkfifo(gate, 0o600))
	c := f.command("flood")
	c.Args = []string{"/bin/sh", "-c", "read -r line < " + gate + `; exec "$0"`, testBinary()}
	r := f.start("run", c)
	wait(t, r.Started(), "started")
	dir := f.sup.Dir(f.job, "run")
	for _, nonsense := range []string{"", "nonsense\n", `{"op":"dance"}` + "\n", strings.Repeat("x", 2*maxRequest)} {
		conn, err := dialSocket(dir)
		require.NoError(t, err)
		defer conn.Close()
		_, err = conn.WriteString(nonsense)
		require.NoError(t, err)
		if nonsense == "" {
			continue // stays and never reads
		}
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		lines := bufio.NewReader(conn)
		for err == nil {
			_, err = lines.ReadString('\n')
		}
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%q is cut off", nonsense)
	}
	require.NoError(t, os.WriteFile(gate, []byte("go\n"), 0))
	assert.Equal(t, 0, f.done(r).ExitCode)
}

func TestForeignUsersAreRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	l, err := listenSocket(dir)
	require.NoError(t, err)
	defer l.Close()
	// The child keeps the socket's other end, connected under another uid.
	python := `import os,socket,sys
s=socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); os.setuid(int(sys.argv[2])); s.connect("shim.sock"); sys.stdin.read()`
	require.NoError(t, os.Chmod(filepath.Join(dir, socketFile), 0o777)) // only the check is in its way
	require.NoError(t, os.Chmod(dir, 0o755))
	for uid, refused := range map[string]bool{"65534": true, "0": false} {
		cmd := exec.Command("python3", "-c", python, dir, uid)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		conn, err := acceptSocket(l)
		require.NoError(t, err)
		if refused {
			require.ErrorIs(t, checkPeer(conn), os.ErrPermission)
		} else {
			require.NoError(t, checkPeer(conn))
		}
		require.NoError(t, conn.Close())
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	}
}

func TestAcceptEndsWithTheListener(t *testing.T) {
	l, err := listenSocket(t.TempDir())
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := acceptSocket(l)
		ended <- err
	}()
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-ended, os.ErrClosed)
}

// A full disk must not stop, block or kill the command.
func TestLogCannotBeWritten(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	dir, err := f.sup.makeRunDir(ID{f.job, "run"})
	require.NoError(t, err)
	require.NoError(t, os.Symlink("/dev/full", filepath.Join(dir, logFile)))
	e := f.done(f.start("run", f.command("flood")))
	assert.Equal(t, 0, e.ExitCode)
	assert.Contains(t, e.OutputError, "no space left")
	info, err := os.Stat(f.sup.EventsPath(f.job, "run"))
	require.NoError(t, err)
	assert.EqualValues(t, floodSize, info.Size(), "the events are whole")
}

// The writing end of the log's pipe is outside the tree: in this test's hands.
func TestPipeLeakedOutOfTheTree(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		r := f.start("run", f.command("deaf"))
		main := f.reported(1)[0]
		f.logHas(r, "deaf")
		pipe, err := os.OpenFile("/proc/"+strconv.Itoa(main.PID)+"/fd/1", os.O_WRONLY, 0)
		require.NoError(t, err)
		defer pipe.Close()
		_, err = pipe.WriteString("from outside\n")
		require.NoError(t, err)
		r.Kill("end")
		e := f.done(r)
		assert.True(t, e.Killed)
		assert.Less(t, e.DeadAt.Sub(e.Kill.RequestedAt), patience/2)
		f.logHas(r, "from outside")
	})
}

// The copier is told to stop before it has read anything.
func TestOutputIsDrainedAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	var told int64
	o, err := newOutput(dir, logFile, func(n int64) { told = n })
	require.NoError(t, err)
	outside, err := unix.Dup(o.child)
	require.NoError(t, err)
	defer unix.Close(outside)
	text := strings.Repeat("x", 60_000)
	_, err = unix.Write(outside, []byte(text))
	require.NoError(t, err)
	require.NoError(t, o.pipe.SetReadDeadline(time.Unix(1, 0)))
	o.start()
	require.NoError(t, o.finish())
	data, err := os.ReadFile(filepath.Join(dir, logFile))
	require.NoError(t, err)
	assert.Equal(t, text, string(data))
	assert.EqualValues(t, len(text), told)
}

// What cannot be killed keeps its run from being done, and is named. The v1
// freezer makes processes that even SIGKILL does not move.
func TestSurvivors(t *testing.T) {
	freezer := filepath.Join("/sys/fs/cgroup/freezer", "quell-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(freezer, 0o755); err != nil {
		t.Skipf("no v1 freezer: %v", err)
	}
	defer os.Remove(freezer)
	freeze := func(t *testing.T, state string) {
		require.NoError(t, os.WriteFile(filepath.Join(freezer, "freezer.state"), []byte(state), 0))
	}
	eachMode(t, func(t *testing.T, f *fixture) {
		r := f.start("run", f.command("linger"))
		main := f.reported(1)[0]
		require.NoError(t, os.WriteFile(filepath.Join(freezer, "cgroup.procs"), []byte(strconv.Itoa(main.PID)), 0))
		freeze(t, "FROZEN")
		defer freeze(t, "THAWED")
		asked := time.Now()
		r.Kill("end")
		for deadline := time.After(patience); len(r.Survivors()) == 0; {
			select {
			case <-r.Changed():
			case <-deadline:
				require.FailNow(t, "no survivors told")
			}
		}
		assert.GreaterOrEqual(t, time.Since(asked), survivorsAfter)
		assert.Equal(t, main.PID, r.Survivors()[0].PID)
		assert.NotEmpty(t, r.Survivors()[0].Comm)
		assert.NotEmpty(t, r.Survivors()[0].State)
		assert.False(t, isClosed(r.Done()))
		freeze(t, "THAWED")
		assert.True(t, f.done(r).Killed)
	})
}

// The state that a client gets is whole and ends with the exit.
func TestProtocol(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	r := f.start("run", f.command("linger"))
	wait(t, r.Started(), "started")
	conn, err := dialSocket(f.sup.Dir(f.job, "run"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.WriteString(`{"op":"kill","cause":"by hand"}` + "\n" + `{"op":"kill","cause":"again"}` + "\n")
	require.NoError(t, err)
	lines := bufio.NewScanner(conn)
	var last state
	for lines.Scan() {
		last = state{}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &last))
	}
	require.NotNil(t, last.Exit)
	assert.Equal(t, "by hand", last.Exit.Kill.Cause)
	assert.Equal(t, last.Exit.PID, last.PID)
	f.done(r)
}
