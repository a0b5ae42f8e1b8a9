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
		skipUnlessAll(t, "the page is not built: make build, with Node")
	}
	if _, err := exec.LookPath("chromium"); err != nil {
		skipUnlessAll(t, "there is no chromium: scripts/setup.sh test")
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

// skipUnlessAll skips a test, except in `make test`, where nothing may be
// missing.
func skipUnlessAll(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("QUELL_TEST_ALL") != "" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}
