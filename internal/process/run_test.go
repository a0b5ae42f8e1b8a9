package process

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// end is what a test expects of an Exit.
type end struct {
	code      int
	signal    string
	leftovers int
}

func TestEnds(t *testing.T) {
	tests := map[string]struct {
		mode string
		args []string
		want end
	}{
		"exits with 0":                       {"exit", []string{"0"}, end{code: 0}},
		"exits with 3":                       {"exit", []string{"3"}, end{code: 3}},
		"dies by a signal":                   {"selfkill", nil, end{code: -1, signal: "TERM"}},
		"leaves a daemon behind":             {"daemon", nil, end{code: 0, leftovers: 1}},
		"leaks its stdout to a daemon":       {"leak", nil, end{code: 0, leftovers: 1}},
		"writes more than any pipe can take": {"flood", nil, end{code: 0}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, f *fixture) {
				before := time.Now()
				r := f.start("run", f.command(test.mode, test.args...))
				e := f.done(r)
				assert.Equal(t, test.want, end{e.ExitCode, e.Signal, e.LeftoverCount})
				assert.Len(t, e.Leftovers, test.want.leftovers)
				assert.Equal(t, f.mode.proof, e.Proof)
				assert.True(t, e.Proven())
				assert.Nil(t, e.Kill)
				assert.False(t, e.Killed)
				assert.False(t, e.NeverStarted)
				assert.Empty(t, e.Error)
				assert.Empty(t, e.OutputError)
				wait(t, r.Started(), "started")
				assert.WithinRange(t, r.StartedAt(), before, e.EndedAt)
				assert.WithinRange(t, e.EndedAt, e.StartedAt, e.DeadAt)
				require.NoError(t, f.sup.Remove(f.job))
				if test.mode == "flood" {
					for _, path := range []string{f.sup.LogPath(f.job, "run"), f.sup.EventsPath(f.job, "run")} {
						info, err := os.Stat(path)
						require.NoError(t, err)
						assert.EqualValues(t, floodSize, info.Size(), path)
						assert.EqualValues(t, 0o600, info.Mode().Perm(), path)
					}
				}
				if test.mode == "leak" {
					f.logHas(r, "last words")
				}
			})
		})
	}
}

func TestLeftoversAreNamedButNotTheirArguments(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		e := f.done(f.start("run", f.command("daemon")))
		require.Len(t, e.Leftovers, 1)
		assert.Equal(t, "exe", e.Leftovers[0].Comm)
		var pids []int
		for _, id := range f.known {
			pids = append(pids, id.PID)
		}
		assert.Contains(t, pids, e.Leftovers[0].PID)
	})
}

func TestManyLeftoversAreCounted(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		// Each of them tells, so that all 20 are there when the shell ends.
		script := `i=0; while [ $i -lt 20 ]; do setsid sleep 1000 & i=$((i+1)); done; exit 0`
		e := f.done(f.start("run", Command{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}}))
		assert.Equal(t, 20, e.LeftoverCount)
		assert.Len(t, e.Leftovers, maxLeftovers)
	})
}

func TestExecFails(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		r := f.start("run", Command{Args: []string{"/nonexistent/command"}})
		e := f.done(r)
		assert.True(t, e.NeverStarted)
		assert.Equal(t, ProofNeverStarted, e.Proof)
		assert.Contains(t, e.Error, "/nonexistent/command: no such file or directory")
		assert.Equal(t, -1, e.ExitCode)
		assert.False(t, isClosed(r.Started()))
	})
}

func TestEnvironmentAndFolder(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	c := Command{
		Args: []string{"/bin/sh", "-c", `pwd; echo "$QUELL_RUN/$A"; tr '\0' '\n' < /proc/self/environ; echo event >&3; cat; echo "end of input" >&2`},
		Env:  []string{"A=b", "QUELL_RUN=another/run", "PATH=" + os.Getenv("PATH")},
	}
	f.done(f.start("run", c))
	log, err := os.ReadFile(f.sup.LogPath(f.job, "run"))
	require.NoError(t, err)
	dir := f.sup.Dir(f.job, "run")
	assert.Contains(t, string(log), dir+"\n"+f.job+"/run/b\n")
	assert.Contains(t, string(log), "QUELL_RUN="+f.job+"/run\n")
	assert.NotContains(t, string(log), "QUELL_RUN=another/run")
	assert.Contains(t, string(log), "end of input\n", "stdin is empty, stderr in the log")
	events, err := os.ReadFile(f.sup.EventsPath(f.job, "run"))
	require.NoError(t, err)
	assert.Equal(t, "event\n", string(events))
	info, err := os.Stat(dir)
	require.NoError(t, err)
	assert.EqualValues(t, 0o700, info.Mode().Perm())
	assert.NoFileExists(t, filepath.Join(dir, orderFile))
}

