package ansible

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// shortTemp returns a folder with a path short enough for sockets, which that of t.TempDir may not be.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "quell-") //nolint:usetesting // See above.
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// newAnsible returns an Ansible over a playbook folder with the given files in it.
func newAnsible(t *testing.T, binary string, playbooks map[string]string) *Ansible {
	t.Helper()
	dir := t.TempDir()
	for name, text := range playbooks {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	a, err := New(Options{Binary: binary, PlaybookDir: dir, PluginDir: filepath.Join(shortTemp(t), "plugins")})
	require.NoError(t, err)
	return a
}
