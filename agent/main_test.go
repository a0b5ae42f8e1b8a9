package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"quell"
	"quell/agent/ansible"
	"quell/internal/process"
	"quell/metrics"
)

// The tests run a real supervisor with real shims over a store in memory. In
// place of ansible-playbook, playbooks are shell scripts.

var shim string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "quell-agent-")
	if err != nil {
		panic(err)
	}
	shim = filepath.Join(dir, "quell-shim")
	build := exec.Command("go", "build", "-o", shim, "quell/cmd/quell-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build quell-shim: %v\n%s", err, out))
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const job1 = "0190a000-0000-7000-8000-00000000000a"

// node is what a node has: a disk, and an agent now and then.
type node struct {
	t     *testing.T
	store *fakeStore
	dir   string // for what the playbooks tell
	data  string
	temp  string
	log   *lockedBuffer

	limits    quell.Limits
	inventory string
	check     func(quell.Template, json.RawMessage) error

	agent  *Agent
	sup    *process.Supervisor
	cancel context.CancelFunc
	ended  chan error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "qa") //nolint:usetesting // short: sockets lie below it
	require.NoError(t, err)
	n := &node{t: t, store: newFakeStore(), dir: dir, data: filepath.Join(dir, "data"), temp: filepath.Join(dir, "t"), log: &lockedBuffer{}}
	for _, d := range []string{n.data, n.temp, filepath.Join(dir, "playbooks")} {
		require.NoError(t, os.Mkdir(d, 0o700))
	}
	n.write("ansible", "#!/bin/sh\nVARS=${2#@} export VARS\nfor last; do :; done\nexec sh -e \"$last\"\n")
	require.NoError(t, os.Chmod(filepath.Join(dir, "ansible"), 0o700))
	t.Cleanup(func() {
		n.store.hook(nil, nil)
		n.stop()
		n.killStrays()
		if t.Failed() {
			t.Logf("log:\n%s", n.log)
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return n
}

// killStrays ends what a failed test has left.
func (n *node) killStrays() {
	sup, err := process.New(process.Options{Root: RunsDir(n.data)})
	require.NoError(n.t, err)
	defer sup.Close()
	ids, err := sup.Unfinished()
	require.NoError(n.t, err)
	for _, id := range ids {
		if p, err := sup.Adopt(id.Job, id.Run); err == nil {
			p.Kill("test")
			<-p.Done()
			_ = p.Close()
		}
	}
}

func (n *node) write(name, text string) {
	require.NoError(n.t, os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o600))
}

// template makes playbooks of scripts. Each tells that it was started, and its
// pid; $D is the node's folder.
func (n *node) template(scripts ...string) quell.Template {
	t := quell.Template{}
	for i, script := range scripts {
		name := fmt.Sprintf("p%d.yml", i)
		n.write("playbooks/"+name, fmt.Sprintf("D=%s\necho %d >>$D/starts\necho $$ >$D/pid.new\nmv $D/pid.new $D/pid\n%s\n", n.dir, i, script))
		t.Playbooks = append(t.Playbooks, quell.Playbook{URI: name})
	}
	return t
}

const (
	forever = "exec sleep 300"
	gated   = "until [ -e $D/go ]; do sleep 0.01; done"
)

func (n *node) start() {
	n.t.Helper()
	log := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	n.sup, err = process.New(process.Options{Root: RunsDir(n.data), Shim: shim, Logger: log})
	require.NoError(n.t, err)
	play, err := ansible.New(ansible.Options{
		Binary: filepath.Join(n.dir, "ansible"), PlaybookDir: filepath.Join(n.dir, "playbooks"), PluginDir: filepath.Join(n.data, "plugins"),
		Inventory: n.inventory,
	})
	require.NoError(n.t, err)
	n.agent, err = New(Options{
		Info: quell.NodeInfo{Node: "n1", Capacity: 4, Instance: n.data}, DataDir: n.data, TempDir: n.temp, Store: n.store,
		Processes: Supervised(n.sup), Ansible: play, Limits: n.limits, CheckOutput: n.check, Logger: log, Metrics: metrics.NewAgent(prometheus.NewRegistry()),
	})
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	ended, a := n.ended, n.agent
	go func() { ended <- a.Run(ctx) }()
}

// stop ends the agent; its runs go on.
func (n *node) stop() {
	n.t.Helper()
	if n.cancel == nil {
		return
	}
	n.cancel()
	require.NoError(n.t, <-n.ended)
	n.sup.Close()
	n.cancel = nil
}

// crashed waits for the end of an agent that a hook has stopped.
func (n *node) crashed() {
	n.t.Helper()
	require.NoError(n.t, <-n.ended)
	n.sup.Close()
	n.cancel = nil
}

func (n *node) eventually(what string, is func() bool) {
	n.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		require.True(n.t, time.Now().Before(end), "%s: not within 30 s; the job is %+v", what, n.store.state(job1))
	}
}

// running waits until the playbook is stored as RUNNING, and tells its pid.
func (n *node) running(i int) int {
	n.t.Helper()
	n.eventually("the playbook runs", func() bool { return n.store.state(job1).Playbooks[i].Status == quell.PlaybookRunning })
	n.eventually("the playbook tells its pid", func() bool { return n.starts() == fmt.Sprint("01234"[:i+1]) && n.pid() > 0 })
	return n.pid()
}

func (n *node) final() quell.State {
	n.t.Helper()
	n.eventually("the job is final", func() bool { return n.store.state(job1).Status.Final() })
	n.eventually("the agent has let go of it", func() bool { return n.agent.Running() == 0 })
	require.NoDirExists(n.t, filepath.Join(n.temp, "quell-"+job1))
	return n.store.state(job1)
}

func (n *node) pid() int {
	text, _ := os.ReadFile(filepath.Join(n.dir, "pid"))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// starts are the numbers of the playbooks in the order in which they started.
func (n *node) starts() string {
	text, _ := os.ReadFile(filepath.Join(n.dir, "starts"))
	return strings.ReplaceAll(string(text), "\n", "")
}

func dead(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(text), ") ")
	return err != nil || strings.HasPrefix(state, "Z")
}
