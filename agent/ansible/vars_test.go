package ansible

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEncodeTrustedVars(t *testing.T) {
	type m = map[string]any
	vault := m{"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}
	trusted := m{
		"device_username": "{{ user }}",
		"device_password": vault,
		"raw":             json.RawMessage(`{"list": [{"__ansible_vault": "x"}]}`),
		"secret":          Secret(`"s3cret"`),
		"kept":            m{"__ansible_unsafe": "{{ u }}"},
	}
	raw, err := encodeVars(m{"input": "{{ x }}"}, trusted, "/tmp/job")
	require.NoError(t, err)
	var got m
	require.NoError(t, json.Unmarshal(raw, &got))
	members := m{
		"input":           m{"__ansible_unsafe": "{{ x }}"},
		"device_username": "{{ user }}",
		"device_password": m{"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61\n"},
		"raw":             m{"list": []any{m{"__ansible_vault": "x"}}},
		"secret":          "s3cret",
		"kept":            m{"__ansible_unsafe": "{{ u }}"},
	}
	require.Equal(t, members, got["playbook_input"])
	for name, value := range members {
		require.Equal(t, value, got[name], name)
	}
	require.Equal(t, m{"__ansible_vault": "$ANSIBLE_VAULT;1.1;AES256\n61\n"}, vault, "the caller's own is left alone")

	refused := map[string]struct {
		vars, trusted m
		want          string
	}{
		"in both":             {m{"vendor": 1}, m{"vendor": 1}, `"vendor" is among the trusted ones and among the others`},
		"connection variable": {nil, m{"ansible_user": "x"}, "ansible_user"},
		"reserved name":       {nil, m{"playbook_input": 1}, "playbook_input"},
		"not JSON":            {nil, m{"x": func() {}}, "variables"},
	}
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			_, err := encodeVars(tt.vars, tt.trusted, "/tmp/job")
			require.ErrorContains(t, err, tt.want)
		})
	}
}

// A large job_device_json is encoded once, and in a time that nobody notices beside Ansible's own.
func BenchmarkEncodeVars(b *testing.B) {
	var devices []any
	for i := range 25_000 {
		devices = append(devices, map[string]any{
			"uuid": fmt.Sprintf("0190-%d", i), "fq_name": []any{"default", fmt.Sprintf("device %d", i)},
			"properties": map[string]any{"n": i, "text": "some words about this device"},
		})
	}
	raw, err := json.Marshal(devices)
	require.NoError(b, err)
	vars := map[string]any{"job_device_json": json.RawMessage(raw)}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := encodeVars(vars, nil, "/tmp/job")
		require.NoError(b, err)
	}
}

// Templates in trusted variables are evaluated, and encrypted values are decrypted by Ansible itself, wherever they lie;
// in the file they are still encrypted, and beside them the job's input is as it was.
func TestRealTrusted(t *testing.T) {
	password := vaultPassword(t)
	dir := t.TempDir()
	a := newAnsible(t, "", map[string]string{"use.yml": play("" +
		"    - copy:\n        dest: \"{{ input.out }}\"\n        mode: '0600'\n" +
		"        content: \"{{ [device_password, playbook_input.device_password, nested[0].deep, device_username, input.text] | to_json }}\"\n      no_log: true\n")})
	a.inventory = filepath.Join(dir, "hosts.yml")
	a.vaultFile = password
	require.NoError(t, os.WriteFile(a.inventory, []byte("all:\n  hosts:\n    leaf1:\n      device_username: \"{{ 'ad' ~ 'min' }}\"\n      device_password: "+vaulted(t, password, "s3cret", 8)), 0o600))

	facts, err := a.Facts(t.Context(), []string{"leaf1"})
	require.NoError(t, err)
	trusted := facts["leaf1"].Vars()
	trusted["nested"] = []any{map[string]any{"deep": trusted["device_password"]}}
	out := filepath.Join(dir, "out")
	p := Playbook{URI: "use.yml", Trusted: trusted, Vars: map[string]any{"input": map[string]any{"out": out, "text": "{{ device_password }}"}}}
	r := start(t, a, p)
	code, log := r.wait()
	require.Zero(t, code, log)
	raw, err := os.ReadFile(out)
	require.NoError(t, err)
	require.JSONEq(t, `["s3cret", "s3cret", "s3cret", "admin", "{{ device_password }}"]`, string(raw))
	raw, err = os.ReadFile(filepath.Join(r.temp, "vars.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), "$ANSIBLE_VAULT")
	require.NotContains(t, string(raw), "s3cret")
	require.NotContains(t, log, "s3cret")

	t.Run("without the password", func(t *testing.T) {
		a.vaultFile = ""
		code, log := start(t, a, p).wait()
		require.Equal(t, 2, code, log)
	})
}
