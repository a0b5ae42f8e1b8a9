package web

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// The unit tests of the page's sources. `make build` installs what they need.
func TestVitest(t *testing.T) {
	if _, err := os.Stat("node_modules/vitest"); err != nil {
		if os.Getenv("QUELL_TEST_ALL") != "" { // `make test`, where nothing may be missing
			t.Fatal("vitest is not installed")
		}
		t.Skip("vitest is not installed: make build, with Node")
	}
	vitest := exec.CommandContext(t.Context(), "node", "node_modules/vitest/vitest.mjs", "run")
	vitest.Env = append(os.Environ(), "NO_COLOR=1")
	out, err := vitest.CombinedOutput()
	require.NoError(t, err, string(out))
	t.Logf("%s", out)
}
