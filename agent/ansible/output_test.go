package ansible

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadOutput(t *testing.T) {
	tests := map[string]struct {
		text string
		want string // the output
		err  string
	}{
		"an object":         {"{\"a\": [1, \"ü\"],\n \"b\": {}}\n", `{"a":[1,"ü"],"b":{}}`, ""},
		"empty object":      {"{}", `{}`, ""},
		"nothing":           {"", "", "not a JSON object"},
		"a list":            {"[1]", "", "not a JSON object"},
		"null":              {"null", "", "not a JSON object"},
		"half an object":    {`{"a":`, "", "not a JSON object"},
		"two objects":       {`{}{}`, "", "not a JSON object"},
		"not UTF-8":         {"{\"a\":\"\xff\"}", "", "not UTF-8"},
		"at the limit":      {`{"a":"` + strings.Repeat("x", MaxOutput-8) + `"}`, `{"a":"` + strings.Repeat("x", MaxOutput-8) + `"}`, ""},
		"beyond the limit":  {`{"a":"` + strings.Repeat("x", MaxOutput-7) + `"}`, "", "4194305 bytes"},
		"the plugin's word": {`{"__quell_output_too_large":5000000}`, "", "has 5000000 bytes: at most 4194304"},
		"another of them":   {`{"__quell_output_error":"TypeError"}`, "", "TypeError"},
		"among others":      {`{"__quell_output_too_large":5,"a":1}`, `{"__quell_output_too_large":5,"a":1}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "output")
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			got, err := ReadOutput(path)
			require.Equal(t, tt.want, string(got))
			if tt.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.err)
				require.Nil(t, got)
			}
		})
	}

	t.Run("no file", func(t *testing.T) {
		got, err := ReadOutput(filepath.Join(t.TempDir(), "none"))
		require.NoError(t, err)
		require.Nil(t, got)
	})
	t.Run("not a file", func(t *testing.T) {
		dir := t.TempDir()
		real, link, pipe := filepath.Join(dir, "real"), filepath.Join(dir, "link"), filepath.Join(dir, "pipe")
		require.NoError(t, os.WriteFile(real, []byte(`{}`), 0o600))
		require.NoError(t, os.Symlink(real, link))
		require.NoError(t, syscall.Mkfifo(pipe, 0o600))
		for _, path := range []string{dir, link, pipe} {
			got, err := ReadOutput(path)
			require.Error(t, err, path)
			require.Nil(t, got)
		}
	})
}

const outputPlay = "- hosts: localhost\n  gather_facts: false\n  tasks:\n"

// outputs are playbooks and what they give back; "" is nothing at all.
var outputs = map[string]struct {
	playbook string
	code     int
	want     string
}{
	"set_fact":    {outputPlay + "    - set_fact: {output: {status: ok, n: 1}}\n", 0, `{"status":"ok","n":1}`},
	"set_stats":   {outputPlay + "    - set_stats: {data: {n: 1}}\n    - set_stats: {data: {n: 2}}\n", 0, `{"n":3}`},
	"merged":      {outputPlay + "    - set_stats: {data: {a: stats, b: {x: 1}}}\n    - set_fact: {output: {a: fact, b: {y: 1}, c: fact}}\n", 0, `{"a":"stats","b":{"x":1},"c":"fact"}`},
	"per host":    {outputPlay + "    - set_stats: {data: {n: 1}, per_host: true}\n", 0, ""},
	"no_log":      {outputPlay + "    - set_fact: {output: {token: t1}}\n      no_log: true\n", 0, `{"token":"t1"}`},
	"none":        {outputPlay + "    - set_fact: {other: {a: 1}}\n", 0, ""},
	"empty":       {outputPlay + "    - set_fact: {output: {}}\n", 0, `{}`},
	"the last":    {outputPlay + "    - set_fact: {output: {a: 1, b: 1}}\n    - set_fact: {output: {a: 2}}\n", 0, `{"a":2}`},
	"by a loop":   {outputPlay + "    - set_fact: {output: {a: '{{ item }}'}}\n      loop: [1, 2]\n", 0, `{"a":2}`},
	"then failed": {outputPlay + "    - set_fact: {output: {status: half}}\n    - fail: {msg: boom}\n", 2, `{"status":"half"}`},
	"a string":    {outputPlay + "    - set_fact: {output: text}\n", 0, ""},
	"a list, and stats": {
		outputPlay + "    - set_fact: {output: [1]}\n    - set_stats: {data: {n: 1}}\n", 0,
		`{"n":1}`,
	},
	"several plays": {outputPlay + "    - set_fact: {output: {first: 1}}\n" +
		outputPlay + "    - set_fact: {output: \"{{ output | combine({'second': 2}) }}\"}\n" + outputPlay + "    - debug:\n", 0, `{"first":1,"second":2}`},
	"of another host": {"- hosts: one,two\n  connection: local\n  gather_facts: false\n  tasks:\n    - set_fact: {output: {bad: 1}}\n", 0, ""},
	"among hosts": {"- hosts: one,two\n  connection: local\n  gather_facts: false\n  tasks:\n    - set_fact: {output: {bad: 1}}\n" +
		outputPlay + "    - set_fact: {output: {good: 1}}\n" +
		"- hosts: one,two\n  connection: local\n  gather_facts: false\n  tasks:\n    - set_fact: {output: {bad: 2}}\n    - command: 'true'\n      register: output\n", 0, `{"good":1}`},
	"delegated": {
		"- hosts: one\n  connection: local\n  gather_facts: false\n  tasks:\n    - set_fact: {output: {by: one}}\n      delegate_to: localhost\n      delegate_facts: true\n", 0,
		`{"by":"one"}`,
	},
	"registered":                   {outputPlay + "    - set_fact: {output: {a: 1}}\n    - command: 'true'\n      register: output\n", 0, ""},
	"registered by a skipped task": {outputPlay + "    - command: 'true'\n      register: output\n      when: false\n", 0, ""},
	"registered before":            {outputPlay + "    - command: 'true'\n      register: output\n    - set_fact: {output: {a: 1}}\n", 0, `{"a":1}`},
	"odd values": {
		outputPlay + "    - set_fact:\n        output: {date: 2020-01-02, nan: .nan, 5: five, unsafe: !unsafe '{{ x }}', none: null, deep: [{yes: true}], text: \"\\u00fc\"}\n", 0,
		`{"date":"2020-01-02","nan":"nan","5":"five","unsafe":"{{ x }}","none":null,"deep":[{"true":true}],"text":"ü"}`,
	},
}

func TestRealOutput(t *testing.T) {
	files := map[string]string{}
	for name, tt := range outputs {
		files[name+".yml"] = tt.playbook
	}
	a := newAnsible(t, "", files)
	a.inventory = "one,two,"
	for name, tt := range outputs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, a, Playbook{URI: name + ".yml"})
			code, log := r.wait()
			require.Equal(t, tt.code, code, log)
			require.True(t, r.Ended())
			require.NotContains(t, log, "WARNING")
			got, err := ReadOutput(r.output)
			require.NoError(t, err)
			if tt.want == "" {
				require.Nil(t, got, string(got))
				return
			}
			require.JSONEq(t, tt.want, string(got))
			info, err := os.Stat(r.output)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			require.NoFileExists(t, r.output+".tmp")
		})
	}
}

// localhost may stand in the inventory.
func TestRealOutputOfExplicitLocalhost(t *testing.T) {
	a := newAnsible(t, "", map[string]string{
		"all.yml": "- hosts: all\n  gather_facts: false\n  tasks:\n    - set_fact: {output: {host: '{{ inventory_hostname }}'}}\n",
	})
	a.inventory = filepath.Join(t.TempDir(), "hosts")
	require.NoError(t, os.WriteFile(a.inventory, []byte("zz ansible_connection=local\nlocalhost ansible_connection=local output=variable\n"), 0o600))
	r := start(t, a, Playbook{URI: "all.yml"})
	code, log := r.wait()
	require.Zero(t, code, log)
	got, err := ReadOutput(r.output)
	require.NoError(t, err)
	require.JSONEq(t, `{"host":"localhost"}`, string(got))
}

// A vault value stays encrypted in the output.
func TestRealOutputVault(t *testing.T) {
	password := vaultPassword(t)
	a := newAnsible(t, "", map[string]string{
		"vault.yml": outputPlay + "    - set_fact:\n        output:\n          secret: " + vaulted(t, password, "s3cret", 12),
	})
	a.vaultFile = password
	r := start(t, a, Playbook{URI: "vault.yml"})
	for !r.Ended() {
		_, ok := r.next()
		require.True(t, ok)
	}
	require.FileExists(t, r.output, "it is there when the last event is")
	code, log := r.wait()
	require.Zero(t, code, log)
	got, err := ReadOutput(r.output)
	require.NoError(t, err)
	require.Contains(t, string(got), `{"secret":"$ANSIBLE_VAULT;`)
	require.NotContains(t, string(got), "s3cret")
}

func TestRealOutputTooLarge(t *testing.T) {
	a := newAnsible(t, "", map[string]string{"large.yml": outputPlay + "    - set_fact: {output: {text: \"{{ 'x' * 4200000 }}\"}}\n      no_log: true\n"})
	r := start(t, a, Playbook{URI: "large.yml"})
	code, log := r.wait()
	require.Zero(t, code, log)
	info, err := os.Stat(r.output)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(100))
	_, err = ReadOutput(r.output)
	require.ErrorContains(t, err, "has 4200012 bytes")
}

// What reads the events may have gone when the playbook ends; an earlier output has gone before it starts; and
// a playbook that is cut off leaves none.
func TestRealOutputWithoutReader(t *testing.T) {
	a := newAnsible(t, "", map[string]string{"ok.yml": outputPlay +
		"    - set_fact: {output: {a: \"{{ lookup('env', 'QUELL_OUTPUT_FILE') }}\"}}\n    - command: \"sleep {{ input.seconds }}\"\n"})
	p := Playbook{URI: "ok.yml", TempDir: shortTemp(t), Vars: map[string]any{"input": map[string]any{"seconds": 0}}}
	p.VarsFile, p.OutputFile = filepath.Join(p.TempDir, "vars.json"), filepath.Join(p.TempDir, "output.json")
	require.NoError(t, os.WriteFile(p.OutputFile, []byte(`{"stale":1}`), 0o600))
	command := func() *exec.Cmd {
		args, env, dir, err := a.Command(p)
		require.NoError(t, err)
		require.NoFileExists(t, p.OutputFile)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env, cmd.Dir = env, dir
		return cmd
	}
	out, err := command().CombinedOutput()
	require.NoError(t, err, string(out))
	got, err := ReadOutput(p.OutputFile)
	require.NoError(t, err)
	require.JSONEq(t, `{"a":""}`, string(got), "the environment of tasks does not name the file")

	p.Vars = map[string]any{"input": map[string]any{"seconds": 60}}
	cmd := command()
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	cmd.ExtraFiles = []*os.File{writer}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, writer.Close())
	require.NoError(t, reader.SetReadDeadline(time.Now().Add(time.Minute)))
	buffer := make([]byte, 64<<10)
	for seen := ""; !strings.Contains(seen, `"task":"command"`); {
		n, err := reader.Read(buffer)
		require.NoError(t, err)
		seen += string(buffer[:n])
	}
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	require.Error(t, cmd.Wait())
	require.NoError(t, reader.Close())
	got, err = ReadOutput(p.OutputFile)
	require.NoError(t, err)
	require.Nil(t, got)
}

// Ansible's store of facts is not public: where it has moved, what is public and what was seen stand in.
func TestRealOutputFallbacks(t *testing.T) {
	const private, public = `"_nonpersistent_fact_cache"`, "self._variables.get_vars("
	for _, text := range []string{private, public} {
		require.Equal(t, 1, strings.Count(string(plugin), text), text)
	}
	noStore := strings.Replace(string(plugin), private, `"_moved"`, 1)
	nothing := strings.Replace(noStore, public, "self._variables.moved(", 1)
	a := newAnsible(t, "", map[string]string{
		"quiet.yml": outputPlay + "    - set_fact: {output: {a: 1}}\n    - set_fact: {output: {a: 2}}\n      no_log: true\n",
		"plain.yml": outputPlay + "    - set_fact: {output: {a: '{{ item }}'}}\n      loop: [1, 2]\n",
		"none.yml":  "- hosts: localhost\n  gather_facts: false\n  vars: {output: {bad: 1}}\n  tasks:\n    - debug:\n",
	})
	for _, tt := range []struct{ plugin, uri, want string }{
		{noStore, "quiet.yml", `{"a":2}`},
		{noStore, "none.yml", ""},
		{nothing, "plain.yml", `{"a":2}`},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(a.pluginDir, pluginName), []byte(tt.plugin), 0o600))
		r := start(t, a, Playbook{URI: tt.uri})
		code, log := r.wait()
		require.Zero(t, code, log)
		got, err := ReadOutput(r.output)
		require.NoError(t, err)
		if tt.want == "" {
			require.Nil(t, got, string(got))
		} else {
			require.JSONEq(t, tt.want, string(got))
		}
	}
}

// vaultPassword writes a file with a vault password.
func vaultPassword(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte("correct horse\n"), 0o600))
	return path
}

// vaulted returns an encrypted string as a YAML value whose lines are indented.
func vaulted(t *testing.T, password, secret string, indent int) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ansible-vault", "encrypt_string", "--vault-password-file="+password, secret)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "ANSIBLE_HOME="+t.TempDir())
	out, err := cmd.Output()
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i := range lines[1:] {
		lines[i+1] = strings.Repeat(" ", indent) + strings.TrimSpace(lines[i+1])
	}
	return strings.Join(lines, "\n") + "\n"
}
