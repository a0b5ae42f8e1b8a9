package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The CLI's tests are scripts that run the built binary against a real `quell
// dev`. Its playbooks are held by files: a job is given dir=$WORK/<folder>.

func TestScripts(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	runScripts(t, c, "testdata/script")
}

// Scripts that abort every job have a `quell dev` to themselves.
func TestScriptsAlone(t *testing.T) {
	_, c := startDev(t, t.TempDir())
	runScripts(t, c, "testdata/script-alone")
}

func runScripts(t *testing.T, c *cluster, dir string) {
	t.Helper()
	// What a script that failed has left is not to outlive the test.
	t.Cleanup(func() {
		c.call("POST", "/abort-job?wait=20s&recovery=false&override=true", `{"input": {"abort_mode": "force"}}`)
	})
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", binaries+string(os.PathListSeparator)+os.Getenv("PATH"))
			e.Setenv("QUELL_API", c.api)
			e.Setenv("ETCDCTL_ENDPOINTS", c.etcd)
			e.Setenv("TERM", "xterm")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "awaitgrep": awaitGrep, "touch": touch, "keep": keep, "isjson": isJSON,
		},
	})
}

// exits CODE COMMAND…: the command ends with exactly this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, and not %d", got, want)
	}
}

// await FILE…: wait until the files are there.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		within(ts, name+" is there", func() bool {
			_, err := os.Stat(ts.MkAbs(name))
			return err == nil
		})
	}
}

// awaitgrep PATTERN FILE: wait until the file has it.
func awaitGrep(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(args[0])
	within(ts, args[1]+" has "+args[0], func() bool {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		return err == nil && pattern.Match(text)
	})
}

func within(ts *testscript.TestScript, what string, check func() bool) {
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !check() {
		if time.Now().After(deadline) {
			ts.Fatalf("in vain waited for: %s", what)
		}
		<-tick.C
	}
}

// touch FILE…: make empty files.
func touch(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), nil, 0o600))
	}
}

// keep NAME: the last command's output becomes a variable.
func keep(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// isjson: the last command's output is one JSON document.
func isJSON(ts *testscript.TestScript, _ bool, _ []string) {
	if !json.Valid([]byte(ts.ReadFile("stdout"))) {
		ts.Fatalf("the output is not JSON")
	}
}
