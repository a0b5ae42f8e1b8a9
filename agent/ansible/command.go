package ansible

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
)

// maxTempDir bounds the length of a job's temp folder. ssh's control sockets lie in it, and a socket's path is limited
// to 107 bytes: "/cp/", ten characters of Ansible's and seventeen of ssh's come after the folder.
const maxTempDir = 107 - 4 - 10 - 17

// inherited are the variables of the agent's own that a run gets; everything else stays behind. Ansible is set up by
// an ansible.cfg, not by the agent's environment.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TZ", "SSH_AUTH_SOCK", "ANSIBLE_CONFIG",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
}

// Playbook is one run of a playbook, or of an executable.
type Playbook struct {
	// URI names the playbook, or the executable, as Resolve takes it.
	URI string
	// Executable says that the URI names a program. It is executed itself, finds its variables, as plain JSON, in the file that
	// QUELL_INPUT_FILE names, and emits no events.
	Executable bool
	// Args are the arguments of an executable; a playbook has none.
	Args []string
	// Vars become the variable playbook_input, and each member a variable of its own as well. Nothing in them is ever
	// evaluated: they come from whoever may start a job.
	Vars map[string]any
	// Trusted are more such variables, of names that are not in Vars. They are the operator's own, as in DeviceFacts: Ansible
	// evaluates templates in them, and decrypts encrypted values ({"__ansible_vault": "…"}) where a task uses them. An executable
	// gets those as they are.
	Trusted map[string]any
	// VarsFile is the absolute path that the variables are written to, readable by the owner alone. Ansible
	// reads it once, at its start; an executable, whenever it likes.
	VarsFile string
	// OutputFile is the absolute path, in a folder that exists, of the file that the run leaves its output in, for ReadOutput;
	// empty: the output is not kept.
	OutputFile string
	// TempDir is the job's own temp folder, which exists: absolute and short (at most 76 bytes, since sockets lie in it).
	// What Ansible leaves behind when it is killed, secrets included, lies in there.
	TempDir string
	// JobID is handed to the command as QUELL_JOB_ID, by which a person finds a job's processes.
	JobID string
}

// Command writes the variables' file, removes an output file that is there already, and returns what to run: the
// arguments, the first being the absolute path of the binary, the whole environment, and the working folder. The command of
// a playbook expects a pipe for its events as EventsFD.
func (a *Ansible) Command(p Playbook) (args, env []string, dir string, err error) {
	path, err := a.find(p.URI, p.Executable)
	if err != nil {
		return nil, nil, "", err
	}
	if err := p.check(); err != nil {
		return nil, nil, "", err
	}
	var vars []byte
	if p.Executable {
		vars, err = plainVars(p.Vars, p.Trusted)
	} else {
		vars, err = encodeVars(p.Vars, p.Trusted, p.TempDir)
	}
	if err != nil {
		return nil, nil, "", err
	}
	if err := prepareTemp(p.TempDir); err != nil {
		return nil, nil, "", fmt.Errorf("the job's temp folder: %w", err)
	}
	if p.OutputFile != "" {
		if err := os.Remove(p.OutputFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, nil, "", fmt.Errorf("remove an earlier output: %w", err)
		}
	}
	if err := writeFile(p.VarsFile, vars); err != nil {
		return nil, nil, "", fmt.Errorf("write the variables' file: %w", err)
	}
	if p.Executable {
		return append([]string{path}, p.Args...), a.environ(p), a.playbookDir, nil
	}
	args = append([]string{a.binary, "-e", "@" + p.VarsFile}, a.sources()...)
	return append(args, path), a.environ(p), a.playbookDir, nil
}

// check refuses paths and arguments that a run could not work with.
func (p Playbook) check() error {
	if !p.Executable && len(p.Args) > 0 {
		return errors.New("a playbook takes no arguments")
	}
	for _, arg := range p.Args {
		if strings.ContainsRune(arg, 0) {
			return errors.New("an argument holds a NUL")
		}
	}
	if !filepath.IsAbs(p.VarsFile) {
		return fmt.Errorf("the variables' file %q is not an absolute path", p.VarsFile)
	}
	if p.OutputFile != "" {
		if !filepath.IsAbs(p.OutputFile) {
			return fmt.Errorf("the output file %q is not an absolute path", p.OutputFile)
		}
		// An output that cannot be written would be missed without anybody noticing.
		if _, err := os.Stat(filepath.Dir(p.OutputFile)); err != nil {
			return fmt.Errorf("the output file's folder: %w", err)
		}
	}
	if err := checkPath(p.TempDir); err != nil {
		return fmt.Errorf("the job's temp folder: %w", err)
	}
	if len(p.TempDir) > maxTempDir {
		return fmt.Errorf("the job's temp folder: %s is longer than %d bytes: no socket fits in", p.TempDir, maxTempDir)
	}
	return nil
}

// sources are the arguments that tell Ansible's programs where hosts and passwords come from.
func (a *Ansible) sources() []string {
	var args []string
	if a.inventory != "" {
		args = append(args, "--inventory="+a.inventory)
	}
	if a.vaultFile != "" {
		args = append(args, "--vault-password-file="+a.vaultFile)
	}
	return args
}

