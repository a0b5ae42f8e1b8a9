package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// An ssh master has a session of its own, parent 1, and stays a minute after
// its playbook: no end of a job may leave it behind.
func TestNoSSHMasterSurvives(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	port := startSSHD(t)
	start := func(t *testing.T) *testJob {
		key, err := os.ReadFile(port.key)
		require.NoError(t, err)
		j := c.in(t).order(order{
			template: "remote", input: map[string]any{"port": port.number, "user": port.user}, files: map[string]string{"key": string(key)},
		})
		j.running(0)
		require.Contains(t, fmt.Sprint(j.processes()), "[mux]", "there is a master to be killed")
		return j
	}
	t.Run("force", func(t *testing.T) {
		j := start(t)
		j.abort("force", "")
		j.reach("ABORTED")
		require.Empty(t, j.processes())
		j.nothingLeft()
	})
	t.Run("normal end", func(t *testing.T) {
		j := start(t)
		j.finish(0)
		v := j.reach("SUCCESS")
		require.Empty(t, j.processes())
		require.Contains(t, fmt.Sprint(v.Playbooks[0].Leftovers), "ssh")
	})
}

type sshd struct {
	number int
	user   string
	key    string
}

// startSSHD starts an sshd of the test's own on a loopback port.
func startSSHD(t *testing.T) sshd {
	t.Helper()
	dir := t.TempDir()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd" // Debian keeps it off the PATH of ordinary users
	}
	for _, name := range []string{"host", "key"} {
		out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	public, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "authorized"), public, 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	number := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	if os.Geteuid() == 0 {
		require.NoError(t, os.MkdirAll("/run/sshd", 0o755)) // sshd wants it for its unprivileged part
	}
	log := &lockedBuffer{}
	server := exec.Command(path, "-D", "-e", "-f", "/dev/null", "-p", fmt.Sprint(number), "-h", filepath.Join(dir, "host"),
		"-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none", "-o", "StrictModes=no", "-o", "PermitRootLogin=yes",
		"-o", "AuthorizedKeysFile="+filepath.Join(dir, "authorized"))
	server.Stderr = log
	require.NoError(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log)
		}
	})
	eventually(t, "sshd listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", number))
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	me, err := user.Current()
	require.NoError(t, err)
	return sshd{number: number, user: me.Username, key: filepath.Join(dir, "key")}
}
