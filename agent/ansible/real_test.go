package ansible

import (
	"bufio"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// run is a real ansible-playbook, started as the shim starts it.
type run struct {
	t      *testing.T
	cmd    *exec.Cmd
	events *bufio.Scanner
	log    *os.File
	temp   string
	output string

	Progress
	seen []Event
}

// start runs a playbook of a's. The job's temp folder is made when p names none.
func start(t *testing.T, a *Ansible, p Playbook) *run {
	t.Helper()
	r := &run{t: t, temp: p.TempDir}
	if r.temp == "" {
		r.temp = shortTemp(t)
	}
	p.TempDir, p.JobID = r.temp, "job"
	p.VarsFile = filepath.Join(r.temp, "vars.json")
	p.OutputFile = filepath.Join(r.temp, "output.json")
	r.output = p.OutputFile
	args, env, dir, err := a.Command(p)
	require.NoError(t, err)

	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	r.log, err = os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	r.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	r.cmd.Env, r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = env, dir, r.log, r.log
	r.cmd.ExtraFiles = []*os.File{writer}
	t.Cleanup(func() {
		cancel()
		_ = r.cmd.Wait()
		require.NoError(t, reader.Close())
		require.NoError(t, r.log.Close())
	})
	require.NoError(t, r.cmd.Start())
	require.NoError(t, writer.Close())
	r.events = bufio.NewScanner(reader)
	return r
}

// next returns the next event, or false once the playbook has closed the pipe.
func (r *run) next() (Event, bool) {
	r.t.Helper()
	if !r.events.Scan() {
		return Event{}, false
	}
	require.LessOrEqual(r.t, len(r.events.Bytes()), 4096)
	e, err := DecodeEvent(r.events.Bytes())
	require.NoError(r.t, err, r.events.Text())
	require.WithinDuration(r.t, time.Now(), e.Time, time.Minute)
	r.Apply(e)
	r.seen = append(r.seen, e)
	return e, true
}

// wait reads the rest of the events and returns the exit code and the log.
func (r *run) wait() (code int, log string) {
	r.t.Helper()
	for {
		if _, ok := r.next(); !ok {
			break
		}
	}
	_ = r.cmd.Wait()
	raw, err := os.ReadFile(r.log.Name())
	require.NoError(r.t, err)
	return r.cmd.ProcessState.ExitCode(), string(raw)
}

func play(tasks string) string {
	return "- hosts: localhost\n  gather_facts: false\n  tasks:\n" + tasks
}

func TestRealExitCodes(t *testing.T) {
	a := newAnsible(t, "", map[string]string{
		"ok.yml":          play("    - command: 'true'\n    - debug: msg=hello\n"),
		"fails.yml":       play("    - name: Break\n      shell: echo why >&2; exit 3\n    - debug: msg=never\n"),
		"syntax.yml":      "- hosts: localhost\n  tasks: {{{",
		"nohosts.yml":     "- hosts: nobody\n  tasks:\n    - debug:\n",
		"unreachable.yml": "- hosts: localhost\n  gather_facts: false\n  vars: {ansible_connection: ssh, ansible_port: 1, ansible_host: 127.0.0.1}\n  tasks:\n    - name: Reach\n      ping:\n",
		"rescued.yml":     play("    - block:\n        - fail: msg=first\n      rescue:\n        - debug: msg=saved\n      always:\n        - debug: msg=done\n"),
		"ignored.yml":     play("    - fail: msg=first\n      ignore_errors: true\n"),
		"loop.yml":        play("    - fail: msg=\"bad {{ item }}\"\n      when: item == 2\n      loop: [1, 2, 3]\n"),
	})
	tests := map[string]struct {
		uri            string
		code           int
		started, ended bool
		failure        string
	}{
		"well":         {"ok.yml", 0, true, true, ""},
		"failed":       {"fails.yml", 2, true, true, `task "Break" failed on localhost: non-zero return code: exit code 3: why`},
		"syntax error": {"syntax.yml", 4, false, false, ""},
		"no hosts":     {"nohosts.yml", 0, true, true, ""},
		"unreachable":  {"unreachable.yml", 4, true, true, `task "Reach" could not reach the host on localhost: `},
		"rescued":      {"rescued.yml", 0, true, true, ""},
		"ignored":      {"ignored.yml", 0, true, true, ""},
		"in a loop":    {"loop.yml", 2, true, true, `task "fail" failed on localhost: bad 2`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, a, Playbook{URI: tt.uri})
			code, log := r.wait()
			require.Equal(t, tt.code, code, log)
			require.Equal(t, tt.started, r.Started(), log)
			require.Equal(t, tt.ended, r.Ended(), log)
			require.Equal(t, tt.uri == "nohosts.yml", r.NoHostsMatched())
			f, ok := r.FirstFailure()
			require.Equal(t, tt.failure != "", ok)
			if ok {
				require.Contains(t, f.String(), tt.failure)
			}
			if code == 0 {
				require.InDelta(t, 1.0, r.Fraction(), 1e-9)
			} else {
				require.Less(t, r.Fraction(), 1.0)
			}
			if tt.uri != "nohosts.yml" {
				require.NotContains(t, log, "WARNING", "neither of ours nor of a broken plugin")
			}
			require.NotContains(t, log, "\x1b[", "no colours")
		})
	}
}

