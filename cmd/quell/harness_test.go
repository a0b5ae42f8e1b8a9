package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell/store/embedded"
)

// The end-to-end tests run the built binaries against real ansible-playbook
// and real etcdctl. This file builds, starts, asks and looks.

var binaries string // the folder with quell, quell-shim and etcdctl

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "quell-e2e-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binaries = dir
	for _, args := range [][]string{
		{"build", "-race", "-o", dir + "/quell", "."},
		{"build", "-o", dir + "/quell-shim", "../quell-shim"},
		{"build", "-o", dir + "/etcdctl", "go.etcd.io/etcd/etcdctl/v3"},
	} {
		build := exec.Command("go", args...)
		if args[1] != "-race" {
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
		}
		if out, err := build.CombinedOutput(); err != nil {
			panic(fmt.Sprintf("go %v: %v\n%s", args, err, out))
		}
	}
	return m.Run()
}

// patience bounds every wait; a healthy machine needs a small part of it.
const patience = 60 * time.Second

// daemon is a running quell process.
type daemon struct {
	t     *testing.T
	cmd   *exec.Cmd
	log   *lockedBuffer
	ready string
	ended chan struct{}
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

// spawn starts quell; the test's end kills it if it still runs.
func spawn(t *testing.T, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, log: &lockedBuffer{}, ready: filepath.Join(t.TempDir(), "ready"), ended: make(chan struct{})}
	args = append(args, "--print-ready", d.ready, "--log-level", "debug")
	d.cmd = exec.Command(filepath.Join(binaries, "quell"), args...)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=0")
	require.NoError(t, d.cmd.Start())
	go func() { _ = d.cmd.Wait(); close(d.ended) }()
	t.Cleanup(func() {
		d.kill()
		require.NotContains(t, d.log.String(), "DATA RACE")
		if t.Failed() {
			t.Logf("log of quell %s:\n%s", args[0], d.log)
		}
	})
	return d
}

// up waits until the daemon serves and returns its ready line.
func (d *daemon) up() ready {
	d.t.Helper()
	var r ready
	eventually(d.t, "quell is up", func() bool {
		select {
		case <-d.ended:
			require.FailNow(d.t, "quell has ended", d.log.String())
		default:
		}
		text, err := os.ReadFile(d.ready)
		return err == nil && json.Unmarshal(text, &r) == nil
	})
	return r
}

func (d *daemon) signal(s syscall.Signal) { _ = d.cmd.Process.Signal(s) }

// kill ends it as a crash would.
func (d *daemon) kill() {
	d.signal(syscall.SIGKILL)
	<-d.ended
}

// stop ends it as a service manager would, and returns the exit code.
func (d *daemon) stop() int {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	return d.wait()
}

// wait waits for its end and returns the exit code.
func (d *daemon) wait() int {
	d.t.Helper()
	select {
	case <-d.ended:
	case <-time.After(patience):
		require.FailNow(d.t, "quell does not end", d.log.String())
	}
	return d.cmd.ProcessState.ExitCode()
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		if time.Now().After(deadline) {
			require.FailNow(t, "in vain waited for: "+what)
		}
		<-tick.C
	}
}

// cluster is a running Quell, in one process or several.
type cluster struct {
	t    *testing.T
	api  string
	etcd string
}

const (
	playbookDir  = "testdata/playbooks"
	templateFile = "testdata/templates/e2e.yml"
)

// dev starts `quell dev`.
func startDev(t *testing.T, dataDir string, args ...string) (*daemon, *cluster) {
	t.Helper()
	d := spawn(t, append([]string{
		"dev", "--listen", "127.0.0.1:0", "--etcd-listen", "127.0.0.1:0", "--data-dir", dataDir,
		"--playbook-dir", playbookDir, "--templates", templateFile, "--max-jobs", "50",
	}, args...)...)
	r := d.up()
	return d, &cluster{t: t, api: r.API, etcd: r.Etcd}
}

// startEtcd starts an etcd for processes of their own.
func startEtcd(t *testing.T) string {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", UnsafeNoFsync: true})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s.Endpoint()
}

func startAPIServer(t *testing.T, etcd string, args ...string) *cluster {
	t.Helper()
	d := spawn(t, append([]string{"apiserver", "--etcd-endpoints", etcd, "--listen", "127.0.0.1:0"}, args...)...)
	c := &cluster{t: t, api: d.up().API, etcd: etcd}
	text, err := os.ReadFile(templateFile)
	require.NoError(t, err)
	for _, document := range strings.Split(string(text), "---\n") {
		name := strings.SplitN(strings.SplitN(document, "[", 2)[1], "]", 2)[0]
		code, body := c.call("PUT", "/v1/job-templates/"+strings.ReplaceAll(name, ", ", ":"), document)
		require.Equal(t, http.StatusOK, code, body)
	}
	return c
}

