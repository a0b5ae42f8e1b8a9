package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"

	"quell/store/embedded"
)

func daemonCommands() []*cli.Command {
	return []*cli.Command{devCommand(nil), apiserverCommand(nil), agentCommand(nil)}
}

// Every flag has its variable, named after it.
func TestFlagsAndVariablesArePaired(t *testing.T) {
	for _, command := range daemonCommands() {
		for _, flag := range command.Flags {
			name := flag.Names()[0]
			if name == "help" {
				continue
			}
			documented, ok := flag.(cli.DocGenerationFlag)
			require.True(t, ok, name)
			require.Equal(t, env(name), documented.GetEnvVars(), "%s --%s", command.Name, name)
		}
	}
}

// The same setting by flag, variable and file, and which one wins.
func TestConfiguration(t *testing.T) {
	type given struct{ flag, variable, file string }
	for name, tt := range map[string]struct {
		given given
		want  string
	}{
		"default":                     {given{}, "node-default"},
		"flag":                        {given{flag: "a"}, "a"},
		"variable":                    {given{variable: "b"}, "b"},
		"file":                        {given{file: "c"}, "c"},
		"the flag wins over both":     {given{"a", "b", "c"}, "a"},
		"the variable wins over file": {given{variable: "b", file: "c"}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"quell", "probe"}
			if tt.given.flag != "" {
				args = append(args, "--node", tt.given.flag)
			}
			if tt.given.variable != "" {
				t.Setenv("QUELL_NODE", tt.given.variable)
			}
			if tt.given.file != "" {
				path := filepath.Join(t.TempDir(), "config.yml")
				require.NoError(t, os.WriteFile(path, []byte("node: "+tt.given.file+"\nmax-jobs: 7\n"), 0o600))
				args = append(args, "--config", path)
			}
			var got string
			var jobs int
			app := newApp(&bytes.Buffer{}, &bytes.Buffer{}, nil)
			app.Commands = []*cli.Command{probeCommand(&got, &jobs)}
			require.NoError(t, app.Run(args))
			require.Equal(t, tt.want, got)
			if tt.given.file != "" {
				require.Equal(t, 7, jobs)
			}
		})
	}
}

func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	unknown := filepath.Join(dir, "unknown.yml")
	require.NoError(t, os.WriteFile(unknown, []byte("nodes: x\n"), 0o600))
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":          {[]string{"frobnicate"}, `no command "frobnicate"`},
		"unknown flag":             {[]string{"apiserver", "--frobnicate"}, "frobnicate"},
		"an argument":              {[]string{"apiserver", "now"}, `takes no argument "now"`},
		"no etcd":                  {[]string{"apiserver", "--listen", "127.0.0.1:0"}, "--etcd-endpoints"},
		"beyond loopback":          {[]string{"apiserver", "--listen", "0.0.0.0:0", "--etcd-endpoints", "http://127.0.0.1:1"}, "--insecure"},
		"no port":                  {[]string{"apiserver", "--listen", "127.0.0.1", "--etcd-endpoints", "http://127.0.0.1:1"}, "HOST:PORT"},
		"unknown line of the file": {[]string{"agent", "--config", unknown}, `no flag "nodes"`},
		"missing file":             {[]string{"agent", "--config", filepath.Join(dir, "nowhere")}, "no such file"},
		"log level":                {[]string{"agent", "--log-level", "loud"}, "loud"},
		"policy":                   {[]string{"apiserver", "--listen", "127.0.0.1:0", "--etcd-endpoints", "http://127.0.0.1:1", "--abort-all", "maybe"}, "neither allow nor deny"},
		"no playbook folder":       {[]string{"agent", "--listen", "127.0.0.1:0", "--etcd-endpoints", "http://127.0.0.1:1", "--data-dir", dir}, "--playbook-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			require.Equal(t, exitUsage, run(append([]string{"quell"}, tt.args...), &stdout, &stderr), stderr.String())
			require.Contains(t, stderr.String(), tt.want)
			require.Empty(t, stdout.String())
		})
	}
}

func TestFlagsWorkAfterArguments(t *testing.T) {
	app := newApp(&bytes.Buffer{}, &bytes.Buffer{}, nil)
	for name, tt := range map[string]struct{ args, want string }{
		"nothing to do":     {"quell dev --listen :0 a.yml", "quell dev --listen :0 a.yml"},
		"flags behind":      {"quell dev a.yml b.yml --listen :0 --insecure", "quell dev --listen :0 --insecure a.yml b.yml"},
		"a switch in front": {"quell dev --insecure a.yml --listen=:0", "quell dev --insecure --listen=:0 a.yml"},
		"after --":          {"quell dev a.yml --insecure -- --listen", "quell dev --insecure -- a.yml --listen"},
		"no command":        {"quell --version", "quell --version"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, strings.Fields(tt.want), permute(app, strings.Fields(tt.args)))
		})
	}
}

// The address in the file is where the built binary serves.
func TestConfigFileOfTheBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yml")
	require.NoError(t, os.WriteFile(path, []byte("listen: 127.0.0.1:0\nabort-all: deny\netcd-endpoints: ["+startEtcd(t)+"]\n"), 0o600))
	c := &cluster{t: t, api: spawn(t, "apiserver", "--config", path).up().API}
	code, body := c.call("POST", "/abort-job", `{"input": {}}`)
	require.Equal(t, http.StatusForbidden, code, body)
}

// Without etcd every answer comes soon and says so.
func TestEtcdOutOfReach(t *testing.T) {
	etcd, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", UnsafeNoFsync: true})
	require.NoError(t, err)
	c := startAPIServer(t, etcd.Endpoint())
	code, body := c.call("GET", "/readyz", "")
	require.Equal(t, http.StatusOK, code, body)
	etcd.Stop()
	for path, body := range map[string]string{
		"/execute-job": `{"job_template_fq_name": ["test", "one"], "input": {}}`,
		"/abort-job":   `{"input": {"job_execution_ids": ["01a20577-6794-7064-b891-32370b0c9365"]}}`,
	} {
		code, answer := c.call("POST", path, body)
		require.Equal(t, http.StatusServiceUnavailable, code, answer)
		require.Contains(t, answer, "etcd is out of reach")
	}
	code, body = c.call("GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, code, body)
	code, _ = c.call("GET", "/healthz", "")
	require.Equal(t, http.StatusOK, code)
}

// probeCommand hands out what its flags came to.
func probeCommand(node *string, jobs *int) *cli.Command {
	flags := []cli.Flag{stringFlag("node", "node-default", ""), intFlag("max-jobs", 3, "")}
	return command("probe", "", flags, func(c *cli.Context, _ *slog.Logger) error {
		*node, *jobs = c.String("node"), c.Int("max-jobs")
		return nil
	})
}
