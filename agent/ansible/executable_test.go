package ansible

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExecutableCommand(t *testing.T) {
	t.Setenv("SECRET_OF_THE_AGENT", "leaked")
	a := newAnsible(t, "true", map[string]string{"bin/tool": "#!/bin/sh\n"})
	require.NoError(t, os.Chmod(filepath.Join(a.playbookDir, "bin/tool"), 0o700))
	a.inventory, a.vaultFile = "one,", "/vault"
	temp := shortTemp(t)
	p := Playbook{
		URI: "bin/tool", Executable: true, Args: []string{"-x", "a b", "{{ c }}"},
		Vars:     map[string]any{"input": map[string]any{"text": "{{ <x> }}", "{{ key }}": 12345678901234567}},
		Trusted:  map[string]any{"device_username": "root", "unsafe": []any{map[string]any{"__ansible_unsafe": "{{ u }}"}}, "secret": Secret(`{"__ansible_vault":"x"}`)},
		VarsFile: filepath.Join(temp, "vars.json"), OutputFile: filepath.Join(temp, "output.json"),
		TempDir: temp, JobID: "0190-job",
	}
	args, env, dir, err := a.Command(p)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(filepath.Join(a.playbookDir, "bin/tool"))
	require.NoError(t, err)
	require.Equal(t, []string{real, "-x", "a b", "{{ c }}"}, args)
	require.Equal(t, a.playbookDir, dir)
	require.Subset(t, env, []string{
		"QUELL_INPUT_FILE=" + p.VarsFile, "QUELL_OUTPUT_FILE=" + p.OutputFile, "QUELL_JOB_ID=0190-job",
		"TMPDIR=" + temp + "/tmp", "PYTHONUNBUFFERED=1",
	})
	for _, pair := range env {
		require.NotContains(t, pair, "leaked")
		require.False(t, strings.HasPrefix(pair, "QUELL_EVENTS_FD="), pair)
		require.False(t, strings.HasPrefix(pair, "ANSIBLE_CALLBACK_PLUGINS="), pair)
	}
	raw, err := os.ReadFile(p.VarsFile)
	require.NoError(t, err)
	require.JSONEq(t, `{"input":{"text":"{{ <x> }}","{{ key }}":12345678901234567},"device_username":"root",
		"unsafe":["{{ u }}"],"secret":{"__ansible_vault":"x"}}`, string(raw))
	info, err := os.Stat(p.VarsFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	refused := map[string]struct {
		change func(*Playbook)
		want   string
	}{
		"a name twice":              {func(p *Playbook) { p.Trusted = map[string]any{"input": 1} }, `"input" is among the trusted`},
		"a NUL":                     {func(p *Playbook) { p.Args = []string{"a\x00"} }, "NUL"},
		"not executable":            {func(p *Playbook) { require.NoError(t, os.Chmod(real, 0o600)) }, "may not be executed"},
		"arguments to a playbook":   {func(p *Playbook) { p.Executable = false }, "no arguments"},
		"output's path is relative": {func(p *Playbook) { p.OutputFile = "out" }, "not an absolute path"},
		"output's folder is none":   {func(p *Playbook) { p.OutputFile = temp + "/none/out" }, "no such file"},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Chmod(real, 0o700))
			p := p
			tt.change(&p)
			_, _, _, err := a.Command(p)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestRealExecutable(t *testing.T) {
	a := newAnsible(t, "true", map[string]string{
		"tool":  "#!/usr/bin/env python3\nimport json, os, sys\nv = json.load(open(os.environ['QUELL_INPUT_FILE']))\njson.dump({'got': v, 'args': sys.argv[1:], 'cwd': os.getcwd()}, open(os.environ['QUELL_OUTPUT_FILE'], 'w'))\nprint('hello from', os.environ['QUELL_JOB_ID'])\n",
		"fails": "#!/bin/sh\necho '[]' >$QUELL_OUTPUT_FILE\nexit 7\n",
	})
	for _, name := range []string{"tool", "fails"} {
		require.NoError(t, os.Chmod(filepath.Join(a.playbookDir, name), 0o700))
	}
	r := start(t, a, Playbook{URI: "tool", Executable: true, Args: []string{"x", "y"}, Vars: map[string]any{"input": map[string]any{"a": "{{ b }}"}}})
	code, log := r.wait()
	require.Zero(t, code, log)
	require.Contains(t, log, "hello from job")
	require.Empty(t, r.seen)
	raw, err := ReadOutput(r.output)
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(raw, &got))
	cwd, err := filepath.EvalSymlinks(a.playbookDir)
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"got": map[string]any{"input": map[string]any{"a": "{{ b }}"}}, "args": []any{"x", "y"}, "cwd": cwd,
	}, got)

	r = start(t, a, Playbook{URI: "fails", Executable: true})
	code, _ = r.wait()
	require.Equal(t, 7, code)
	require.Equal(t, "the executable ended with exit code 7: see the log", ExplainExecutable(code))
	_, err = ReadOutput(r.output)
	require.ErrorContains(t, err, "not a JSON object")
}