func spawnAgent(t *testing.T, etcd, node, dataDir string, args ...string) *daemon {
	t.Helper()
	return spawn(t, append([]string{
		"agent", "--etcd-endpoints", etcd, "--listen", "127.0.0.1:0", "--node", node,
		"--data-dir", dataDir, "--playbook-dir", playbookDir,
	}, args...)...)
}

// call makes a request and returns the status code and the body.
func (c *cluster) call(method, path, body string) (int, string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.api+path, strings.NewReader(body))
	require.NoError(c.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp.StatusCode, string(text)
}

// etcdctl runs the real etcdctl.
func (c *cluster) etcdctl(args ...string) string {
	c.t.Helper()
	out, err := exec.Command(filepath.Join(binaries, "etcdctl"), append([]string{"--endpoints", c.etcd}, args...)...).CombinedOutput()
	require.NoError(c.t, err, string(out))
	return string(out)
}

// testJob is a job whose playbooks talk with the test through a folder.
type testJob struct {
	*cluster
	id  string
	dir string
}

// start starts a job of the template test:<name>.
func (c *cluster) start(name string) *testJob {
	c.t.Helper()
	return c.order(order{template: name})
}

// order is what a job is started with.
type order struct {
	template string         // test:<template>
	input    map[string]any // beside dir and secret
	fabric   string         // its fabric_fq_name in the input
	params   map[string]any
	devices  []string // the device_list in params
	query    string   // such as ?on_lock=fail
	files    map[string]string
	look     bool // the playbooks note their variables
}

// order starts a job.
func (c *cluster) order(o order) *testJob {
	c.t.Helper()
	j := &testJob{cluster: c, dir: c.t.TempDir()}
	write(c.t, j.dir, o.files)
	code, body := c.request(o, j.dir)
	require.Equal(c.t, http.StatusOK, code, body)
	j.id = newJobID(c.t, body)
	c.t.Cleanup(j.sweep)
	return j
}

func (c *cluster) request(o order, dir string) (code int, answer string) {
	c.t.Helper()
	input := map[string]any{"dir": dir, "secret": "pssst-" + o.template}
	maps.Copy(input, o.input)
	if o.fabric != "" {
		input["fabric_fq_name"] = o.fabric
	}
	if o.look {
		input["look"] = true
	}
	params := map[string]any{}
	maps.Copy(params, o.params)
	if o.devices != nil {
		params["device_list"] = o.devices
	}
	body, err := json.Marshal(map[string]any{
		"job_template_fq_name": []string{"test", o.template}, "input": input, "params": params,
	})
	require.NoError(c.t, err)
	return c.call("POST", "/execute-job"+o.query, string(body))
}