// environ returns the whole environment of a run.
func (a *Ansible) environ(p Playbook) []string {
	env := baseEnviron(p.TempDir)
	if p.JobID != "" {
		env = append(env, "QUELL_JOB_ID="+p.JobID)
	}
	if p.OutputFile != "" {
		env = append(env, "QUELL_OUTPUT_FILE="+p.OutputFile)
	}
	if p.Executable {
		// It emits no events, and an ansible-playbook that it starts in turn must not write its output for it: no plugin.
		return append(env, "QUELL_INPUT_FILE="+p.VarsFile)
	}
	return append(env,
		"QUELL_EVENTS_FD="+strconv.Itoa(EventsFD),
		"ANSIBLE_CALLBACK_PLUGINS="+a.pluginDir+":~/.ansible/plugins/callback:/usr/share/ansible/plugins/callback")
}

// baseEnviron returns the environment that whatever is started here has in common.
func baseEnviron(temp string) []string {
	var env []string
	set := func(name, value string) { env = append(env, name+"="+value) }

	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			set(name, value)
		}
	}
	if _, ok := os.LookupEnv("PATH"); !ok {
		set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	if _, ok := os.LookupEnv("HOME"); !ok {
		if home := passwdHome(); home != "" {
			set("HOME", home)
		}
	}
	// Ansible refuses to start in a locale that is not UTF-8 or not installed. This one always is, and makes a log read the
	// same on every node.
	set("LANG", "C.UTF-8")
	set("LC_ALL", "C.UTF-8")

	in := func(name string) string { return filepath.Join(temp, name) }
	set("TMPDIR", in("tmp"))
	set("ANSIBLE_HOME", in("home"))
	set("ANSIBLE_LOCAL_TEMP", in("local"))
	set("ANSIBLE_SSH_CONTROL_PATH_DIR", in("cp"))
	set("ANSIBLE_PERSISTENT_CONTROL_PATH_DIR", in("pc"))
	remote, up := remoteTemp(in("remote"))
	set("ANSIBLE_REMOTE_TEMP", remote)
	if up != "" {
		set("QUELL_REMOTE_TEMP", up)
	}

	// Without this one, a host's output appears only when Ansible's own buffer is full.
	set("PYTHONUNBUFFERED", "1")
	set("ANSIBLE_NOCOLOR", "1")
	set("ANSIBLE_FORCE_COLOR", "False") // The one that wins, should an ansible.cfg set it.
	set("ANSIBLE_NOCOWS", "1")
	set("ANSIBLE_LOCALHOST_WARNING", "False")
	set("ANSIBLE_INVENTORY_UNPARSED_WARNING", "False")
	set("ANSIBLE_RETRY_FILES_ENABLED", "False")
	return env
}

// remoteTemp returns the setting of Ansible's folder for module files, and the value of QUELL_REMOTE_TEMP that goes with it.
//
// There is one setting for this node and for remote hosts, and it does not do to name the job's temp folder there: an
// ordinary user on a remote host cannot create that path, and every task would fail. The setting is expanded by a shell
// on the host in question, though. On a remote host QUELL_REMOTE_TEMP is not set, which leaves Ansible's default,
// ~/.ansible/tmp; here it leads from the home folder up to the root and down into the job's temp folder. Where the
// home folder does not exist (as for many a service's user), the plain path is all that is left.
func remoteTemp(dir string) (setting, up string) {
	home := passwdHome()
	if info, err := os.Stat(home); home == "" || err != nil || !info.IsDir() {
		return dir, ""
	}
	real, err := filepath.EvalSymlinks(home)
	if err != nil {
		return dir, ""
	}
	depth := strings.Count(real, "/")
	return "~/$QUELL_REMOTE_TEMP.ansible/tmp", strings.Repeat("../", depth) + strings.TrimPrefix(dir, "/") + "/"
}

// passwdHome returns the home folder that ~ means to a shell that is asked for this user's by name: that of the
// password file, whatever HOME says.
func passwdHome() string {
	u, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return ""
	}
	return u.HomeDir
}

// prepareTemp makes the folders below a job's temp folder. Ansible's home is one of them, so that nothing is written to
// the agent's own; the collections, roles and plugins that an operator installed there are linked to.
func prepareTemp(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	for _, name := range []string{"tmp", "home", "local", "remote", "async", "cp", "pc"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		if home = passwdHome(); home == "" {
			return nil
		}
	}
	for _, name := range []string{"collections", "roles", "plugins"} {
		installed := filepath.Join(home, ".ansible", name)
		if _, err := os.Stat(installed); err != nil {
			continue
		}
		err := os.Symlink(installed, filepath.Join(dir, "home", name))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// checkPath refuses a path that would not survive the lists, shells and templates that Ansible puts it through.
func checkPath(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	for _, r := range path {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-+,=@", r) {
			return fmt.Errorf("%q holds %q, which Ansible cannot take in a path", path, r)
		}
	}
	return nil
}
