package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// onDevices makes a playbook of a script that runs once for each device. $DEV
// is the device, $OUT where its output goes, and a device runs until the test
// lets it go.
func (n *node) onDevices(script string) quell.Playbook {
	n.write("playbooks/each.yml", `D=`+n.dir+`
DEV=$(sed 's/.*"device_id":{"__ansible_unsafe":"\([^"]*\)"}.*/\1/' "$VARS")
OUT=$QUELL_OUTPUT_FILE
echo $DEV >>$D/devices
`+script+"\n")
	return quell.Playbook{URI: "each.yml", MultiDevice: true}
}

const gatedDevice = `until [ -e $D/go-$DEV ]; do sleep 0.01; done`

// workflow is a job of a playbook on each device, then one more.
func (n *node) workflow(script string, devices ...string) quell.Spec {
	t := n.template("echo last")
	t.Playbooks = []quell.Playbook{n.onDevices(script), t.Playbooks[0]}
	n.limits.MaxDevices = 2
	return quell.Spec{
		ID: job1, Template: t, Input: json.RawMessage(`{"fabric_fq_name":"f"}`),
		Params: quell.Params{DeviceList: devices}, CreatedAt: time.Now(),
	}
}

// ran are the devices on which a run was started, in order.
func (n *node) ran() []string {
	text, _ := os.ReadFile(filepath.Join(n.dir, "devices"))
	return strings.Fields(string(text))
}

func (n *node) waitRan(count int) {
	n.t.Helper()
	n.eventually(fmt.Sprintf("%d runs have started", count), func() bool { return len(n.ran()) == count })
}

func (n *node) release(devices ...string) {
	for _, d := range devices {
		n.write("go-"+d, "")
	}
}

func deviceStatuses(s quell.State) string {
	var list []string
	for _, d := range s.Devices {
		list = append(list, string(d.Status))
	}
	return strings.Join(list, " ")
}

func TestSomeDevicesAtOnce(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow("echo working on $DEV; "+gatedDevice+"; [ $DEV != b ]", "a", "b", "c"))
	n.start()
	n.waitRan(2)
	n.eventually("both are stored as RUNNING", func() bool { return deviceStatuses(n.store.state(job1)) == "RUNNING RUNNING PENDING" })
	n.release("b")
	n.waitRan(3)
	require.Equal(t, "working on a\n", n.log1("playbook-0-device-1"), "each has a log of its own meanwhile")
	n.release("a", "c")
	s := n.final()
	require.Equal(t, quell.StatusWarning, s.Status)
	require.Equal(t, "SUCCESS FAILURE SUCCESS", deviceStatuses(s))
	require.Equal(t, 2, s.Playbooks[0].Succeeded)
	require.Equal(t, "0", n.starts())
	require.ElementsMatch(t, []string{"a", "b", "c"}, n.ran())

	// The log of a run on a device is part of the job's once it has ended.
	require.Regexp(t, `(?s)^==> playbook-0-device-2 <==\nworking on b\n.*\n==> playbook-1 <==\nlast\n$`, n.log1(""))
}

// log1 reads the log of a run, or of all of them.
func (n *node) log1(run string) string {
	n.t.Helper()
	log, err := n.agent.openLog(job1, run)
	require.NoError(n.t, err)
	defer log.close()
	text := make([]byte, log.size)
	if log.size > 0 {
		_, err = log.ReadAt(text, 0)
		require.NoError(n.t, err)
	}
	return string(text)
}

