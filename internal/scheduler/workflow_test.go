package scheduler

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"quell"
	"quell/agent"
	"quell/agent/ansible"
	"quell/internal/process"
	"quell/metrics"
)

// TestAnyWorkflow lets random things happen to random workflows under a real
// scheduler and two real agents, and checks design.md's guarantees 2 to 6 at
// every moment at which they could break.
func TestAnyWorkflow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, anyWorkflow) })
}

func anyWorkflow(t *rapid.T) {
	w := newWorld(t)
	defer w.close()
	t.Repeat(map[string]func(*rapid.T){
		"":         func(*rapid.T) { w.settle(); w.check() },
		"submit":   w.submit,
		"end":      w.endRun,
		"end2":     w.endRun, // what happens most
		"die":      w.dieRun,
		"abort":    w.abortJob,
		"abortAll": w.abortAll,
		"withdraw": w.withdraw,
		"time": func(t *rapid.T) {
			time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 5 * time.Minute}).Draw(t, "time"))
		},
		"crash":   w.crash,
		"lead":    func(*rapid.T) { w.c.mu.Lock(); w.c.lead(); w.c.mu.Unlock() },
		"trouble": w.trouble,
	})
	w.drain()
}

// world is a cluster with its nodes, and what was done to it.
type world struct {
	t        *rapid.T
	dir      string
	c        *cluster
	machines map[string]*machine
	stops    map[string]func() // of the agents, and of the scheduler

	ids       []string
	requested map[string][]quell.Intent // that hit the job
	withdrawn map[string]bool
	mayNot    map[string]bool        // start: it was aborted while it was queued
	final     map[string]quell.State // as it became final
	faults    []string               // found in the middle of something
	failing   int                    // calls of the store that are to fail
	alls      int                    // abort-all intents so far
}

var nodeNames = []string{"n1", "n2"}

