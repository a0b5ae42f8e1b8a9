package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// What must not keep a runner from what it has to do, and what must not make
// it do nothing.

// A kill does not wait for what another device's run has to tell.
func TestAKillDoesNotWaitForEvents(t *testing.T) {
	n := newNode(t)
	n.store.assignSpec(n.workflow(`[ $DEV = b ] || { `+gatedDevice+`; exit 0; }; echo $$ >$D/pid-b; exec sleep 300`, "a", "b"))
	n.start()
	n.waitRan(2)
	var pid int
	n.eventually("b tells its pid", func() bool {
		text, _ := os.ReadFile(filepath.Join(n.dir, "pid-b"))
		_, err := fmt.Sscan(string(text), &pid)
		return err == nil
	})
	n.eventually("both are RUNNING", func() bool { return deviceStatuses(n.store.state(job1)) == "RUNNING RUNNING" })
	f, err := os.OpenFile(n.sup.EventsPath(job1, "playbook-0-device-1"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	require.NoError(t, err)
	for range 40 {
		_, err := f.WriteString(strings.Repeat(`{"event":"task_start","ts":1,"task":"copy the image"}`+"\n", 10000))
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	n.release("a")
	n.eventually("a ends", func() bool {
		_, err := os.Stat(filepath.Join(n.sup.Dir(job1, "playbook-0-device-1"), "exit.json"))
		return err == nil
	})
	n.store.abort(job1, "force")
	n.eventually("b is dead", func() bool { return dead(pid) })
	require.Equal(t, "RUNNING", string(n.store.state(job1).Devices[0].Status), "a's events are still being read")
	require.Equal(t, "SUCCESS INTERRUPTED", deviceStatuses(n.final()))
}

// What failed is tried again, though nothing else happens.
func TestLocksAreTriedAgain(t *testing.T) {
	n := newNode(t)
	spec := n.workflow("true", "old")
	spec.Template.Concurrency = quell.ConcurrencyDevice
	first := n.template(`echo '{"device_json":["old","free"]}' >$QUELL_OUTPUT_FILE`)
	spec.Template.Playbooks = append(first.Playbooks, spec.Template.Playbooks[0])
	var tries atomic.Int32
	n.store.lockTrouble = func() error {
		if tries.Add(1) > 1 {
			return nil
		}
		time.Sleep(time.Second + errorRest/2) // beyond every other timer
		return quell.Errorf(quell.CodeUnavailable, "etcd is out of reach")
	}
	n.store.assignSpec(spec)
	n.start()
	require.Equal(t, quell.StatusSuccess, n.final().Status)
}

// Progress that is not stored yet when the last run has ended makes nobody
// spin while etcd is away.
func TestNobodySpins(t *testing.T) {
	n := newNode(t)
	away := make(chan struct{})
	n.store.assign(job1, n.template(`event() { printf '{"event":"%s","ts":1,"tasks":4,"task":"%s"}\n' $1 $2 >&3; }
event playbook_start x; event task_start copy
`+gated+`
event task_start boot; sleep 0.2`))
	n.start()
	n.running(0)
	n.eventually("its progress is stored", func() bool {
		n.store.mu.Lock()
		defer n.store.mu.Unlock()
		return len(n.store.latest.Tasks) > 0
	})
	n.store.hook(func(ctx context.Context, _ quell.Transition) error {
		select {
		case <-away:
		case <-ctx.Done():
		}
		return ctx.Err()
	}, nil)
	n.write("go", "")
	n.eventually("it has ended", func() bool { return strings.Contains(n.log.String(), "a run has ended") })
	allowed := time.Now().Add(1200 * time.Millisecond) // progress may be written again by then
	n.eventually("progress may be written", func() bool { return time.Now().After(allowed) })
	before, until := cpu(t), time.Now().Add(time.Second)
	<-time.After(time.Until(until))
	used := cpu(t) - before
	close(away)
	n.final()
	require.Less(t, used, 700*time.Millisecond)
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A thousand devices' outputs are put together at once, and not one after the
// other into the whole.
func TestManyOutputs(t *testing.T) {
	n := newNode(t)
	r := newRunner(Options{DataDir: n.data, TempDir: n.temp, Logger: slog.New(slog.DiscardHandler)}, job1, nil)
	require.NoError(t, r.makeTempDir())
	spec := n.workflow("true")
	for i := range 1000 {
		spec.Params.DeviceList = append(spec.Params.DeviceList, fmt.Sprint("leaf-", i))
	}
	s := quell.NewState(spec)
	for i := range s.Devices {
		s.Devices[i].Status = quell.PlaybookSuccess
		output := fmt.Sprintf(`{"results":%q,"last":%d}`, strings.Repeat("x", 800), i)
		require.NoError(t, os.WriteFile(r.outputFile(quell.RunRef{Device: i + 1}), []byte(output), 0o600))
	}
	r.state, r.outputs = &s, r.readOutputs(nil)
	began := time.Now()
	require.NoError(t, r.gather(0))
	require.Less(t, time.Since(began), 5*time.Second) // it was 19 s
	var out struct {
		Results map[string]string
		Last    int
	}
	require.NoError(t, json.Unmarshal(r.outputs.toStore(), &out))
	require.Len(t, out.Results, 1000)
	require.Equal(t, 999, out.Last)
	require.Nil(t, r.outputs.toStore())
}
