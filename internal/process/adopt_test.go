package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestAdoptNothing(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	_, err := f.sup.Adopt(f.job, "run")
	require.ErrorIs(t, err, ErrNotClaimed)
}

func TestAdoptALiveRun(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		first := f.start("run", f.command("tree"))
		f.reported(11)
		wait(t, first.Started(), "started")
		require.NoError(t, first.Close())
		first.Kill("by one that has closed") // goes nowhere, and does no harm
		assert.False(t, isClosed(first.Done()))

		second := f.adopt("run")
		wait(t, second.Started(), "started")
		assert.True(t, first.StartedAt().Equal(second.StartedAt()))
		third := f.adopt("run")
		wait(t, third.Started(), "started")
		require.NoError(t, unix.Kill(f.shimOf("run").PID, unix.SIGSTOP)) // so that it finds both
		second.Kill("adopter")
		third.Kill("another")
		require.NoError(t, unix.Kill(f.shimOf("run").PID, unix.SIGCONT))
		e := f.done(third)
		assert.Contains(t, []string{"adopter", "another"}, e.Kill.Cause)
		assert.Equal(t, e.Kill.Cause, f.done(second).Kill.Cause)
		assert.True(t, e.Killed)
		assert.Equal(t, f.mode.proof, f.done(second).Proof)
	})
}

func TestAdoptARunThatHasEnded(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		gate := filepath.Join(f.root, "gate")
		require.NoError(t, unix.Mkfifo(gate, 0o600))
		r := f.start("run", Command{Args: []string{"/bin/sh", "-c", "read -r line < " + gate + "; exit 3"}})
		wait(t, r.Started(), "started")
		shim := f.shimOf("run")
		require.NoError(t, r.Close())
		require.NoError(t, os.WriteFile(gate, []byte("go\n"), 0))
		f.gone(shim)

		e := f.done(f.adopt("run"))
		assert.Equal(t, 3, e.ExitCode)
		assert.Equal(t, f.mode.proof, e.Proof)
		again, err := f.sup.Start(f.job, "run", f.command("linger"))
		require.NoError(t, err)
		assert.Equal(t, 3, f.done(again).ExitCode, "a run is never started twice")
	})
}

// A kill asked for before there is a connection is sent once there is one.
func TestKillRightAfterAdoption(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		first := f.start("run", f.command("tree"))
		f.reported(11)
		shim := f.shimOf("run")
		require.NoError(t, first.Close())
		// The path of the socket is in the way of connecting for now.
		socket := filepath.Join(f.sup.Dir(f.job, "run"), socketFile)
		require.NoError(t, os.Rename(socket, socket+".away"))
		r := f.adopt("run")
		r.Kill("at once")
		require.NoError(t, os.Rename(socket+".away", socket))
		e := f.done(r)
		assert.Equal(t, "at once", e.Kill.Cause)
		assert.True(t, e.Killed)
		assert.Equal(t, shim, e.Shim)
	})
}

// The agent is killed outright; its run does not notice and is found again.
func TestAgentIsKilled(t *testing.T) {
	eachMode(t, func(t *testing.T, f *fixture) {
		agent := exec.Command(testBinary(), filepath.Join(f.root, "runs"), f.job, strconv.FormatBool(f.mode.noCgroup))
		agent.Env = []string{"QUELL_TEST_CHILD=agent", "QUELL_TEST_FIFO=" + f.fifo.Name(), "QUELL_TEST_SHIM=" + shimPath}
		require.NoError(t, agent.Start())
		f.reported(12) // the agent, and a tree of eleven
		require.NoError(t, agent.Process.Kill())
		_ = agent.Wait()

		ids, err := f.sup.Unfinished()
		require.NoError(t, err)
		assert.Equal(t, []ID{{f.job, "run"}}, ids)
		require.ErrorIs(t, f.sup.Remove(f.job), ErrUnfinished)
		require.ErrorIs(t, f.sup.RemoveFiles(f.job), ErrUnfinished)

		r := f.adopt("run")
		wait(t, r.Started(), "started")
		alive := 0
		for _, id := range f.known {
			if id.alive() {
				alive++
			}
		}
		assert.Equal(t, 11, alive)
		r.Kill("after the restart")
		assert.True(t, f.done(r).Killed)

		ids, err = f.sup.Unfinished()
		require.NoError(t, err)
		assert.Empty(t, ids)
		require.NoError(t, f.sup.Remove(f.job))
		require.NoError(t, f.sup.RemoveFiles(f.job))
		assert.NoDirExists(t, f.sup.Dir(f.job, "run"))
	})
}