func TestRealTaskCount(t *testing.T) {
	a := newAnsible(t, "", map[string]string{
		"site.yml": play("    - debug:\n    - import_tasks: more.yml\n    - block:\n        - debug:\n      rescue:\n        - debug:\n      always:\n        - debug:\n") +
			"  pre_tasks:\n    - debug:\n  roles:\n    - role: r\n  handlers:\n    - name: never\n      debug:\n",
		"more.yml":               "- debug:\n- debug:\n",
		"roles/r/tasks/main.yml": "- debug:\n",
	})
	r := start(t, a, Playbook{URI: "site.yml"})
	code, log := r.wait()
	require.Zero(t, code, log)
	started := 0
	for _, e := range r.seen {
		if e.Type == TaskStart {
			started++
		}
	}
	require.Equal(t, PlaybookStart, r.seen[0].Type)
	require.Equal(t, 7, r.seen[0].Tasks)
	require.Equal(t, started, r.seen[0].Tasks)
}

// The first task cannot end before its own start was seen: it waits for a file that this test writes on seeing it.
func TestRealEventsComeAtOnce(t *testing.T) {
	a := newAnsible(t, "", map[string]string{"two.yml": play("" +
		"    - {name: First, shell: 'until test -e {{ input.first }}; do sleep 0.01; done'}\n" +
		"    - {name: Second, wait_for: {path: '{{ input.second }}', sleep: 1}}\n")})
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	r := start(t, a, Playbook{URI: "two.yml", Vars: map[string]any{"input": map[string]any{"first": first, "second": second}}})
	expect := func(event EventType) Event {
		e, ok := r.next()
		require.True(t, ok)
		require.Equal(t, event, e.Type)
		return e
	}
	require.Equal(t, 2, expect(PlaybookStart).Tasks)
	require.Equal(t, "First", expect(TaskStart).Task)
	require.Equal(t, []string{"First"}, r.CurrentTasks())
	require.NoError(t, os.WriteFile(first, nil, 0o600))
	require.Equal(t, ResultChanged, expect(TaskResult).Status)
	require.Equal(t, "Second", expect(TaskStart).Task)
	require.InDelta(t, 0.5, r.Fraction(), 1e-9)
	require.NoError(t, os.WriteFile(second, nil, 0o600))
	code, log := r.wait()
	require.Zero(t, code, log)
	require.Equal(t, HostStats{OK: 2, Changed: 1}, r.Hosts()["localhost"])
}