// A supervisor under nohup ignores SIGHUP and SIGINT, which survives exec, and
// whoever started it may have left descriptors open.
func TestWhatTheSupervisorInheritedIsNotPassedOn(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	wrapper := filepath.Join(f.root, "shim")
	require.NoError(t, os.WriteFile(wrapper,
		[]byte("#!/bin/sh\ntrap '' HUP INT TERM QUIT\nexec 8</dev/zero\nexec "+shimPath+` "$@"`+"\n"), 0o700))
	f.sup.shim = wrapper
	f.done(f.start("run", Command{Args: []string{"/bin/sh", "-c", "cat /proc/self/status; ls -l /proc/self/fd"}, Env: []string{"PATH=" + os.Getenv("PATH")}}))
	log, err := os.ReadFile(f.sup.LogPath(f.job, "run"))
	require.NoError(t, err)
	// 32 and up are realtime signals, which no shell sends; the C library
	// keeps some for itself and Go leaves them alone.
	assert.Regexp(t, `SigIgn:\t[0-9a-f]{8}[08]0{7}\n`, string(log))
	assert.Contains(t, string(log), "3 -> pipe:")
	assert.NotContains(t, string(log), "/dev/zero")
	assert.NotContains(t, string(log), "socket:")
}

func TestKills(t *testing.T) {
	base, _ := findCgroup()
	tests := map[string]struct {
		mode  string
		procs int
		arg   func(f *fixture) []string
	}{
		"one process":                      {mode: "linger", procs: 1},
		"one that ignores signals":         {mode: "deaf", procs: 1},
		"a tree of eleven":                 {mode: "tree", procs: 11},
		"one that moves out of its cgroup": {mode: "leaver", procs: 2, arg: func(*fixture) []string { return []string{base} }},
		"one in a cgroup of its own": {mode: "nest", procs: 1, arg: func(f *fixture) []string {
			return []string{filepath.Join(base, cgroupPrefix+f.job, "run")}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			modes := eachMode
			if test.arg != nil {
				modes = inCgroup
			}
			modes(t, func(t *testing.T, f *fixture) {
				var args []string
				if test.arg != nil {
					if os.Getuid() != 0 {
						t.Skip("needs root")
					}
					args = test.arg(f)
				}
				r := f.start("run", f.command(test.mode, args...))
				f.reported(test.procs)
				wait(t, r.Started(), "started")
				if test.mode == "deaf" {
					f.logHas(r, "deaf")
				}
				r.Kill("first")
				r.Kill("second")
				e := f.done(r)
				assert.True(t, e.Killed)
				assert.Equal(t, "KILL", e.Signal)
				assert.Equal(t, -1, e.ExitCode)
				assert.Equal(t, f.mode.proof, e.Proof)
				assert.Zero(t, e.LeftoverCount, "what a kill ends is no leftover")
				require.NotNil(t, e.Kill)
				assert.Equal(t, "first", e.Kill.Cause)
				assert.WithinRange(t, e.Kill.SignalledAt, e.Kill.RequestedAt, e.DeadAt)
				r.Kill("third") // after the end
				require.NoError(t, f.sup.Remove(f.job))
			})
		})
	}
}

// reforker re-forks every few milliseconds, each time in a new session, and
// reports itself. The shell is quicker at that than the test binary.
const reforker = `#!/bin/sh
read -r stat < /proc/$$/stat
set -- $stat
echo "$1 ${22}" > "$QUELL_TEST_FIFO"
sleep 0.003
setsid "$REFORKER" &
`

func TestReforkers(t *testing.T) {
	for name, killed := range map[string]bool{"killed": true, "left over": false} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, f *fixture) {
				script := filepath.Join(f.root, "reforker")
				require.NoError(t, os.WriteFile(script, []byte(reforker), 0o700))
				c := f.command("")
				c.Args = []string{"/bin/sh", "-c", `"$REFORKER"; read -r line < "$QUELL_TEST_GATE"`}
				gate := filepath.Join(f.root, "gate")
				require.NoError(t, unix.Mkfifo(gate, 0o600))
				c.Env = append(c.Env, "REFORKER="+script, "QUELL_TEST_GATE="+gate)
				r := f.start("run", c)
				f.reported(10)
				if killed {
					r.Kill("test")
				} else {
					require.NoError(t, os.WriteFile(gate, []byte("go\n"), 0))
				}
				e := f.done(r)
				assert.Equal(t, killed, e.Killed)
				assert.Equal(t, f.mode.proof, e.Proof)
				if !killed {
					assert.Positive(t, e.LeftoverCount)
				}
				require.NoError(t, f.sup.Remove(f.job))
			})
		})
	}
}