func newWorld(t *rapid.T) *world {
	dir, err := os.MkdirTemp("", "quell-world-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: dir, c: newCluster(), machines: map[string]*machine{}, stops: map[string]func(){},
		requested: map[string][]quell.Intent{}, withdrawn: map[string]bool{}, mayNot: map[string]bool{}, final: map[string]quell.State{},
	}
	w.c.onCall(w.called)
	if err := os.Mkdir(filepath.Join(dir, "playbooks"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := os.WriteFile(filepath.Join(dir, "playbooks", fmt.Sprintf("%d.yml", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := New(Options{Store: w.c, Name: "s", Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewScheduler(prometheus.NewRegistry())})
	w.stops["scheduler"] = w.background(s.Run)
	mu := &sync.Mutex{}
	for _, name := range nodeNames {
		m := newMachine(filepath.Join(dir, name), mu)
		m.started, m.killed = w.started, w.killed
		w.machines[name] = m
		w.startAgent(name)
	}
	return w
}

// background runs something until the function that it returns is called.
func (w *world) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = run(ctx) // it ends with ctx
	}()
	return func() { cancel(); <-ended }
}

func (w *world) startAgent(name string) {
	play, err := ansible.New(ansible.Options{
		Binary: "true", PlaybookDir: filepath.Join(w.dir, "playbooks"), PluginDir: filepath.Join(w.dir, name, "plugins"),
	})
	if err == nil {
		err = os.MkdirAll(filepath.Join(agent.RunsDir(filepath.Join(w.dir, name))), 0o700)
	}
	var a *agent.Agent
	if err == nil {
		a, err = agent.New(agent.Options{
			Info: quell.NodeInfo{Node: name, Capacity: 2, Instance: name}, DataDir: filepath.Join(w.dir, name), TempDir: filepath.Join(w.dir, name),
			Store: w.c, Processes: w.machines[name], Ansible: play, Limits: quell.Limits{MaxDevices: 2, Recovery: time.Hour},
			Logger: slog.New(slog.DiscardHandler), Metrics: metrics.NewAgent(prometheus.NewRegistry()),
		})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.stops[name] = w.background(a.Run)
}

func (w *world) close() {
	w.c.onCall(nil)
	for _, stop := range w.stops {
		stop()
	}
	_ = os.RemoveAll(w.dir)
}

// settle waits until nothing happens any more by itself.
func (w *world) settle() {
	time.Sleep(2 * time.Second) // what was to be tried again is
	synctest.Wait()
}

// Actions.

func (w *world) submit(t *rapid.T) {
	if len(w.ids) >= 8 {
		t.Skip("enough jobs")
	}
	id := fmt.Sprintf("job-%d", len(w.ids))
	spec := quell.Spec{ID: id, CreatedAt: time.Now()}
	if err := json.Unmarshal([]byte(anyTemplate().Draw(t, "template")), &spec.Template); err != nil {
		t.Fatal(err)
	}
	spec.Input = json.RawMessage(fmt.Sprintf(`{"fabric_fq_name":%q}`, rapid.SampledFrom([]string{"f", "g"}).Draw(t, "fabric")))
	spec.Params.DeviceList = rapid.SampledFrom([][]string{nil, {"a"}, {"a", "b", "c"}, {"c", "d"}, {"d", "b"}}).Draw(t, "devices")
	spec.OnLock = rapid.SampledFrom([]quell.OnLock{"", "", "", quell.OnLockFail}).Draw(t, "on_lock")
	spec.QueueTimeout = rapid.SampledFrom([]quell.Duration{0, 0, quell.Duration(7 * time.Minute)}).Draw(t, "queue_timeout")
	if spec.Check() != nil {
		t.Skip("refused")
	}
	w.ids = append(w.ids, id)
	w.c.create(id, func(s *quell.Spec) { *s = spec })
}

// anyTemplate draws the text of a template, so that an account can be read.
func anyTemplate() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		list := func(name string, least, most int) (list []quell.Playbook) {
			for i := range rapid.IntRange(least, most).Draw(t, name) {
				abortable := rapid.IntRange(0, 4).Draw(t, "abortable") > 0
				p := quell.Playbook{URI: fmt.Sprintf("%d.yml", i), MultiDevice: rapid.Bool().Draw(t, "multi"), Abortable: &abortable}
				if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
					p.Timeout = quell.Duration(4 * time.Minute)
				}
				list = append(list, p)
			}
			return list
		}
		tmpl := quell.Template{
			FQName: quell.FQName{"x"}, Playbooks: list("playbooks", 1, 3), RecoveryPlaybooks: list("recovery", 0, 2),
			Concurrency: rapid.SampledFrom([]quell.Concurrency{"", quell.ConcurrencyDevice, quell.ConcurrencyDevice, quell.ConcurrencyFabric}).Draw(t, "level"),
			Timeout:     rapid.SampledFrom([]quell.Duration{0, 0, quell.Duration(12 * time.Minute)}).Draw(t, "timeout"),
		}
		if rapid.Bool().Draw(t, "policy") {
			on := func(name string) *bool { b := rapid.Bool().Draw(t, name); return &b }
			tmpl.Recovery = quell.RecoveryPolicy{OnFailure: on("failure"), OnForce: on("force"), OnGraceful: on("graceful")}
		}
		return text(tmpl)
	})
}

// live lists the runs of all nodes.
func (w *world) live(which func(*fakeRun) bool) []*fakeRun {
	var list []*fakeRun
	for _, name := range nodeNames {
		for _, r := range w.machines[name].live("") {
			if which(r) {
				list = append(list, r)
			}
		}
	}
	slices.SortFunc(list, func(x, y *fakeRun) int { return cmp.Compare(x.id.String(), y.id.String()) })
	return list
}

func (w *world) endRun(t *rapid.T) {
	runs := w.live(func(*fakeRun) bool { return true })
	if len(runs) == 0 {
		t.Skip("nothing runs")
	}
	r := sample(t, runs)
	code := rapid.SampledFrom([]int{0, 0, 0, 2}).Draw(t, "code")
	output := rapid.SampledFrom([]string{
		"", "", "", `{"device_json":["b","e"]}`, `{"device_json":{}}`, `{"retry_devices":["a","b","e"]}`,
		`{"early_exit":true}`, `{"status":"warning"}`, `{"status":"failure","message":"no"}`,
	}).Draw(t, "output")
	if err := r.end(code, output); err != nil {
		t.Fatal(err)
	}
}