// What stands in the input is never evaluated: not as a template, and not as the expression of a condition either.
func TestRealInjection(t *testing.T) {
	a := newAnsible(t, "", map[string]string{
		"inject.yml": play("" +
			"    - copy: {dest: \"{{ input.out }}\", mode: '0600', content: \"{{ [playbook_input.input.text, input.text, input.list[0].deep, device_id] | to_json }}\"}\n" +
			"    - debug: {msg: \"{{ item.value }}\"}\n      loop: \"{{ input | dict2items }}\"\n" +
			"    - debug: {msg: \"{{ input.text }} {{ input.comment }}\"}\n" +
			"    - template: {src: x.j2, dest: \"{{ input.out }}.template\", mode: '0600'}\n" +
			"    - debug: {msg: x}\n      when: \"{{ input.condition }}\"\n      ignore_errors: true\n" +
			"    - debug: {msg: x}\n      when: input.flag and input.name == 'ordinary'\n"),
		"x.j2": "{{ input.text }}",
	})
	dir := t.TempDir()
	out, pwned := filepath.Join(dir, "out"), filepath.Join(dir, "pwned")
	evil := "{{ lookup('pipe', 'touch " + pwned + "') }}{% raw %}"
	r := start(t, a, Playbook{URI: "inject.yml", Vars: map[string]any{
		"device_id": evil,
		"input": map[string]any{
			"out":       out,
			"text":      evil,
			"comment":   "{# x #}",
			"list":      []any{map[string]any{"deep": evil}},
			"condition": "lookup('pipe', 'touch " + pwned + "')",
			"flag":      true,
			"name":      "ordinary",
		},
	}})
	code, log := r.wait()
	require.Zero(t, code, log)
	require.NoFileExists(t, pwned, log)

	raw, err := os.ReadFile(out)
	require.NoError(t, err)
	var got []string
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Equal(t, []string{evil, evil, evil, evil}, got)
	raw, err = os.ReadFile(out + ".template")
	require.NoError(t, err)
	require.Equal(t, evil, string(raw))
	require.Contains(t, r.Hosts(), "localhost")
	require.Equal(t, 1, r.Hosts()["localhost"].Ignored, "the condition from the input is refused, not evaluated")
	require.Zero(t, r.Hosts()["localhost"].Skipped, "ordinary conditions on the input work")
}

func TestRealNoLog(t *testing.T) {
	a := newAnsible(t, "", map[string]string{"secret.yml": play("" +
		"    - name: Keep quiet\n      shell: echo s3cret-out; echo s3cret-err >&2; exit 1 # s3cret-arg\n      no_log: true\n      ignore_errors: true\n" +
		"    - name: Loop quietly\n      fail: msg=\"s3cret {{ item }}\"\n      loop: [s3cret-item]\n      no_log: true\n      ignore_errors: true\n" +
		"    - name: Arguments\n      command: /no/such/command s3cret-argument\n")})
	r := start(t, a, Playbook{URI: "secret.yml"})
	code, _ := r.wait()
	require.Equal(t, 2, code)
	var messages []string
	for _, e := range r.seen {
		require.NotContains(t, e.Message+e.Task+e.Play, "s3cret", "%+v", e)
		if e.Type == TaskResult {
			messages = append(messages, e.Message)
		}
	}
	require.Len(t, messages, 3)
	require.Equal(t, "censored (no_log)", messages[0])
	require.Equal(t, "censored (no_log)", messages[1])
	require.NotEmpty(t, messages[2])
}

