package process

import (
	"fmt"
	"os"
	"strings"
)

// Identity names a process beyond the reuse of its pid.
type Identity struct {
	PID int `json:"pid"`
	// Start is the process's start time in clock ticks since boot.
	Start uint64 `json:"start"`
	Boot  string `json:"boot"`
}

func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// self is the Identity of the calling process.
func self() (Identity, error) {
	boot, err := bootID()
	if err != nil {
		return Identity{}, err
	}
	st, err := proc.stat(os.Getpid())
	if err != nil {
		return Identity{}, fmt.Errorf("own process: %w", err)
	}
	return Identity{PID: st.pid, Start: st.start, Boot: boot}, nil
}

// alive reports whether the process can still act. A zombie cannot, unless it
// is the first thread of a process whose other threads go on.
func (id Identity) alive() bool {
	st, err := proc.stat(id.PID)
	return err == nil && st.start == id.Start && (!st.dead() || st.threads > 1)
}
