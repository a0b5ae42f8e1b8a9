package ansible

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const examples = "../../examples"

func newExamples(t *testing.T) *Ansible {
	t.Helper()
	a, err := New(Options{PlaybookDir: examples + "/playbooks", PluginDir: shortTemp(t)})
	require.NoError(t, err)
	return a
}

func TestExampleTemplatesNamePlaybooks(t *testing.T) {
	a := newExamples(t)
	files, err := filepath.Glob(examples + "/templates/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	used := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".yml")
		require.Contains(t, string(raw), "fq_name: [default-global-system-config, "+name+"_template]")
		for _, m := range regexp.MustCompile(`playbook_uri: (\S+)`).FindAllStringSubmatch(string(raw), -1) {
			path, err := a.Resolve(m[1])
			require.NoError(t, err, file)
			used[filepath.Base(path)] = true
		}
	}
	playbooks, err := os.ReadDir(examples + "/playbooks")
	require.NoError(t, err)
	require.Len(t, used, len(playbooks), "every playbook belongs to a template")
}

func TestRealExamples(t *testing.T) {
	a := newExamples(t)
	state := filepath.Join(t.TempDir(), "state")
	type m = map[string]any
	tests := []struct {
		uri     string
		input   m
		code    int
		log     string
		failure string
		state   string
	}{
		{uri: "hello.yml", input: m{}, log: "Hello, world!"},
		{uri: "hello.yml", input: m{"name": "{{ you }}"}, log: "Hello, {{ you }}!"},
		{uri: "three_steps_prepare.yml", input: m{"seconds": 0.1}},
		{uri: "three_steps_apply.yml", input: m{"seconds": 0.1}},
		{uri: "three_steps_verify.yml", input: m{"seconds": 0}},
		{uri: "failing.yml", input: m{"seconds": 0, "why": "no space"}, code: 2, failure: "The device refused the image: no space"},
		{uri: "with_recovery_restore.yml", input: m{"state_file": state}, state: "in service (restored; it was: untouched)\n"},
		{uri: "with_recovery.yml", input: m{"seconds": 0, "state_file": state}, state: "in service\n"},
		{uri: "with_recovery_restore.yml", input: m{"state_file": state}, state: "in service (restored; it was: in service)\n"},
		{uri: "daemons.yml", input: m{"seconds": 0, "daemon_seconds": 1}},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i, " ", tt.uri), func(t *testing.T) {
			r := start(t, a, Playbook{URI: tt.uri, Vars: m{"input": tt.input, "job_execution_id": "0190"}})
			code, log := r.wait()
			require.Equal(t, tt.code, code, log)
			require.Contains(t, log, tt.log)
			require.NotContains(t, log, "WARNING")
			f, _ := r.FirstFailure()
			require.Contains(t, f.Message, tt.failure)
			if tt.state != "" {
				raw, err := os.ReadFile(state)
				require.NoError(t, err)
				require.Equal(t, tt.state, string(raw))
			}
		})
	}
}