// Whatever a playbook does locally, Ansible's own files stay in the job's temp folder.
func TestRealKeepsToTempDir(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	me, err := user.Current()
	require.NoError(t, err)
	a := newAnsible(t, "", map[string]string{"tmp.yml": "" +
		"- hosts: localhost\n  gather_facts: false\n  tasks:\n" +
		"    - {name: Module, command: 'true'}\n" +
		"    - {name: Copy, copy: {content: x, dest: \"{{ quell_temp_dir }}/copied\", mode: '0600'}}\n" +
		"    - {name: Temporary file, tempfile: {state: file}, register: made}\n" +
		"    - {name: Background, command: 'true', async: 30, poll: 0, register: b}\n" +
		"    - {name: Wait, async_status: {jid: \"{{ b.ansible_job_id }}\"}, register: s, until: s.finished, retries: 100, delay: 0.1}\n" +
		"    - {name: Piped, command: cat, vars: {ansible_pipelining: true}, args: {stdin: x}}\n" +
		"    - {name: Where, debug: {msg: \"{{ made.path }}\"}}\n" +
		"- hosts: other\n  connection: local\n  gather_facts: false\n  tasks:\n" +
		"    - {name: Module elsewhere, command: 'true'}\n"})
	a.inventory = "other,"
	before := listing(t, me.HomeDir+"/.ansible", me.HomeDir+"/.ansible_async", os.TempDir(), a.playbookDir)
	r := start(t, a, Playbook{URI: "tmp.yml"})
	code, log := r.wait()
	require.Zero(t, code, log)
	require.Contains(t, log, `"msg": "`+r.temp+"/tmp/")
	require.FileExists(t, filepath.Join(r.temp, "copied"))
	async, err := os.ReadDir(filepath.Join(r.temp, "async"))
	require.NoError(t, err)
	require.NotEmpty(t, async)
	require.DirExists(t, filepath.Join(r.temp, "remote/.ansible/tmp"))
	require.Empty(t, listing(t, home))
	for path := range listing(t, me.HomeDir+"/.ansible", me.HomeDir+"/.ansible_async", os.TempDir(), a.playbookDir) {
		if name := filepath.Base(path); strings.HasPrefix(name, "ansible") || strings.HasPrefix(name, ".ansible") {
			require.Contains(t, before, path, "made outside of the job's temp folder")
		}
	}
}

// On a host that is remote indeed the user's own folders are used, not a path of this node. The remote host is played by
// a stand-in for ssh, which runs what it is given with a fresh environment.
func TestRealRemoteTemp(t *testing.T) {
	dir, remoteHome := t.TempDir(), t.TempDir()
	ssh := filepath.Join(dir, "ssh")
	script := "#!/bin/sh\nfor last; do :; done\ncd " + remoteHome + "\nexec env -i PATH=\"$PATH\" HOME=" + remoteHome + " sh -c \"$last\"\n"
	require.NoError(t, os.WriteFile(ssh, []byte(script), 0o700))
	a := newAnsible(t, "", map[string]string{
		"remote.yml": "- hosts: far\n  gather_facts: false\n  tasks:\n" +
			"    - {name: Module, command: 'true'}\n" +
			"    - {name: Background, command: sleep 0, async: 30, poll: 1}\n",
	})
	a.inventory = filepath.Join(dir, "inventory")
	require.NoError(t, os.WriteFile(a.inventory, []byte("far ansible_connection=ssh ansible_ssh_transfer_method=piped ansible_ssh_executable="+ssh+
		" ansible_python_interpreter=/usr/bin/python3\n"), 0o600))
	r := start(t, a, Playbook{URI: "remote.yml"})
	code, log := r.wait()
	require.Zero(t, code, log)
	require.DirExists(t, filepath.Join(remoteHome, ".ansible_async"))
	for path := range listing(t, r.temp) {
		require.NotContains(t, path, r.temp+"/remote/.ansible")
		require.NotContains(t, path, r.temp+"/async/")
	}
}

// A reader that goes away, or none at all, is no reason for a playbook to fail.
func TestRealReaderGone(t *testing.T) {
	a := newAnsible(t, "", map[string]string{"ok.yml": play("    - debug: msg=one\n    - debug: msg=two\n")})
	p := Playbook{URI: "ok.yml", TempDir: shortTemp(t)}
	p.VarsFile = filepath.Join(p.TempDir, "vars.json")
	args, env, dir, err := a.Command(p)
	require.NoError(t, err)
	for _, name := range []string{"closed", "missing"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Env, cmd.Dir = env, dir
			if name == "closed" {
				reader, writer, err := os.Pipe()
				require.NoError(t, err)
				require.NoError(t, reader.Close())
				cmd.ExtraFiles = []*os.File{writer}
				defer func() { require.NoError(t, writer.Close()) }()
			}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			require.NotContains(t, string(out), "WARNING")
			require.Contains(t, string(out), "two")
		})
	}
}

func listing(t *testing.T, roots ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				// Others make and remove files in a shared temp folder meanwhile.
				return nil //nolint:nilerr // See above.
			}
			if path == root {
				return nil
			}
			found[path] = true
			if root == os.TempDir() && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		})
		require.NoError(t, err)
	}
	return found
}
