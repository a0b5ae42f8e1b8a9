package process

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// patience bounds every wait of a test for an event that must come.
const patience = 30 * time.Second

// shimPath is the shim under test, built as it is delivered.
var shimPath string

func TestMain(m *testing.M) {
	if mode := os.Getenv("QUELL_TEST_CHILD"); mode != "" {
		misbehave(mode)
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "quell-shim")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shimPath = filepath.Join(dir, "quell-shim")
	if out, err := exec.Command("go", "build", "-o", shimPath, "quell/cmd/quell-shim").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build quell-shim: %v\n%s", err, out)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// misbehave is a process of a run. Each one reports itself to the test's FIFO.
func misbehave(mode string) {
	report()
	switch mode {
	case "exit":
		code, _ := strconv.Atoi(os.Args[1])
		os.Exit(code)
	case "selfkill": // dies by a signal of its own
		signal.Reset()
		_ = unix.Kill(os.Getpid(), unix.SIGTERM)
		linger()
	case "deaf": // ignores whatever can be ignored
		signal.Ignore(unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT)
		fmt.Println("deaf")
		linger()
	case "linger":
		linger()
	case "daemon": // leaves a daemon behind: double fork and setsid
		_ = fork("fork-and-exit", true).Wait()
		os.Exit(0)
	case "fork-and-exit":
		fork("linger", true)
		os.Exit(0)
	case "leaver": // moves itself out of its cgroup and lives on, with a child inside
		if err := os.WriteFile(filepath.Join(os.Args[1], "cgroup.procs"), []byte("0"), 0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fork("linger", false)
		linger()
	case "nest": // makes a cgroup of its own below the run's and moves into it
		nested := filepath.Join(os.Args[1], "nested", "deeper")
		_ = os.MkdirAll(nested, 0o755)
		if err := os.WriteFile(filepath.Join(nested, "cgroup.procs"), []byte("0"), 0); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		linger()
	case "tree": // a tree of eleven
		for range 10 {
			fork("linger", false)
		}
		linger()
	case "flood":
		flood()
	case "agent": // starts a run and lives until it is killed
		agent()
	case "leak": // gives its stdout to a daemon and ends
		fork("linger", true)
		fmt.Println("last words")
		os.Exit(0)
	}
	os.Exit(99)
}

// agent is a process that supervises: os.Args are the root, job and NoCgroup.
func agent() {
	sup, err := New(Options{Root: os.Args[1], Shim: shimOfAgent(), NoCgroup: os.Args[3] == "true"})
	if err == nil {
		_, err = sup.Start(os.Args[2], "run", Command{Args: []string{testBinary()}, Env: []string{
			"QUELL_TEST_CHILD=tree", "QUELL_TEST_FIFO=" + os.Getenv("QUELL_TEST_FIFO"),
		}})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(97)
	}
	linger()
}

func shimOfAgent() string { return os.Getenv("QUELL_TEST_SHIM") }

const floodSize = 8 << 20

// flood writes much to the log and to the events.
func flood() {
	events := os.NewFile(3, "events")
	block := strings.Repeat("x", 64*1024-1) + "\n"
	done := make(chan error, 1)
	go func() {
		var err error
		for n := 0; n < floodSize && err == nil; n += len(block) {
			_, err = events.WriteString(block)
		}
		done <- err
	}()
	for n := 0; n < floodSize; n += len(block) {
		fmt.Print(block)
	}
	if err := <-done; err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// linger lives until it is killed.
func linger() {
	for {
		_ = unix.Pause()
	}
}

// fork starts another process of the run. It is reported here too, so that the
// test knows of it however soon everybody else dies.
func fork(mode string, session bool) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "QUELL_TEST_CHILD="+mode)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: session}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(98)
	}
	reportPID(cmd.Process.Pid)
	return cmd
}

func report() { reportPID(os.Getpid()) }