func (w *world) dieRun(t *rapid.T) {
	runs := w.live((*fakeRun).doomed)
	if len(runs) == 0 {
		t.Skip("nothing was killed")
	}
	sample(t, runs).die()
}

// sample draws a run by its name, so that an account of it can be read.
func sample(t *rapid.T, runs []*fakeRun) *fakeRun {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.id.String()
	}
	return runs[slices.Index(names, rapid.SampledFrom(names).Draw(t, "run"))]
}

var intents = []string{
	"graceful", "graceful", "force", "force", `{"mode":"graceful","force_after":"3m"}`, `{"mode":"force","recovery":false}`,
	`{"mode":"graceful","recovery":false}`, `{"mode":"force","override":true}`, "frce",
}

func (w *world) abortJob(t *rapid.T) {
	if len(w.ids) == 0 {
		t.Skip("no jobs")
	}
	id, value := rapid.SampledFrom(w.ids).Draw(t, "job"), rapid.SampledFrom(intents).Draw(t, "intent")
	w.note(id, value)
	w.c.abort(id, value)
}

func (w *world) abortAll(t *rapid.T) {
	if len(w.ids) == 0 || rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
		t.Skip("rarely")
	}
	value := rapid.SampledFrom(intents).Draw(t, "intent")
	for _, id := range w.ids {
		w.note(id, value)
	}
	w.alls++ // as in etcd, each has a key of its own
	w.c.abortAll(fmt.Sprintf("/aborts/%d", w.alls), value)
}

// note remembers an intent that is about to be stored, for a job that it hits.
func (w *world) note(id, value string) {
	intent, err := quell.ParseIntent([]byte(value))
	s := w.c.state(id)
	if err != nil || s.Status.Final() {
		return
	}
	w.requested[id] = append(w.requested[id], intent)
	if s.Status == quell.StatusQueued {
		w.mayNot[id] = true
	}
}

func (w *world) withdraw(t *rapid.T) {
	if len(w.ids) == 0 {
		t.Skip("no jobs")
	}
	id := rapid.SampledFrom(w.ids).Draw(t, "job")
	w.withdrawn[id], w.mayNot[id] = true, false
	w.c.abort(id, "")
}

