package ansible

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// withInventory returns an Ansible with an inventory, which is executable, and a vault password.
func withInventory(t *testing.T, text string) *Ansible {
	t.Helper()
	dir := t.TempDir()
	inventory := filepath.Join(dir, "inventory")
	require.NoError(t, os.WriteFile(inventory, []byte(text), 0o600))
	if strings.HasPrefix(text, "#!") {
		require.NoError(t, os.Chmod(inventory, 0o700))
	}
	playbooks := filepath.Join(dir, "playbooks")
	require.NoError(t, os.Mkdir(playbooks, 0o700))
	a, err := New(Options{PlaybookDir: playbooks, PluginDir: shortTemp(t), Inventory: inventory, VaultPasswordFile: vaultPassword(t)})
	require.NoError(t, err)
	return a
}

func encrypt(t *testing.T, a *Ansible, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ansible-vault", "encrypt", "--vault-password-file="+a.vaultFile, path)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "ANSIBLE_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
}

func noTempLeft(t *testing.T, a *Ansible) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(a.factsDir(), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestRealFacts(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	a := withInventory(t, `
all:
  vars: {ansible_user: root, device_family: null, family: junos-qfx}
  hosts:
    spine1: {vendor: Arista, device_vendor: other, ansible_host: 10.0.0.9, device_management_ip: "{{ 'ip' }}", device_username: admin, ansible_password: plain-s3cret}
    unasked: {vendor: x}
  children:
    leafs:
      vars: {device_vendor: Juniper, device_name: leaf}
      hosts:
        leaf1: {ansible_host: 10.0.0.1, device_product: qfx5110, device_fqname: [default-global-system-config, leaf1]}
        leaf2: {family: [odd, 1]}
`)
	require.NoError(t, os.Mkdir(filepath.Join(a.playbookDir, "group_vars"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(a.playbookDir, "group_vars/leafs.yml"), []byte("device_product: from-group-vars\n"), 0o600))
	got, err := a.Facts(t.Context(), []string{"spine1", "leaf1", "leaf2", "missing", "leafs"})
	require.NoError(t, err)
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	require.Equal(t, map[string]DeviceFacts{
		"spine1": {
			ManagementIP: raw(`"{{ 'ip' }}"`), Vendor: raw(`"Arista"`), Family: raw(`"junos-qfx"`),
			Username: raw(`"admin"`), Password: Secret(`"plain-s3cret"`),
		},
		"leaf1": {
			FQName: raw(`["default-global-system-config","leaf1"]`), ManagementIP: raw(`"10.0.0.1"`), Vendor: raw(`"Juniper"`),
			Family: raw(`"junos-qfx"`), Product: raw(`"qfx5110"`), Username: raw(`"root"`),
		},
		"leaf2": {
			FQName: raw(`"leaf"`), Vendor: raw(`"Juniper"`), Family: raw(`["odd",1]`), Product: raw(`"from-group-vars"`), Username: raw(`"root"`),
		},
	}, got)
	noTempLeft(t, a)

	t.Run("hosts without variables", func(t *testing.T) {
		a, err := New(Options{PlaybookDir: a.playbookDir, PluginDir: a.pluginDir, Inventory: "one,two"})
		require.NoError(t, err)
		got, err := a.Facts(t.Context(), []string{"two", "three"})
		require.NoError(t, err)
		require.Equal(t, map[string]DeviceFacts{"two": {}}, got)
		require.Empty(t, got["two"].Vars())
	})
	t.Run("no inventory", func(t *testing.T) {
		got, err := newAnsible(t, "true", nil).Facts(t.Context(), []string{"one"})
		require.NoError(t, err)
		require.NotNil(t, got)
		require.Empty(t, got)
	})
}

// A template in the inventory is about the device, also in a play for
// localhost.
func TestRealFactsOfTheDevice(t *testing.T) {
	a := withInventory(t, "all:\n  vars: {ansible_host: \"{{ inventory_hostname }}.mgmt\", device_vendor: \"{{ maker }}\"}\n  hosts:\n    leaf1: {maker: Juniper}\n")
	require.NoError(t, os.WriteFile(filepath.Join(a.playbookDir, "x.yml"), []byte(play("    - debug: {msg: \"{{ device_management_ip }} {{ playbook_input.vendor }}\"}\n")), 0o600))
	facts, err := a.Facts(t.Context(), []string{"leaf1"})
	require.NoError(t, err)
	r := start(t, a, Playbook{URI: "x.yml", Vars: map[string]any{"device_id": "leaf1"}, Trusted: facts["leaf1"].Vars()})
	code, log := r.wait()
	require.Zero(t, code, log)
	require.Contains(t, log, "leaf1.mgmt Juniper")
}

func TestRealFactsVault(t *testing.T) {
	a := withInventory(t, "")
	text := "all:\n  hosts:\n    leaf1:\n      device_username: root\n      ansible_password: " + vaulted(t, a.vaultFile, "s3cret", 8)
	require.NoError(t, os.WriteFile(a.inventory, []byte(text), 0o600))
	facts := func() (DeviceFacts, error) {
		got, err := a.Facts(t.Context(), []string{"leaf1"})
		return got["leaf1"], err
	}

	check := func() {
		got, err := facts()
		require.NoError(t, err)
		require.Contains(t, string(got.Password), "$ANSIBLE_VAULT")
		require.NotContains(t, string(got.Password), "s3cret")
		require.JSONEq(t, `"root"`, string(got.Username))
		raw, err := json.Marshal(got.Vars())
		require.NoError(t, err)
		require.Contains(t, string(raw), `"device_password":{"__ansible_vault":"$ANSIBLE_VAULT`)
	}
	check()
	encrypt(t, a, a.inventory) // and the file as a whole as well
	check()

	password := a.vaultFile
	a.vaultFile = ""
	_, err := facts()
	require.ErrorContains(t, err, "No inventory was parsed")
	a.vaultFile = filepath.Join(t.TempDir(), "wrong")
	require.NoError(t, os.WriteFile(a.vaultFile, []byte("wrong"), 0o600))
	_, err = facts()
	require.ErrorContains(t, err, "No inventory was parsed")

	a.vaultFile = password
	require.NoError(t, os.WriteFile(a.inventory, []byte("all: {hosts: {leaf1: {ansible_password: s3cret}}}"), 0o600))
	encrypt(t, a, a.inventory)
	got, err := facts()
	require.NoError(t, err)
	require.JSONEq(t, `"s3cret"`, string(got.Password))
	for _, text := range []string{
		fmt.Sprint(got), fmt.Sprintf("%+v %#v", got, got), fmt.Sprintf("%s %x %q", got.Password, got.Password, got.Password), fmt.Sprintf("%v", got.Vars()),
		logged(t, got), logged(t, got.Password),
	} {
		require.NotContains(t, text, "s3cret")
		require.NotContains(t, text, fmt.Sprintf("%x", "s3cret"))
		require.NotContains(t, text, "115 51 99") // its bytes
		require.NotContains(t, text, "0x73, 0x33")
	}
}

func logged(t *testing.T, value any) string {
	t.Helper()
	var out strings.Builder
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).InfoContext(t.Context(), "facts", "value", value)
	}
	require.Contains(t, out.String(), "value")
	return out.String()
}