func reportPID(pid int) {
	st, err := proc.stat(pid)
	if err != nil {
		return // it has ended and been reaped
	}
	f, err := os.OpenFile(os.Getenv("QUELL_TEST_FIFO"), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %d\n", pid, st.start) // one write, shorter than PIPE_BUF
}

// mode is one of the two ways to hold and kill a tree.
type mode struct {
	name     string
	noCgroup bool
	proof    Proof
}

// eachMode runs a test with cgroups, where they can be used, and without.
func eachMode(t *testing.T, test func(t *testing.T, f *fixture)) {
	inCgroup(t, test)
	m := mode{"fallback", true, ProofReaped}
	t.Run(m.name, func(t *testing.T) { test(t, newFixture(t, m)) })
}

// inCgroup runs a test only in the mode that has cgroups.
func inCgroup(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	m := mode{"cgroup", false, ProofCgroup}
	t.Run(m.name, func(t *testing.T) {
		needCgroup(t)
		test(t, newFixture(t, m))
	})
}

// needCgroup skips a test where this machine does not let it use cgroup v2.
func needCgroup(t *testing.T) string {
	t.Helper()
	base, err := findCgroup()
	if err != nil {
		t.Skipf("no cgroup v2: %v", err)
	}
	dir := filepath.Join(base, fmt.Sprintf("quell-probe-%d", os.Getpid()), "run")
	cg, err := makeCgroup(dir)
	if err != nil {
		t.Skipf("cgroup v2 cannot be used: %v", err)
	}
	defer os.Remove(filepath.Dir(dir))
	defer cg.close()
	require.NoError(t, cg.remove())
	return base
}

// fixture is a supervisor with one job, and what the processes of its runs have
// reported.
type fixture struct {
	t     *testing.T
	mode  mode
	root  string
	sup   *Supervisor
	job   string
	fifo  *os.File
	lines *bufio.Reader
	known []Identity
}

func newFixture(t *testing.T, m mode) *fixture {
	t.Helper()
	f := &fixture{t: t, mode: m, root: t.TempDir(), job: fmt.Sprintf("job-%d-%d", os.Getpid(), time.Now().UnixNano())}
	path := filepath.Join(f.root, "fifo")
	require.NoError(t, unix.Mkfifo(path, 0o600))
	var err error
	f.fifo, err = os.OpenFile(path, os.O_RDWR, 0) // never at its end, whoever closes it
	require.NoError(t, err)
	f.lines = bufio.NewReader(f.fifo)
	f.sup = f.supervisor()
	t.Cleanup(func() {
		f.killAll()
		_ = f.sup.Remove(f.job)
		_ = f.fifo.Close()
	})
	return f
}

// supervisor is a new one over the same root, as after a restart.
func (f *fixture) supervisor() *Supervisor {
	f.t.Helper()
	s, err := New(Options{
		Root: filepath.Join(f.root, "runs"), Shim: shimPath, NoCgroup: f.mode.noCgroup,
		Logger: slog.New(slog.NewTextHandler(f.t.Output(), nil)),
	})
	require.NoError(f.t, err)
	f.t.Cleanup(s.Close)
	return s
}

// command is the test binary in one of its modes.
func (f *fixture) command(mode string, args ...string) Command {
	return Command{
		Args: append([]string{testBinary()}, args...),
		Env:  []string{"GORACE=atexit_sleep_ms=0", "QUELL_TEST_CHILD=" + mode, "QUELL_TEST_FIFO=" + f.fifo.Name(), "PATH=" + os.Getenv("PATH")},
	}
}

func testBinary() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

func (f *fixture) start(run string, c Command) *Run {
	f.t.Helper()
	r, err := f.sup.Start(f.job, run, c)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, r.Close()) })
	return r
}

// adopt takes a run over with a supervisor of its own.
func (f *fixture) adopt(run string) *Run {
	f.t.Helper()
	r, err := f.supervisor().Adopt(f.job, run)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, r.Close()) })
	return r
}