func TestForceKillsAllDevicesAtOnce(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow(`echo $$ >$D/pid-$DEV; [ $DEV = a ] || exec sleep 300`, "a", "b", "c", "d"))
	n.start()
	n.waitRan(3)
	pids := map[string]int{}
	for _, d := range []string{"b", "c"} {
		n.eventually("it tells its pid", func() bool {
			text, _ := os.ReadFile(filepath.Join(n.dir, "pid-"+d))
			var pid int
			_, err := fmt.Sscan(string(text), &pid)
			pids[d] = pid
			return err == nil
		})
	}
	n.store.hook(func(_ context.Context, tr quell.Transition) error {
		if tr.State.Status.Final() && (!dead(pids["b"]) || !dead(pids["c"])) {
			t.Error("a final transition was made before all runs were dead")
		}
		return nil
	}, nil)
	n.store.abort(job1, "force")
	s := n.final()
	require.Equal(t, quell.StatusAborted, s.Status)
	require.Equal(t, "SUCCESS INTERRUPTED INTERRUPTED SKIPPED", deviceStatuses(s))
	require.Len(t, n.ran(), 3)
}

func TestGracefulLetsDevicesEnd(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow(gatedDevice, "a", "b", "c"))
	n.start()
	n.waitRan(2)
	n.store.abort(job1, "graceful")
	n.eventually("the abort is seen", func() bool { return n.store.state(job1).Status == quell.StatusAborting })
	n.release("a", "b", "c")
	s := n.final()
	require.Equal(t, quell.StatusAborted, s.Status)
	require.Equal(t, "SUCCESS SUCCESS SKIPPED", deviceStatuses(s))
	require.Len(t, n.ran(), 2)
}

// The agent is away while some devices end: nothing runs twice, and their
// outputs count.
func TestRestartedWithHalfOfTheDevicesDone(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow(gatedDevice+`; echo "{\"results\":{\"of\":\"$DEV\"},\"from_$DEV\":1}" >$OUT`, "a", "b", "c", "d"))
	n.start()
	n.waitRan(2)
	n.release("a")
	n.waitRan(3)
	n.eventually("three were begun", func() bool { return strings.Count(n.store.state(job1).Playbooks[0].Letters, "R") == 2 })
	n.stop()
	n.release("b", "c", "d")
	n.eventually("they end", func() bool {
		for _, run := range []string{"playbook-0-device-2", "playbook-0-device-3"} {
			if _, err := os.Stat(filepath.Join(n.sup.Dir(job1, run), "exit.json")); err != nil {
				return false
			}
		}
		return true
	})
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusSuccess, s.Status)
	require.ElementsMatch(t, []string{"a", "b", "c", "d"}, n.ran())
	require.JSONEq(t, `{"results":{"a":{"of":"a"},"b":{"of":"b"},"c":{"of":"c"},"d":{"of":"d"}},"from_a":1,"from_b":1,"from_c":1,"from_d":1}`,
		string(n.store.job(job1).Output))
}

// What a playbook gives back is stored with its end, and is input of the next.
func TestOutputs(t *testing.T) {
	n := newNode(t)
	spec := n.workflow(`cp "$VARS" $D/vars-$DEV; echo '{"version":2}' >$OUT`)
	first := n.template(`echo '{"image":"x","version":1,"device_json":{"b":{"device_management_ip":"10.0.0.2","device_password":"pssst"},"a":{"device_vendor":"v"}}}' >$QUELL_OUTPUT_FILE`)
	spec.Template.Playbooks = []quell.Playbook{first.Playbooks[0], spec.Template.Playbooks[0]}
	spec.Template.OutputSchema = json.RawMessage(`{}`)
	n.store.assignSpec(spec)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusSuccess, s.Status, s.Reason)
	require.Equal(t, "b", s.Devices[0].ID, "in the order of device_json")
	require.JSONEq(t, `{"image":"x","version":2,"device_json":{"b":{"device_management_ip":"10.0.0.2"},"a":{"device_vendor":"v"}}}`, string(n.store.job(job1).Output))
	vars := map[string]json.RawMessage{}
	text, err := os.ReadFile(filepath.Join(n.dir, "vars-b"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &vars))
	require.JSONEq(t, `{"__ansible_unsafe":"pssst"}`, string(vars["device_password"]))
	require.JSONEq(t, `{"__ansible_unsafe":"10.0.0.2"}`, string(vars["device_management_ip"]))
	require.Contains(t, string(vars["input"]), `"image"`)
	require.NotContains(t, string(vars["input"]), "device_json")
	require.Contains(t, string(vars["job_device_json"]), "pssst")
	for _, state := range n.store.made() {
		text, err := json.Marshal(state)
		require.NoError(t, err)
		require.NotContains(t, string(text), "pssst")
	}
}

