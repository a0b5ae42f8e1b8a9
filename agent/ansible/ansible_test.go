package ansible

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	plugins := filepath.Join(shortTemp(t), "a", "plugins")

	tests := map[string]struct {
		options Options
		want    string
	}{
		"no such binary":       {Options{Binary: "no-such-ansible", PlaybookDir: dir, PluginDir: plugins}, "ansible-core"},
		"no playbook folder":   {Options{Binary: "true", PluginDir: plugins}, "playbook folder is not set"},
		"missing folder":       {Options{Binary: "true", PlaybookDir: dir + "/none", PluginDir: plugins}, "no such file"},
		"folder is a file":     {Options{Binary: "true", PlaybookDir: file, PluginDir: plugins}, "not a folder"},
		"missing inventory":    {Options{Binary: "true", PlaybookDir: dir, PluginDir: plugins, Inventory: dir + "/none"}, "inventory"},
		"no plugin folder":     {Options{Binary: "true", PlaybookDir: dir}, "plugin is not set"},
		"unusable plugin path": {Options{Binary: "true", PlaybookDir: dir, PluginDir: dir + "/a:b"}, "cannot take in a path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.options)
			require.ErrorContains(t, err, tt.want)
		})
	}

	t.Run("writes the plugin", func(t *testing.T) {
		options := Options{Binary: "true", PlaybookDir: dir, PluginDir: plugins}
		path := filepath.Join(plugins, pluginName)
		for _, old := range []string{"", "an older version"} {
			if old != "" {
				require.NoError(t, os.WriteFile(path, []byte(old), 0o600))
			}
			a, err := New(options)
			require.NoError(t, err)
			require.True(t, filepath.IsAbs(a.binary))
			got, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, plugin, got)
		}
		entries, err := os.ReadDir(plugins)
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing but the plugin is left in its folder")
	})
}

func TestResolve(t *testing.T) {
	a := newAnsible(t, "true", map[string]string{"site.yml": "", "sub/dir/deep.yml": ""})
	outside := filepath.Join(t.TempDir(), "outside.yml")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	in := func(name string) string { return filepath.Join(a.playbookDir, name) }
	require.NoError(t, os.Symlink("site.yml", in("link.yml")))
	require.NoError(t, os.Symlink(outside, in("escape.yml")))
	require.NoError(t, os.Symlink(filepath.Dir(outside), in("escapedir")))
	require.NoError(t, os.Symlink("loop.yml", in("loop.yml")))

	found := map[string]string{
		"site.yml":             "site.yml",
		"./sub/dir/deep.yml":   "sub/dir/deep.yml",
		"sub/../site.yml":      "site.yml",
		"link.yml":             "site.yml",
		in("sub/dir/deep.yml"): "sub/dir/deep.yml",
	}
	for uri, want := range found {
		t.Run("found "+uri, func(t *testing.T) {
			got, err := a.Resolve(uri)
			require.NoError(t, err)
			real, err := filepath.EvalSymlinks(in(want))
			require.NoError(t, err)
			require.Equal(t, real, got)
		})
	}

	refused := map[string]error{
		"missing.yml":           fs.ErrNotExist,
		"sub/missing.yml":       fs.ErrNotExist,
		"../outside.yml":        ErrOutside,
		"sub/../../x.yml":       ErrOutside,
		outside:                 ErrOutside,
		"/etc/no-such-file":     ErrOutside,
		"escape.yml":            ErrOutside,
		"escapedir/outside.yml": ErrOutside,
		".":                     ErrOutside,
		"sub":                   nil,
		"loop.yml":              nil,
		"":                      nil,
		"a\x00b":                nil,
	}
	for uri, want := range refused {
		t.Run("refused "+uri, func(t *testing.T) {
			_, err := a.Resolve(uri)
			require.Error(t, err)
			if want != nil {
				require.ErrorIs(t, err, want)
				require.ErrorContains(t, err, uri)
			}
		})
	}

	t.Run("the folder itself may be a link that moves", func(t *testing.T) {
		parent := t.TempDir()
		current := filepath.Join(parent, "current")
		for _, release := range []string{"one", "two"} {
			dir := filepath.Join(parent, release)
			require.NoError(t, os.Mkdir(dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, release+".yml"), nil, 0o600))
		}
		require.NoError(t, os.Symlink("one", current))
		a, err := New(Options{Binary: "true", PlaybookDir: current, PluginDir: shortTemp(t)})
		require.NoError(t, err)
		_, err = a.Resolve("one.yml")
		require.NoError(t, err)
		require.NoError(t, os.Remove(current))
		require.NoError(t, os.Symlink("two", current))
		_, err = a.Resolve("two.yml")
		require.NoError(t, err)
		_, err = a.Resolve("one.yml")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}