// reported waits until n processes have reported themselves.
func (f *fixture) reported(n int) []Identity {
	f.t.Helper()
	boot, err := bootID()
	require.NoError(f.t, err)
	require.NoError(f.t, f.fifo.SetReadDeadline(time.Now().Add(patience)))
	seen := make(map[Identity]bool)
	for _, id := range f.known {
		seen[id] = true
	}
	for len(f.known) < n {
		line, err := f.lines.ReadString('\n')
		require.NoError(f.t, err, "waiting for process %d of %d", len(f.known)+1, n)
		id := Identity{Boot: boot}
		_, err = fmt.Sscanf(line, "%d %d\n", &id.PID, &id.Start)
		require.NoError(f.t, err)
		if !seen[id] {
			seen[id] = true
			f.known = append(f.known, id)
		}
	}
	return f.known
}

// drain takes in what has been reported without having been waited for.
func (f *fixture) drain() {
	boot, _ := bootID()
	_ = f.fifo.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	for {
		line, err := f.lines.ReadString('\n')
		if err != nil {
			return
		}
		id := Identity{Boot: boot}
		if _, err := fmt.Sscanf(line, "%d %d\n", &id.PID, &id.Start); err == nil {
			f.known = append(f.known, id)
		}
	}
}

// allDead proves, independently of what the package says, that no process of
// the job's runs is alive: neither one that has reported itself nor one that
// carries a run's variable.
func (f *fixture) allDead(run string) {
	f.t.Helper()
	f.drain()
	for _, id := range f.known {
		require.False(f.t, id.alive(), "process %d is alive", id.PID)
	}
	require.Empty(f.t, f.carriers(run), "processes that carry the run's variable")
}

func (f *fixture) carriers(run string) []procStat {
	var all []procStat
	h := marked(proc, runVariable+"="+ID{f.job, run}.String(), 0)
	require.NoError(f.t, h.find(nil, func(st procStat) { all = append(all, st) }))
	return all
}

// killAll cleans up after a test that has failed.
func (f *fixture) killAll() {
	if !f.t.Failed() {
		return
	}
	f.drain()
	for _, id := range f.known {
		if id.alive() {
			_ = unix.Kill(id.PID, unix.SIGKILL)
		}
	}
}

// wait waits for an event.
func wait(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
	}
}

// done waits for the end of a run and checks what holds for every end.
func (f *fixture) done(r *Run) Exit {
	f.t.Helper()
	wait(f.t, r.Done(), "the run's end")
	e := r.Exit()
	if e.Error != "" && e.Proof == ProofCgroup {
		// Nobody could wait for them. The kernel takes a process out of its cgroup
		// just before it becomes a zombie.
		f.drain()
		for _, id := range f.known {
			f.gone(id)
		}
	}
	f.allDead(r.ID().Run)
	require.Empty(f.t, r.Survivors())
	f.gone(e.Shim)
	onDisk, err := readExit(f.sup.Dir(f.job, r.ID().Run))
	require.NoError(f.t, err)
	require.Equal(f.t, onDisk.Proof, e.Proof)
	if e.Cgroup != "" {
		require.NoDirExists(f.t, e.Cgroup)
	}
	return e
}

// gone waits for the end of a process, such as a shim whose run is done. The
// test's own process is what sealed a run, and does not count.
func (f *fixture) gone(id Identity) {
	f.t.Helper()
	if id.PID == 0 || id.PID == os.Getpid() || !id.alive() {
		return
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil || !id.alive() {
		return
	}
	defer unix.Close(fd)
	n, err := ignoringEINTR(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	})
	require.NoError(f.t, err)
	require.Equal(f.t, 1, n, "process %d does not end", id.PID)
}

// shimOf is the identity of a run's shim.
func (f *fixture) shimOf(run string) Identity {
	f.t.Helper()
	c, err := readClaim(f.sup.Dir(f.job, run))
	require.NoError(f.t, err)
	return c.Identity
}

// logHas waits until a run's log holds a text.
func (f *fixture) logHas(r *Run, text string) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		data, _ := os.ReadFile(f.sup.LogPath(f.job, r.ID().Run))
		if strings.Contains(string(data), text) {
			return
		}
		select {
		case <-r.Changed():
		case <-deadline:
			require.FailNow(f.t, "log never held "+text, "%s", data)
		}
	}
}