// A password of device_json is not stored; a restarted agent has it all the
// same.
func TestARestartKeepsWhatIsNotStored(t *testing.T) {
	n := newNode(t)
	spec := n.workflow(`cp "$VARS" $D/vars-$DEV`)
	first := n.template(`echo '{"device_json":{"a":{"device_password":"pssst"}}}' >$QUELL_OUTPUT_FILE`, gated)
	spec.Template.Playbooks = append(first.Playbooks, spec.Template.Playbooks[0])
	n.store.assignSpec(spec)
	n.start()
	n.eventually("the second runs", func() bool { return n.starts() == "01" })
	require.NotContains(t, string(n.store.job(job1).Output), "pssst")
	n.stop()
	n.start()
	n.write("go", "")
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	text, err := os.ReadFile(filepath.Join(n.dir, "vars-a"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"device_password":{"__ansible_unsafe":"pssst"}`)
}

func TestOutputsThatCannotBeUsed(t *testing.T) {
	for output, want := range map[string]string{
		`[]`:                     "not a JSON object",
		`{"retry_devices": 7}`:   "retry_devices in its output",
		`{"device_json": "x"}`:   "device_json in its output",
		`{"device_json": [{}]}`:  "entry 0 has no device_id",
		`{"device_json":{"":1}}`: "device_json cannot be used",
		`{"status":"Failure","message":"no space on the device"}`: "no space on the device",
	} {
		n := newNode(t)
		n.store.assign(job1, n.template(`echo '`+output+`' >$QUELL_OUTPUT_FILE`, "echo never"))
		n.start()
		s := n.final()
		require.Equal(t, quell.StatusFailure, s.Status, output)
		require.Contains(t, s.Reason, want)
		require.Equal(t, "0", n.starts())
	}
	n := newNode(t)
	n.store.assign(job1, n.template(`(printf '{"big":"'; head -c 1100000 /dev/zero | tr '\0' x; printf '"}') >$QUELL_OUTPUT_FILE`))
	n.start()
	require.Contains(t, n.final().Reason, "at most 1048576 are kept")
	require.Nil(t, n.store.job(job1).Output)
}

// An output that does not fit the template's schema makes a job that ended
// well a WARNING.
func TestOutputSchema(t *testing.T) {
	for _, script := range []string{"true", "exit 2"} {
		n := newNode(t)
		n.check = func(_ quell.Template, output json.RawMessage) error {
			return quell.Errorf(quell.CodeInvalid, "the output %s does not fit", output)
		}
		tmpl := n.template(script)
		tmpl.OutputSchema = json.RawMessage(`{"type":"object"}`)
		n.store.assign(job1, tmpl)
		n.start()
		s := n.final()
		if script == "true" {
			require.Equal(t, quell.StatusWarning, s.Status)
			require.Equal(t, "the output {} does not fit", s.Reason)
		} else {
			require.Equal(t, quell.StatusFailure, s.Status)
		}
	}
}

// The lock of a device that turns up in the middle is taken once it stands in
// the stored status; one that another job holds fails for that device alone.
func TestLocksOfDevicesThatTurnUp(t *testing.T) {
	for _, restart := range []bool{false, true} {
		n := newNode(t)
		spec := n.workflow(gatedDevice, "old")
		spec.Template.Concurrency = quell.ConcurrencyDevice
		first := n.template(`echo '{"device_json":["old","free","taken"]}' >$QUELL_OUTPUT_FILE`)
		spec.Template.Playbooks[1] = spec.Template.Playbooks[0]
		spec.Template.Playbooks[0] = first.Playbooks[0]
		n.store.locks[quell.Lock{Fabric: "f", Device: "taken"}] = "another"
		if restart { // between the end of the playbook and the locks
			n.store.hook(nil, func(tr quell.Transition) {
				if len(tr.State.LocksToTake()) > 0 {
					n.cancel()
				}
			})
		}
		n.store.assignSpec(spec)
		n.start()
		if restart {
			n.crashed()
			n.store.hook(nil, nil)
			n.start()
		}
		n.waitRan(2)
		require.Equal(t, 2, n.store.held(job1))
		n.release("old", "free")
		s := n.final()
		require.Equal(t, quell.StatusWarning, s.Status)
		require.Equal(t, "SUCCESS SUCCESS FAILURE", deviceStatuses(s))
		require.Equal(t, "it is locked by job another", s.Devices[2].Error)
		require.Equal(t, map[quell.Lock]string{{Fabric: "f", Device: "taken"}: "another"}, n.store.locks)
	}
}

func TestRetryDevices(t *testing.T) {
	n := newNode(t)
	spec := n.workflow(`[ -e $D/once-$DEV ] || { touch $D/once-$DEV; echo '{"retry_devices":["b"]}' >$OUT; }`, "a", "b")
	n.store.assignSpec(spec)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusSuccess, s.Status)
	require.ElementsMatch(t, []string{"a", "b", "b"}, n.ran())
	require.Equal(t, 1, s.Playbooks[0].Try)
	require.DirExists(t, n.sup.Dir(job1, "playbook-0-device-2-try-1"))
}

func TestJobTimeLimit(t *testing.T) {
	n := newNode(t)
	spec := n.workflow("exec sleep 300", "a", "b", "c")
	spec.Timeout = quell.Duration(time.Second)
	spec.Template.RecoveryPlaybooks = n.template("echo last", "echo recovers").Playbooks[1:]
	n.store.assignSpec(spec)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusFailure, s.Status)
	require.Equal(t, "the job's time limit of 1s has passed", s.Reason)
	require.Equal(t, "INTERRUPTED INTERRUPTED SKIPPED", deviceStatuses(s))
	require.Equal(t, "1", n.starts(), "only the recovery playbook")
	require.Nil(t, s.Abort)
}

// The recovery playbook sees why it runs.
func TestRecoveryVariables(t *testing.T) {
	n := newNode(t)
	spec := n.workflow("exec sleep 300", "a", "b", "c")
	spec.Template.RecoveryPlaybooks = n.template("echo last", `cp "$VARS" $D/vars`).Playbooks[1:]
	n.store.assignSpec(spec)
	n.start()
	n.waitRan(2)
	n.store.abort(job1, "force")
	require.Equal(t, quell.StatusAborted, n.final().Status)
	text, err := os.ReadFile(filepath.Join(n.dir, "vars"))
	require.NoError(t, err)
	plain := strings.NewReplacer(`{"__ansible_unsafe":`, "", `"}`, `"`).Replace(string(text))
	for _, want := range []string{`"job_outcome":"ABORTED"`, `"failed_playbook":"each.yml"`, `"failed_devices":["a","b"]`, `"abort_mode":"force"`} {
		require.Contains(t, plain, want)
	}
}

// What the inventory says of devices is read beside the runner, once for each
// playbook; an abort does not wait for it.
func TestFactsFromTheInventory(t *testing.T) {
	inventory := `#!/bin/sh
echo x >>` + "%[1]s" + `/asked
until [ -e ` + "%[1]s" + `/answer ]; do sleep 0.01; done
echo '{"_meta":{"hostvars":{"a":{"ansible_host":"10.0.0.1"}}}}'
`
	begin := func(t *testing.T) *node {
		n := newNode(t)
		n.inventory = filepath.Join(n.dir, "hosts")
		n.write("hosts", "")
		n.write("ansible-inventory", fmt.Sprintf(inventory, n.dir))
		require.NoError(t, os.Chmod(filepath.Join(n.dir, "ansible-inventory"), 0o700))
		n.store.assignSpec(n.workflow(`cp "$VARS" $D/vars-$DEV`, "a", "b", "c"))
		n.start()
		n.eventually("it is asked", func() bool { _, err := os.Stat(filepath.Join(n.dir, "asked")); return err == nil })
		require.Empty(t, n.ran())
		return n
	}
	t.Run("known and unknown devices", func(t *testing.T) {
		n := begin(t)
		n.write("answer", "")
		require.Equal(t, quell.StatusSuccess, n.final().Status)
		asked, _ := os.ReadFile(filepath.Join(n.dir, "asked"))
		require.Equal(t, "x\n", string(asked))
		known, err := os.ReadFile(filepath.Join(n.dir, "vars-a"))
		require.NoError(t, err)
		require.Contains(t, string(known), `"device_management_ip":"10.0.0.1"`)
		unknown, err := os.ReadFile(filepath.Join(n.dir, "vars-b"))
		require.NoError(t, err)
		require.NotContains(t, string(unknown), "device_management_ip")
	})
	t.Run("an abort meanwhile", func(t *testing.T) {
		n := begin(t)
		n.store.abort(job1, "force")
		s := n.final()
		require.Equal(t, quell.StatusAborted, s.Status)
		require.Empty(t, n.ran())
	})
}

// What device_json says goes first, and the inventory fills in the rest; but
// no credentials for an address that the inventory does not know.
func TestFactsFromBoth(t *testing.T) {
	n := newNode(t)
	n.inventory = filepath.Join(n.dir, "hosts")
	n.write("hosts", "")
	n.write("ansible-inventory", `#!/bin/sh
echo '{"_meta":{"hostvars":{"a":{"device_management_ip":"10.0.0.1","device_password":"pw-a","vendor":"x"},"b":{"device_management_ip":"10.0.0.2","device_password":"pw-b"},"c":{"device_password":"pw-c"}}}}'
`)
	require.NoError(t, os.Chmod(filepath.Join(n.dir, "ansible-inventory"), 0o700))
	spec := n.workflow(`cp "$VARS" $D/vars-$DEV`)
	first := n.template(`echo '{"device_json":{"a":{"device_management_ip":"10.0.0.1","vendor":"y"},"b":{"device_management_ip":"6.6.6.6"},"c":{"device_management_ip":"10.0.0.3"}}}' >$QUELL_OUTPUT_FILE`)
	spec.Template.Playbooks = append(first.Playbooks, spec.Template.Playbooks[0])
	n.store.assignSpec(spec)
	n.start()
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	vars := func(device string) string {
		text, err := os.ReadFile(filepath.Join(n.dir, "vars-"+device))
		require.NoError(t, err)
		return string(text)
	}
	require.Contains(t, vars("a"), `"device_password":"pw-a"`)
	require.Contains(t, vars("a"), `"vendor":{"__ansible_unsafe":"y"}`)
	require.NotContains(t, vars("b"), "pw-b")
	require.Contains(t, vars("c"), `"device_password":"pw-c"`)
}

// A device of which something is known runs without an inventory that cannot be
// read; one of which nothing is known does not.
func TestFactsOfABrokenInventory(t *testing.T) {
	n := newNode(t)
	n.inventory = filepath.Join(n.dir, "hosts")
	n.write("hosts", "")
	n.write("ansible-inventory", "#!/bin/sh\nexit 1\n")
	require.NoError(t, os.Chmod(filepath.Join(n.dir, "ansible-inventory"), 0o700))
	spec := n.workflow("true")
	first := n.template(`echo '{"device_json":{"known":{"device_management_ip":"10.0.0.1"},"unknown":{}}}' >$QUELL_OUTPUT_FILE`)
	spec.Template.Playbooks = append(first.Playbooks, spec.Template.Playbooks[0])
	n.store.assignSpec(spec)
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusWarning, s.Status)
	require.Equal(t, "SUCCESS FAILURE", deviceStatuses(s))
	require.Contains(t, s.Devices[1].Error, "inventory")
	require.Contains(t, s.Reason, "inventory")
}

// A null gives nothing back, and takes nothing either.
func TestNullOutputs(t *testing.T) {
	n := newNode(t)
	spec := n.workflow(`cp "$VARS" $D/vars-$DEV`)
	first := n.template(`echo '{"device_json":{"a":{"device_password":"pssst"}}}' >$QUELL_OUTPUT_FILE`,
		`echo '{"device_json":null,"retry_devices":null,"status":null}' >$QUELL_OUTPUT_FILE`)
	spec.Template.Playbooks = append(first.Playbooks, spec.Template.Playbooks[0])
	n.store.assignSpec(spec)
	n.start()
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	text, err := os.ReadFile(filepath.Join(n.dir, "vars-a"))
	require.NoError(t, err)
	require.Contains(t, string(text), "pssst")
	require.JSONEq(t, `{"device_json":{"a":{}}}`, string(n.store.job(job1).Output))
}

// The runs of a job that an earlier release began keep their place in its log.
func TestLogOfAnEarlierRelease(t *testing.T) {
	n := newNode(t)
	n.store.assign(job1, n.template("echo one", gated, "echo three"))
	n.start()
	n.eventually("the second runs", func() bool { return n.starts() == "01" })
	n.stop()
	require.NoError(t, os.Remove(filepath.Join(RunsDir(n.data), job1, orderFile)))
	n.start()
	n.write("go", "")
	require.Equal(t, quell.StatusSuccess, n.final().Status)
	require.Equal(t, "==> playbook-0 <==\none\n==> playbook-1 <==\n==> playbook-2 <==\nthree\n", n.log1(""))
}

// A resumed job goes on where the earlier one was.
func TestResumedJob(t *testing.T) {
	n := newNode(t)
	spec := n.workflow(`cp "$VARS" $D/vars-$DEV`, "a", "b")
	old := quell.Job{Spec: quell.Spec{ID: "old"}, State: quell.NewState(spec)}
	now := time.Now()
	old.State.Assign("n1")
	runs := []quell.RunRef{{Device: 1}, {Device: 2}}
	old.State.Begin(runs, now)
	old.State.Ended(runs[0], quell.RunResult{StartedAt: now, EndedAt: now})
	old.State.Observe(quell.Effective{Intent: quell.Intent{Mode: quell.Force}}, now)
	old.State.Ended(runs[1], quell.RunResult{Killed: quell.CauseAbort, StartedAt: now, EndedAt: now})
	old.State.Finish(now)
	state, err := quell.ResumedState(spec, old)
	require.NoError(t, err)
	n.store.assignState(spec, state, json.RawMessage(`{"image":"so far"}`))
	n.start()
	s := n.final()
	require.Equal(t, quell.StatusSuccess, s.Status)
	require.Equal(t, []string{"b"}, n.ran())
	require.Equal(t, "0", n.starts(), "what comes after runs")
	text, err := os.ReadFile(filepath.Join(n.dir, "vars-b"))
	require.NoError(t, err)
	require.Contains(t, string(text), "so far")
	require.JSONEq(t, `{"image":"so far"}`, string(n.store.job(job1).Output))
}

func TestCurrentTasksNameTheirDevices(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow(`printf '{"event":"playbook_start","ts":1,"tasks":4}\n{"event":"task_start","ts":1,"task":"copy"}\n{"event":"task_start","ts":1,"task":"boot"}\n' >&3; `+gatedDevice, "a", "b", "c"))
	n.start()
	n.eventually("the tasks show", func() bool {
		n.store.mu.Lock()
		defer n.store.mu.Unlock()
		return strings.Join(n.store.latest.Tasks, "; ") == "a: boot; b: boot" && n.store.latest.Percentage > 8
	})
	n.release("a", "b", "c")
	n.final()
}
