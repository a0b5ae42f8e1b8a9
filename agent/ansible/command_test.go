package ansible

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommand(t *testing.T) {
	t.Setenv("PATH", "/bin:/usr/bin")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("LC_ALL", "POSIX")
	t.Setenv("https_proxy", "http://proxy:3128")
	for _, name := range []string{"PYTHONPATH", "PYTHONSTARTUP", "LD_PRELOAD_X", "ANSIBLE_STRATEGY", "ANSIBLE_KEEP_REMOTE_FILES", "QUELL_API", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "leaked")
	}
	a := newAnsible(t, "true", map[string]string{"site.yml": ""})
	temp := shortTemp(t)
	vars := filepath.Join(t.TempDir(), "vars.json")
	playbook := Playbook{
		URI:      "site.yml",
		Vars:     map[string]any{"input": map[string]any{"password": "s3cret"}},
		VarsFile: vars,
		TempDir:  temp,
		JobID:    "0190-job",
	}

	args, env, dir, err := a.Command(playbook)
	require.NoError(t, err)
	require.Equal(t, a.playbookDir, dir)
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "site.yml"))
	require.NoError(t, err)
	require.Equal(t, []string{a.binary, "-e", "@" + vars, real}, args)

	got := map[string]string{}
	for _, pair := range env {
		name, value, ok := strings.Cut(pair, "=")
		require.True(t, ok, pair)
		require.NotContains(t, got, name, "set twice")
		require.NotEqual(t, "leaked", value, name)
		require.NotContains(t, pair, "s3cret")
		got[name] = value
	}
	require.Subset(t, got, map[string]string{
		"PATH":             "/bin:/usr/bin",
		"HOME":             os.Getenv("HOME"),
		"LC_ALL":           "C.UTF-8",
		"https_proxy":      "http://proxy:3128",
		"PYTHONUNBUFFERED": "1",
		"QUELL_EVENTS_FD":  "3",
		"QUELL_JOB_ID":     "0190-job",
	})
	for _, name := range []string{"TMPDIR", "ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP", "ANSIBLE_SSH_CONTROL_PATH_DIR", "ANSIBLE_PERSISTENT_CONTROL_PATH_DIR"} {
		require.True(t, within(temp, got[name]), "%s=%s", name, got[name])
		info, err := os.Stat(got[name])
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), name)
	}

	info, err := os.Stat(vars)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	t.Run("again for the job's next playbook", func(t *testing.T) {
		_, _, _, err := a.Command(playbook)
		require.NoError(t, err)
	})

	t.Run("an inventory is passed on", func(t *testing.T) {
		a, err := New(Options{Binary: "true", PlaybookDir: dir, PluginDir: shortTemp(t), Inventory: "-a,b"})
		require.NoError(t, err)
		args, _, _, err := a.Command(playbook)
		require.NoError(t, err)
		require.Equal(t, "--inventory=-a,b", args[3])
	})

	t.Run("what an operator installed is found", func(t *testing.T) {
		home := t.TempDir()
		t.Setenv("HOME", home)
		require.NoError(t, os.MkdirAll(filepath.Join(home, ".ansible/collections/ansible_collections"), 0o700))
		p := playbook
		p.TempDir = shortTemp(t)
		_, _, _, err := a.Command(p)
		require.NoError(t, err)
		require.DirExists(t, filepath.Join(p.TempDir, "home/collections/ansible_collections"))
	})

	refused := map[string]struct {
		change func(*Playbook)
		want   string
	}{
		"missing playbook":        {func(p *Playbook) { p.URI = "none.yml" }, "none.yml"},
		"relative variables file": {func(p *Playbook) { p.VarsFile = "vars.json" }, "absolute"},
		"relative temp folder":    {func(p *Playbook) { p.TempDir = "tmp" }, "absolute"},
		"missing temp folder":     {func(p *Playbook) { p.TempDir = temp + "/none" }, "no such file"},
		"temp folder too long":    {func(p *Playbook) { p.TempDir = "/" + strings.Repeat("x", 76) }, "no socket fits"},
		"temp folder with a $":    {func(p *Playbook) { p.TempDir = "/tmp/$HOME" }, "cannot take in a path"},
		"bad variable":            {func(p *Playbook) { p.Vars = map[string]any{"ansible_connection": "x"} }, "ansible_connection"},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			p := playbook
			tt.change(&p)
			_, _, _, err := a.Command(p)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestEncodeVars(t *testing.T) {
	type m = map[string]any
	raw, err := encodeVars(m{
		"input": m{
			"plain": "text",
			"inj":   "{{ lookup('pipe', 'id') }}",
			"list":  []any{"{% x %}", 1, true, nil, m{"deep": "{# y #}"}},
			"big":   json.Number("12345678901234567890"),
			"html":  "<&>",
		},
		"device_id": "d1",
		"raw":       json.RawMessage(`{"a":"{{ b }}"}`),
	}, nil, "/tmp/job")
	require.NoError(t, err)

	unsafe := func(s string) m { return m{"__ansible_unsafe": s} }
	members := m{
		"input": m{
			"plain": unsafe("text"),
			"inj":   unsafe("{{ lookup('pipe', 'id') }}"),
			"list":  []any{unsafe("{% x %}"), json.Number("1"), true, nil, m{"deep": unsafe("{# y #}")}},
			"big":   json.Number("12345678901234567890"),
			"html":  unsafe("<&>"),
		},
		"device_id": unsafe("d1"),
		"raw":       m{"a": unsafe("{{ b }}")},
	}
	want := m{"playbook_input": members, "quell_temp_dir": unsafe("/tmp/job"), "ansible_async_dir": asyncDir}
	for name, value := range members {
		want[name] = value
	}
	var got m
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&got))
	require.Equal(t, want, got)

	t.Run("none", func(t *testing.T) {
		raw, err := encodeVars(nil, nil, "/tmp/job")
		require.NoError(t, err)
		require.Contains(t, string(raw), `"playbook_input":{}`)
	})

	deep := any("bottom")
	for range maxDepth {
		deep = []any{deep}
	}
	refused := map[string]struct {
		vars m
		want string
	}{
		"template in a key":    {m{"input": m{"a{{b}}": 1}}, "playbook_input.input: the key"},
		"deep template key":    {m{"input": []any{m{"x": m{"{%a": 1}}}}, "playbook_input.input[0].x"},
		"ansible's own object": {m{"input": m{"__ansible_vault": "x"}}, "Ansible's own"},
		"unsafe by hand":       {m{"input": m{"__ansible_unsafe": []any{"{{ x }}"}}}, "Ansible's own"},
		"connection variable":  {m{"ansible_host": "evil"}, "ansible_host"},
		"reserved name":        {m{"hostvars": 1}, "hostvars"},
		"shadowing":            {m{"playbook_input": 1}, "playbook_input"},
		"no identifier":        {m{"a-b": 1}, "a-b"},
		"too deep":             {m{"input": deep}, "nested"},
		"not JSON":             {m{"input": func() {}}, "variables"},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			_, err := encodeVars(tt.vars, nil, "/tmp/job")
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestEnvironWithoutAny(t *testing.T) {
	for _, name := range inherited {
		t.Setenv(name, "")
		require.NoError(t, os.Unsetenv(name))
	}
	a := newAnsible(t, "/bin/true", map[string]string{"site.yml": ""})
	env := a.environ(Playbook{TempDir: "/tmp/job"})
	require.True(t, slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "PATH=/") }))
}