func TestRealFactsScript(t *testing.T) {
	answer := func(hostvars string) string {
		return "#!/bin/sh\ncat <<'E'\n{\"all\": {\"hosts\": [\"leaf1\"]}, \"_meta\": {\"hostvars\": {" + hostvars + "}}}\nE\n"
	}
	a := withInventory(t, answer(`"leaf1": {"vendor": "Juniper", "ansible_password": 12345}`))
	got, err := a.Facts(t.Context(), []string{"leaf1"})
	require.NoError(t, err)
	require.Equal(t, map[string]DeviceFacts{"leaf1": {Vendor: json.RawMessage(`"Juniper"`), Password: Secret("12345")}}, got)

	t.Run("fails", func(t *testing.T) {
		a := withInventory(t, "#!/bin/sh\necho 'cannot log in with s3cret' >&2\nexit 3\n")
		_, err := a.Facts(t.Context(), []string{"leaf1"})
		require.ErrorContains(t, err, "ansible-inventory: exit status 1: ERROR! No inventory was parsed")
		require.NotContains(t, err.Error(), "s3cret")
	})
}

// A script that hangs is ended with all that it started, by the caller's time limit.
func TestRealFactsEnd(t *testing.T) {
	t.Setenv("TMPDIR", shortTemp(t))
	pids := filepath.Join(t.TempDir(), "pids")
	a := withInventory(t, "#!/bin/sh\ntrap '' TERM INT HUP\nsleep 600 &\necho $$ $! $PPID >"+pids+".new && mv "+pids+".new "+pids+"\nsleep 600\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var list []string
	enough := errors.New("enough")
	go func() {
		for len(list) == 0 && ctx.Err() == nil {
			raw, _ := os.ReadFile(pids)
			list = strings.Fields(string(raw))
			time.Sleep(5 * time.Millisecond)
		}
		cancel(enough)
	}()
	_, err := a.Facts(ctx, []string{"leaf1"})
	require.ErrorIs(t, err, enough)
	require.Len(t, list, 3)
	for _, pid := range list {
		require.Eventually(t, func() bool { return dead(t, pid) }, 5*time.Second, time.Millisecond, pid)
	}
	noTempLeft(t, a)

	deadline, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	begun := time.Now()
	_, err = a.Facts(deadline, []string{"leaf1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begun), 10*time.Second)
	_, err = a.Facts(deadline, []string{"leaf1"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// dead reports whether a process is gone, or a zombie.
func dead(t *testing.T, pid string) bool {
	t.Helper()
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

func TestCapture(t *testing.T) {
	run := func(ctx context.Context, script string, limit int) (stdout, stderr string, err error) {
		out, said, err := capture(ctx, exec.Command("/bin/sh", "-c", script), limit)
		return string(out), string(said), err
	}
	out, said, err := run(t.Context(), "echo out; echo err >&2", 4)
	require.NoError(t, err)
	require.Equal(t, "out\n", out)
	require.Equal(t, "err\n", said)

	_, said, err = run(t.Context(), "yes x | head -c 100000 >&2; echo end >&2; exit 3", 10)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Len(t, said, maxStderr)
	require.True(t, strings.HasSuffix(said, "x\nend\n"))

	t.Run("too much", func(t *testing.T) {
		for _, script := range []string{"exec yes", "echo 12345", "echo 1; sleep 0.1; echo 2345; sleep 600"} {
			out, _, err := run(t.Context(), script, 5)
			require.ErrorContains(t, err, "sh answered more than 5 bytes")
			require.LessOrEqual(t, len(out), 5)
		}
	})
	t.Run("leftovers", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		// It stays in the group and holds the pipe.
		begun := time.Now()
		out, _, err := run(t.Context(), "sleep 600 & echo $! >"+file+"; echo out", 10)
		require.NoError(t, err)
		require.Equal(t, "out\n", out)
		require.Less(t, time.Since(begun), pipeDelay)
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		pid := strings.TrimSpace(string(raw))
		require.Eventually(t, func() bool { return dead(t, pid) }, 5*time.Second, time.Millisecond)
	})
	t.Run("a pipe held from outside of the group", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "pid")
		out, _, err := run(t.Context(), "setsid sh -c 'echo $$ >"+file+"; exec sleep 600' & until test -s "+file+"; do sleep 0.01; done; echo out", 10)
		require.NoError(t, err)
		require.Equal(t, "out\n", out)
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
		require.NoError(t, err)
		require.False(t, dead(t, strconv.Itoa(pid)), "what has left the group is not ours to find")
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	})
	t.Run("ended before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		file := filepath.Join(t.TempDir(), "made")
		_, _, err := run(ctx, "touch "+file, 10)
		require.ErrorIs(t, err, context.Canceled)
		require.NoFileExists(t, file)
	})
}

func TestLastError(t *testing.T) {
	tests := map[string]string{
		"":                                    "it did not say why: run ansible-inventory --list on the node",
		"a\nERROR! b\x1b[31m\n\n password: x": "ERROR! b [31m",
		"[WARNING]: a\n[ERROR]: b\r\n":        "[ERROR]: b",
		"Traceback\nKeyError: 's3cret'\n\n":   "it did not say why: run ansible-inventory --list on the node",
		"ERROR! " + strings.Repeat("ü", 400):  "ERROR! " + strings.Repeat("ü", 145) + "…",
	}
	for text, want := range tests {
		require.Equal(t, want, lastError([]byte(text)))
	}
}

func TestPickQuotesNothing(t *testing.T) {
	for _, raw := range []string{``, `s3cret`, `{"_meta": "s3cret"}`, `{"_meta": {"hostvars": {"a": 1234567}}}`, `[]`} {
		_, err := pick([]byte(raw), []string{"a"})
		require.ErrorContains(t, err, "something unexpected", raw)
		require.NotContains(t, err.Error(), "s3cret")
		require.NotContains(t, err.Error(), "1234567")
	}
}
