package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"quell/web"
)

// The job summary page in a browser: web/e2e says what is done there.
func TestPageInABrowser(t *testing.T) {
	if !web.Built() {
		t.Skip("the page is not built: make build, with Node")
	}
	if _, err := exec.LookPath("chromium"); err != nil {
		t.Skip("there is no chromium: scripts/setup.sh test")
	}
	templates, err := filepath.Glob("../../examples/templates/*.yml")
	require.NoError(t, err)
	quell := spawn(t, append([]string{
		"dev", "--listen", "127.0.0.1:0", "--etcd-listen", "127.0.0.1:0", "--data-dir", t.TempDir(),
		"--playbook-dir", "../../examples/playbooks", "--templates",
	}, templates...)...)
	browser := exec.CommandContext(t.Context(), "node", "--test", "--test-reporter=spec", "e2e/abort.test.mjs")
	browser.Dir = "../../web"
	browser.Env = append(os.Environ(), "QUELL_API="+quell.up().API, "NO_COLOR=1")
	out, err := browser.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
}
