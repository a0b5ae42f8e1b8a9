package ansible

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseURIMapping(t *testing.T) {
	good := map[string]URIMapping{
		DefaultURIMap:   {"./opt/contrail/fabric_ansible_playbooks/", ""},
		"/opt/x=":       {"/opt/x/", ""},
		"a/b//=c//d/":   {"a/b/", "c/d/"},
		"a=.":           {"a/", ""},
		"a=b=c":         {"a/", "b=c/"},
		"a=./b/../c":    {"a/", "c/"},
		"file:///pb/=x": {"file:///pb/", "x/"},
	}
	for text, want := range good {
		t.Run(text, func(t *testing.T) {
			got, err := ParseURIMapping(text)
			require.NoError(t, err)
			require.Equal(t, want, got)
			again, err := got.normal()
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
	bad := map[string]string{
		"":              "FROM=TO",
		"./opt/x":       "FROM=TO",
		"=x":            "no folder's name",
		"./=x":          "no folder's name",
		"/=x":           "no folder's name",
		"a=/etc":        "inside the playbook folder",
		"a=../b":        "inside the playbook folder",
		"a=b/../../../": "inside the playbook folder",
		"a\x00=b":       "NUL",
	}
	for text, want := range bad {
		t.Run("refused "+text, func(t *testing.T) {
			_, err := ParseURIMapping(text)
			require.ErrorContains(t, err, want)
		})
	}
}

func TestURIMap(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"site.yml", "sub/site.yml", "opt/plain.yml", "second/only.yml"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	outside := filepath.Join(t.TempDir(), "outside.yml")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "escape.yml")))
	require.NoError(t, os.Symlink(filepath.Dir(outside), filepath.Join(dir, "escapes")))

	own := []URIMapping{{"./my/", "sub"}, {"/abs", ""}, {"./my", "second"}, {"out/", "escapes"}}
	tests := []struct {
		list []URIMapping
		uri  string
		want string
		err  error
	}{
		{nil, "./opt/contrail/fabric_ansible_playbooks/site.yml", "site.yml", nil},
		{nil, "opt/contrail/fabric_ansible_playbooks/site.yml", "site.yml", nil},
		{nil, "/opt/contrail/fabric_ansible_playbooks/site.yml", "site.yml", nil},
		{nil, "./opt/contrail/fabric_ansible_playbooks/sub/site.yml", "sub/site.yml", nil},
		{nil, "site.yml", "site.yml", nil},
		{nil, "opt/plain.yml", "opt/plain.yml", nil},
		{nil, "./opt/contrail/fabric_ansible_playbooks/none.yml", "", fs.ErrNotExist},
		{nil, "./opt/contrail/fabric_ansible_playbooks_2/site.yml", "", fs.ErrNotExist},
		{nil, "./opt/contrail/fabric_ansible_playbooks/../site.yml", "", ErrOutside},
		{nil, "./opt/contrail/fabric_ansible_playbooks/" + outside, "", ErrOutside},
		{nil, "./opt/contrail/fabric_ansible_playbooks//etc/hostname", "", ErrOutside},
		{nil, "./opt/contrail/fabric_ansible_playbooks/escape.yml", "", ErrOutside},
		{nil, "./opt/contrail/fabric_ansible_playbooks/escapes/outside.yml", "", ErrOutside},
		{[]URIMapping{}, "./opt/contrail/fabric_ansible_playbooks/site.yml", "", fs.ErrNotExist},
		{own, "my/site.yml", "sub/site.yml", nil},
		{own, "/my/site.yml", "sub/site.yml", nil},
		{own, "./my/only.yml", "", fs.ErrNotExist}, // the first that fits counts
		{own, "/abs/site.yml", "site.yml", nil},
		{own, "abs/site.yml", "", fs.ErrNotExist}, // only "./" stands for more than one spelling
		{own, "my/../site.yml", "site.yml", nil},
		{own, "out/outside.yml", "", ErrOutside},
	}
	for _, tt := range tests {
		t.Run(tt.uri, func(t *testing.T) {
			a, err := New(Options{Binary: "true", PlaybookDir: dir, PluginDir: shortTemp(t), URIMap: tt.list})
			require.NoError(t, err)
			got, err := a.Resolve(tt.uri)
			require.Equal(t, err, a.Check(tt.uri, false))
			if tt.err != nil {
				require.ErrorIs(t, err, tt.err)
				require.ErrorContains(t, err, tt.uri)
				return
			}
			require.NoError(t, err)
			real, err := filepath.EvalSymlinks(filepath.Join(dir, tt.want))
			require.NoError(t, err)
			require.Equal(t, real, got)
		})
	}

	_, err := New(Options{Binary: "true", PlaybookDir: dir, PluginDir: shortTemp(t), URIMap: []URIMapping{{"a", "../b"}}})
	require.ErrorContains(t, err, "uri mapping")
}

func TestCheckExecutable(t *testing.T) {
	a := newAnsible(t, "true", map[string]string{"tool": "#!/bin/sh\n", "data.txt": ""})
	in := func(name string) string { return filepath.Join(a.playbookDir, name) }
	require.NoError(t, os.Chmod(in("tool"), 0o700))
	require.NoError(t, os.Symlink("/bin/true", in("escape")))
	require.NoError(t, os.Symlink("tool", in("link")))

	require.NoError(t, a.Check("tool", true))
	require.NoError(t, a.Check("link", true))
	require.NoError(t, a.Check("./opt/contrail/fabric_ansible_playbooks/tool", true))
	require.NoError(t, a.Check("data.txt", false))
	require.ErrorIs(t, a.Check("data.txt", true), ErrNotExecutable)
	require.ErrorIs(t, a.Check("escape", true), ErrOutside)
	require.ErrorIs(t, a.Check("/bin/true", true), ErrOutside)
	require.ErrorIs(t, a.Check("none", true), fs.ErrNotExist)
	require.ErrorContains(t, a.Check("none", true), `executable "none"`)
	require.Error(t, a.Check(".", true))
}