// crash ends an agent and starts it again; its runs go on, and some may end
// meanwhile.
func (w *world) crash(t *rapid.T) {
	name := rapid.SampledFrom(nodeNames).Draw(t, "node")
	w.stops[name]()
	if rapid.Bool().Draw(t, "meanwhile") {
		for _, r := range w.machines[name].live("") {
			if err := r.end(0, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.startAgent(name)
}

// trouble lets some calls of the store fail.
func (w *world) trouble(t *rapid.T) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.failing = rapid.IntRange(1, 3).Draw(t, "calls")
}

func (w *world) called(call, _ string) error {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if w.failing > 0 && call != "active" {
		w.failing--
		return quell.Errorf(quell.CodeUnavailable, "etcd is out of reach")
	}
	return nil
}

// What must hold.

func (w *world) fault(format string, args ...any) {
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

// started is told of each start of a process, at that moment.
func (w *world) started(id process.ID) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	j := w.c.jobs[id.Job]
	owner := w.machines[j.ActiveNode]
	if owner == nil || owner.runs[id] == nil {
		w.fault("%s was started on a node that does not own the job", id)
	}
	if w.mayNot[id.Job] {
		w.fault("%s was started although its job was aborted while it was queued", id)
	}
	begun := slices.ContainsFunc(j.State.CurrentRuns(), func(r quell.RunRef) bool { return r.Name() == id.Run })
	if !begun {
		w.fault("%s was started without a stored begin: %v", id, j.State.CurrentRuns())
	}
	for name, m := range w.machines {
		if name != j.ActiveNode && m.runs[id] != nil {
			w.fault("%s was started twice", id)
		}
	}
	for _, ref := range j.State.CurrentRuns() {
		w.holdsLocks(id.Job, j.State, ref)
	}
}

// holdsLocks demands that a job that runs has its locks.
func (w *world) holdsLocks(id string, s quell.State, ref quell.RunRef) {
	for _, l := range s.WantedLocks() {
		concerns := l.Device == "" || !ref.Recovery && ref.Device > 0 && s.Devices[ref.Device-1].ID == l.Device
		if concerns && w.c.locks[l] != id {
			w.fault("%s runs %s without the lock on %s", id, ref.Name(), l)
		}
	}
}

// killed is told of each kill, at that moment.
func (w *world) killed(id process.ID, cause quell.Cause) {
	if cause != quell.CauseAbort {
		return
	}
	force, override := false, false
	for _, i := range w.requested[id.Job] {
		force = force || i.Mode == quell.Force || i.ForceAfter > 0
		override = override || i.Override
	}
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	spec := w.c.jobs[id.Job].Spec
	if !force {
		w.fault("%s was killed although nobody asked for force", id)
	}
	for _, run := range w.c.jobs[id.Job].State.CurrentRuns() {
		if run.Name() == id.Run && !spec.Template.Playbook(run).MayKill() && !override {
			w.fault("%s was killed although it must not be", id)
		}
	}
}

// check looks at everything while nothing happens.
func (w *world) check() {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	for _, id := range w.ids {
		j := w.c.jobs[id]
		if !j.State.Status.Final() {
			continue
		}
		was, known := w.final[id]
		if !known {
			w.final[id] = j.State.Clone()
		} else if text(was) != text(j.State) {
			w.fault("%s was final and has changed: %s, %s", id, text(was), text(j.State))
		}
		for _, m := range w.machines {
			if live := m.live(id); len(live) > 0 {
				w.fault("%s is final (%s), and %s lives", id, j.State.Status, live[0].id)
			}
		}
		for l, holder := range w.c.locks {
			if holder == id {
				w.fault("%s is final and holds %s", id, l)
			}
		}
		if j.Token != 0 || w.c.index[j.ActiveNode][id] != 0 {
			w.fault("%s is final and still active", id)
		}
		w.checkAborts(id, j.State)
	}
	w.checkTurns()
	if len(w.faults) > 0 {
		w.t.Fatalf("%s", strings.Join(w.faults, "\n"))
	}
}

// checkAborts demands that who was hit by an intent knows of it, and nobody
// else.
func (w *world) checkAborts(id string, s quell.State) {
	hit := len(w.requested[id]) > 0
	recorded := s.Abort != nil && s.Abort.Mode != ""
	switch {
	case hit && !recorded && !w.withdrawn[id]:
		w.fault("%s was hit by %v, and its record says nothing: %s", id, w.requested[id], text(s))
	case !hit && recorded:
		w.fault("%s was not hit by any intent, and its record says %s", id, text(s))
	case s.Status == quell.StatusAborted && !hit:
		w.fault("%s was aborted by nobody", id)
	}
}

// checkTurns demands that no job in the queue was overtaken on a lock.
func (w *world) checkTurns() {
	held := map[quell.Lock]string{}
	maps.Copy(held, w.c.locks)
	for _, older := range w.ids {
		o := w.c.jobs[older]
		if o.State.Status != quell.StatusQueued {
			continue
		}
		for _, l := range o.State.WantedLocks() {
			if h := w.c.jobs[held[l]]; h != nil && h.SpecRevision > o.SpecRevision && !slices.Contains(h.State.LocksToTake(), l) && h.Spec.Params.DeviceList != nil &&
				(l.Device == "" || slices.Contains(h.Spec.Params.DeviceList, l.Device)) {
				w.fault("%s was overtaken on %s by %s", older, l, held[l])
			}
		}
	}
}

func text(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// drain lets every run end, and demands that every job does.
func (w *world) drain() {
	w.c.mu.Lock()
	w.failing = 0
	w.c.mu.Unlock()
	for range 200 {
		w.settle()
		w.check()
		runs := w.live(func(*fakeRun) bool { return true })
		for _, r := range runs {
			if r.doomed() {
				r.die()
			} else if err := r.end(0, ""); err != nil {
				w.t.Fatal(err)
			}
		}
		w.c.mu.Lock()
		active := w.c.active()
		w.c.mu.Unlock()
		if len(active) == 0 {
			return
		}
	}
	for _, id := range w.ids {
		if s := w.c.state(id); !s.Status.Final() {
			w.t.Errorf("%s never ends: %s", id, text(s))
		}
	}
}