// gatedShim makes a supervisor's shims wait for the gate to be opened before
// they begin.
func (f *fixture) gatedShim() (open func()) {
	gate := filepath.Join(f.root, "shim-gate")
	require.NoError(f.t, unix.Mkfifo(gate, 0o600))
	wrapper := filepath.Join(f.root, "shim")
	require.NoError(f.t, os.WriteFile(wrapper, []byte("#!/bin/sh\nread -r line < "+gate+"\nexec "+shimPath+` "$@"`+"\n"), 0o700))
	f.sup.shim = wrapper
	return func() { require.NoError(f.t, os.WriteFile(gate, []byte("go\n"), 0)) }
}

func (f *fixture) marking(mark string) Command {
	return Command{Args: []string{"/bin/sh", "-c", "echo > " + mark}}
}

func TestKillBeforeTheStart(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		open := f.gatedShim()
		mark := filepath.Join(f.root, "mark")
		r := f.start("run", f.marking(mark))
		r.Kill("too early")
		open()
		e := f.done(r)
		assert.True(t, e.NeverStarted)
		assert.False(t, e.Killed)
		assert.Equal(t, ProofNeverStarted, e.Proof)
		require.NotNil(t, e.Kill)
		assert.Equal(t, "too early", e.Kill.Cause)
		assert.NoFileExists(t, mark)
		assert.False(t, isClosed(r.Started()))
		require.NoError(t, f.sup.Remove(f.job))
	})
}

func TestSealedRunNeverStarts(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	open := f.gatedShim()
	mark := filepath.Join(f.root, "mark")
	late := f.start("run", f.marking(mark))
	claimed, err := f.sup.Seal(f.job, "run")
	require.NoError(t, err)
	assert.True(t, claimed)
	open()
	e := f.done(late)
	assert.True(t, e.NeverStarted)
	assert.NoFileExists(t, mark)

	claimed, err = f.sup.Seal(f.job, "run")
	require.NoError(t, err)
	assert.False(t, claimed, "sealed already")
	assert.True(t, f.done(f.start("run", f.marking(mark))).NeverStarted)
	assert.NoFileExists(t, mark)
}

func TestSealComesTooLate(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	r := f.start("run", f.command("linger"))
	wait(t, r.Started(), "started")
	claimed, err := f.sup.Seal(f.job, "run")
	require.NoError(t, err)
	assert.False(t, claimed)
	r.Kill("end")
	assert.True(t, f.done(r).Killed)
}

// Whatever the order, the record says what happened: a run that has ended by
// itself has not been killed.
func TestKillWhileTheCommandEnds(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		for _, run := range []string{"1", "2", "3", "4", "5", "6", "7", "8"} {
			c := Command{Args: []string{"/bin/sh", "-c", "echo ending; exit 7"}}
			r := f.start(run, c)
			f.logHas(r, "ending")
			r.Kill("while it ends")
			e := f.done(r)
			if e.Killed {
				assert.Equal(t, "KILL", e.Signal)
				assert.NotNil(t, e.Kill)
			} else {
				assert.Equal(t, 7, e.ExitCode)
				assert.Empty(t, e.Signal)
			}
		}
	})
}

// A foreign SIGKILL is not ours, even if a kill comes afterwards.
func TestForeignKillIsNoKill(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		r := f.start("run", f.command("linger"))
		main := f.reported(1)[0]
		require.NoError(t, unix.Kill(main.PID, syscall.SIGKILL))
		e := f.done(r)
		assert.Equal(t, "KILL", e.Signal)
		assert.False(t, e.Killed)
		assert.Nil(t, e.Kill)
	})
}

// The command is dead when the kill comes, but nobody has noticed yet: the shim
// is stopped meanwhile. Then nothing was killed, whoever the shim hears first.
func TestKillComesBetweenDeathAndReaping(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		for i, run := range []string{"1", "2", "3", "4", "5"} {
			r := f.start(run, f.command("linger"))
			main := f.reported(i + 1)[i]
			wait(t, r.Started(), "started")
			shim := f.shimOf(run)
			require.NoError(t, unix.Kill(shim.PID, unix.SIGSTOP))
			require.NoError(t, unix.Kill(main.PID, unix.SIGKILL))
			f.gone(main)
			r.Kill("too late")
			require.NoError(t, unix.Kill(shim.PID, unix.SIGCONT))
			e := f.done(r)
			assert.Equal(t, "KILL", e.Signal)
			assert.False(t, e.Killed)
			if e.Kill != nil {
				assert.True(t, e.Kill.SignalledAt.IsZero())
			}
		}
	})
}