// newJobID reads the answer to a request that makes a job.
func newJobID(t *testing.T, body string) string {
	t.Helper()
	var answer struct {
		ID string `json:"job_execution_id"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	require.NotEmpty(t, answer.ID)
	return answer.ID
}

// sweep kills what a failed test has left of its job.
func (j *testJob) sweep() {
	for _, process := range j.processes() {
		pid, err := strconv.Atoi(filepath.Base(strings.Fields(process)[0]))
		if err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	left, _ := filepath.Glob(j.tempDirs())
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
}

// tempDirs is the pattern of the job's temp folders.
func (j *testJob) tempDirs() string { return filepath.Join(os.TempDir(), "quell-"+j.id+"*") }

// view is what the tests read of a job in the API.
type view struct {
	Status     string  `json:"status"`
	Reason     string  `json:"reason"`
	Percentage float64 `json:"percentage_completed"`
	Node       string  `json:"node"`
	Playbooks  []step  `json:"playbooks"`
	Recovery   []step  `json:"recovery"`
	Devices    []struct {
		ID      string `json:"device_id"`
		Status  string `json:"status"`
		Changed bool   `json:"changed"`
		Error   string `json:"error"`
	} `json:"devices"`
	Warnings    []string        `json:"warnings"`
	Output      json.RawMessage `json:"output"`
	Transaction string          `json:"transaction_id"`
	ResumedFrom string          `json:"resumed_from"`
	ResumedAs   string          `json:"resumed_as"`
	RerunOf     string          `json:"rerun_of"`
	Locks       *struct {
		Level  string `json:"level"`
		Fabric string `json:"fabric"`
	} `json:"locks"`
	Abort *struct {
		Mode        string `json:"mode"`
		Source      string `json:"source"`
		RequestedBy string `json:"requested_by"`
		Reason      string `json:"reason"`
		SeenAt      string `json:"seen_at"`
		SignalledAt string `json:"signalled_at"`
		DeadAt      string `json:"dead_at"`
		Outcome     string `json:"outcome"`
		Error       string `json:"error"`
	} `json:"abort"`
}

type step struct {
	URI       string `json:"playbook_uri"`
	Status    string `json:"status"`
	ExitCode  *int   `json:"exit_code"`
	Signal    string `json:"signal"`
	Error     string `json:"error"`
	Try       int    `json:"try"`
	From      string `json:"from"`
	Leftovers []any  `json:"leftovers"`
}

func (j *testJob) get() view {
	j.t.Helper()
	code, body := j.call("GET", "/v1/jobs/"+j.id, "")
	require.Equal(j.t, http.StatusOK, code, body)
	var v view
	require.NoError(j.t, json.Unmarshal([]byte(body), &v), body)
	return v
}

// reach waits for a status.
func (j *testJob) reach(status string) view {
	j.t.Helper()
	var v view
	eventually(j.t, "status "+status, func() bool { v = j.get(); return v.Status == status || isFinal(v.Status) })
	require.Equal(j.t, status, v.Status, "reason: %s", v.Reason)
	return v
}

func isFinal(status string) bool {
	return strings.Contains("SUCCESS WARNING FAILURE ABORTED LOST", status)
}

func (j *testJob) file(name string) string { return filepath.Join(j.dir, name) }

func (j *testJob) exists(name string) bool {
	_, err := os.Stat(j.file(name))
	return err == nil
}

func (j *testJob) touch(names ...string) {
	j.t.Helper()
	for _, name := range names {
		require.NoError(j.t, os.WriteFile(j.file(name), nil, 0o600))
	}
}

// running waits until the n-th step runs.
func (j *testJob) running(n int) *testJob {
	j.t.Helper()
	eventually(j.t, fmt.Sprintf("step %d runs", n), func() bool { return j.exists("ran-" + strconv.Itoa(n)) })
	return j
}

// finish lets the n-th step end.
func (j *testJob) finish(n int) { j.touch("go-" + strconv.Itoa(n)) }

// onDevices waits until device.yml runs on these (see its NAME).
func (j *testJob) onDevices(names ...string) *testJob {
	j.t.Helper()
	for _, name := range names {
		eventually(j.t, "a run on "+name, func() bool { return j.exists("ran-" + name) })
	}
	return j
}

// saw are the variables that a playbook of a job with input.look has noted.
func (j *testJob) saw(file string) map[string]any {
	j.t.Helper()
	text, err := os.ReadFile(j.file(file))
	require.NoError(j.t, err)
	var vars map[string]any
	require.NoError(j.t, json.Unmarshal(text, &vars), string(text))
	return vars
}

// write makes files, each with its text.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

// deviceStatuses are those of a job's devices, in order.
func (v view) deviceStatuses() []string {
	var list []string
	for _, d := range v.Devices {
		list = append(list, d.Status)
	}
	return list
}

// locks are the locks that are held, with the jobs that hold them.
func (c *cluster) locks() string {
	c.t.Helper()
	return c.etcdctl("get", "--prefix", "/locks/")
}

// abort posts an abort of this job and returns the result.
func (j *testJob) abort(mode, query string) abortResult {
	j.t.Helper()
	code, body := j.call("POST", "/abort-job"+query, fmt.Sprintf(
		`{"input": {"job_execution_ids": [%q], "abort_mode": %q}}`, j.id, mode))
	require.Equal(j.t, http.StatusOK, code, body)
	var answer struct {
		Results []abortResult `json:"results"`
	}
	require.NoError(j.t, json.Unmarshal([]byte(body), &answer), body)
	require.Len(j.t, answer.Results, 1)
	return answer.Results[0]
}

type abortResult struct {
	ID       string `json:"job_execution_id"`
	Outcome  string `json:"outcome"`
	Status   string `json:"status"`
	Mode     string `json:"abort_mode"`
	Final    bool   `json:"final"`
	WaitsFor string `json:"waits_for"`
}

// nothingLeft checks the promise: no process of the job, no lock and no other
// key that lives only until it is final, no temp folder.
func (j *testJob) nothingLeft() {
	j.t.Helper()
	require.Empty(j.t, j.processes(), "processes of the job")
	require.NotContains(j.t, j.locks(), j.id)
	for _, key := range strings.Fields(j.etcdctl("get", "--prefix", "--keys-only", "/")) {
		if strings.Contains(key, j.id) {
			require.Regexp(j.t, "^/jobs/"+j.id+"/(spec|status|output|abort|resumed)$", key)
		}
	}
	eventually(j.t, "the temp folder is gone", func() bool {
		left, err := filepath.Glob(j.tempDirs())
		require.NoError(j.t, err)
		return len(left) == 0
	})
}

// processes lists the living processes that carry the job's mark in their
// environment or, as ssh masters do, name its temp folder.
func (j *testJob) processes() []string {
	j.t.Helper()
	var alive []string
	folders, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(j.t, err)
	for _, folder := range folders {
		environ, _ := os.ReadFile(filepath.Join(folder, "environ"))
		cmdline, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		if bytes.Contains(environ, []byte("QUELL_RUN="+j.id+"/")) || bytes.Contains(cmdline, []byte("quell-"+j.id)) {
			alive = append(alive, folder+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return alive
}
