//go:build failpoints

package failpoint

import (
	"os"
	"slices"
	"strings"
	"syscall"
)

// On says whether the named fault is planted.
func On(name string) bool { return slices.Contains(strings.Split(os.Getenv(Env), ","), name) }

// Crash ends the process as kill -9 would, where that crash is planted.
func Crash(name string) {
	if On(name) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until the signal is taken
	}
}