func TestDeadShim(t *testing.T) {
	for name, watched := range map[string]bool{"while watched": true, "while nobody watches": false} {
		t.Run(name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, f *fixture) {
				r := f.start("run", f.command("tree"))
				f.reported(11)
				wait(t, r.Started(), "started")
				shim := f.shimOf("run")
				if !watched {
					require.NoError(t, r.Close())
				}
				require.NoError(t, unix.Kill(shim.PID, unix.SIGKILL))
				f.gone(shim)
				if !watched {
					r = f.adopt("run")
				}
				e := f.done(r)
				assert.Contains(t, e.Error, "shim died")
				assert.Equal(t, shim, e.Shim)
				assert.Equal(t, -1, e.ExitCode)
				assert.False(t, e.Killed)
				want := map[Proof]Proof{ProofCgroup: ProofCgroup, ProofReaped: Unproven}[f.mode.proof]
				assert.Equal(t, want, e.Proof)
				assert.Equal(t, want != Unproven, e.Proven())
				require.NoError(t, f.sup.Remove(f.job))
			})
		})
	}
}

// A claim of an earlier boot is dead whatever runs under its pid now.
func TestRebootedNode(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	dir, err := f.sup.makeRunDir(ID{f.job, "run"})
	require.NoError(t, err)
	me, err := self()
	require.NoError(t, err)
	me.Boot = "another"
	require.NoError(t, writeOnce(dir, claimFile, claim{Version: 1, Identity: me}))
	e := f.done(f.adopt("run"))
	assert.Equal(t, ProofRebooted, e.Proof)
	assert.Contains(t, e.Error, "restarted")
}

// The pid of the dead shim is another process's now: this test's.
func TestReusedPidOfAShim(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	dir, err := f.sup.makeRunDir(ID{f.job, "run"})
	require.NoError(t, err)
	me, err := self()
	require.NoError(t, err)
	me.Start--
	require.NoError(t, writeOnce(dir, claimFile, claim{Version: 1, Identity: me}))
	e := f.done(f.adopt("run"))
	assert.Equal(t, Unproven, e.Proof)
	assert.Contains(t, e.Error, "shim died")
}

// Whoever sealed a run died before it wrote the exit record.
func TestHalfSealedRun(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	dir, err := f.sup.makeRunDir(ID{f.job, "run"})
	require.NoError(t, err)
	sealed, err := seal(dir)
	require.NoError(t, err)
	require.True(t, sealed)
	e := f.done(f.adopt("run"))
	assert.True(t, e.NeverStarted)
	assert.Equal(t, ProofNeverStarted, e.Proof)
}

func TestShimThatCannotClaim(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	f.sup.shim = "/bin/false"
	r := f.start("run", f.command("linger"))
	r.Kill("meanwhile")
	e := f.done(r)
	assert.True(t, e.NeverStarted)
	assert.Contains(t, e.Error, "exit code 1")
	assert.Equal(t, "meanwhile", e.Kill.Cause)

	f.sup.shim = "/nonexistent/shim"
	_, err := f.sup.Start(f.job, "other", f.command("linger"))
	require.ErrorIs(t, err, unix.ENOENT)
}

func TestCloseOfTheSupervisorLeavesShimsAlone(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	r := f.start("run", f.command("linger"))
	wait(t, r.Started(), "started")
	require.NoError(t, r.Close())
	f.sup.Close()
	assert.True(t, f.shimOf("run").alive())
	r = f.adopt("run")
	r.Kill("end")
	assert.True(t, f.done(r).Killed)
}

func TestShimsAreWaitedFor(t *testing.T) {
	f := newFixture(t, mode{noCgroup: true})
	for name, pidfd := range map[string]bool{"by pidfd": true, "without": false} {
		cmd := exec.Command("/bin/cat")
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		fd := -1
		if pidfd {
			fd, err = unix.PidfdOpen(cmd.Process.Pid, 0)
			require.NoError(t, err)
		}
		c := f.sup.addChild(cmd.Process.Pid, fd)
		require.NoError(t, in.Close())
		wait(t, c.ended, "child waited for "+name)
		assert.Equal(t, 0, c.status.ExitStatus())
		_ = cmd.Process.Release()
	}
}
