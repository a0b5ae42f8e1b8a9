package process

import (
	"fmt"
	"path/filepath"
	"strings"
)

// The files of a run's folder.
const (
	orderFile  = "command.json" // what the shim is to start; removed once it is claimed
	claimFile  = "claim"        // who may start it; made once, never changed or removed
	exitFile   = "exit.json"    // how it ended; made once, never changed
	logFile    = "log"          // the command's stdout and stderr
	eventsFile = "events"       // what the command wrote to fd 3
	socketFile = "shim.sock"    // where the shim listens while it lives
	shimLog    = "shim.log"     // what the shim itself has to complain about
)

const (
	folderMode = 0o700
	fileMode   = 0o600
)

// runVariable marks every process of a run. It is how the processes of a dead
// shim are found where the run had no cgroup.
const runVariable = "QUELL_RUN"

// maxName keeps a cgroup's name, which has a prefix, below NAME_MAX.
const maxName = 200

// ID names a run.
type ID struct {
	Job, Run string
}

// String returns job/run.
func (id ID) String() string { return id.Job + "/" + id.Run }

func (id ID) validate() error {
	if err := validateName("job", id.Job); err != nil {
		return err
	}
	return validateName("run", id.Run)
}

// validateName accepts what is one component of a path and nothing more. It is
// the only thing between a name from outside and the file system.
func validateName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name of %s: empty", what)
	case name == "." || name == "..":
		return fmt.Errorf("name of %s %q: not a name", what, name)
	case len(name) > maxName:
		return fmt.Errorf("name of %s %.32q…: longer than %d bytes", what, name, maxName)
	case strings.ContainsFunc(name, func(r rune) bool { return r == filepath.Separator || r < ' ' || r == 0x7f }):
		return fmt.Errorf("name of %s %q: holds a separator or a control character", what, name)
	}
	return nil
}
