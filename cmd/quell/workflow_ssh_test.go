package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each device of a job has an sshd of its own, and each run leaves a master
// behind that outlives it: a force abort ends them all.
func TestWorkflowLeavesNoSSHMaster(t *testing.T) {
	devices := []string{"leaf-1", "leaf-2", "leaf-3"}
	ports, servers := map[string]int{}, map[string]sshd{}
	for _, device := range devices {
		servers[device] = startSSHD(t)
		ports[device] = servers[device].number
	}
	// One key for all of them.
	key, err := os.ReadFile(servers["leaf-1"].key)
	require.NoError(t, err)
	authorized, err := os.ReadFile(servers["leaf-1"].key + ".pub")
	require.NoError(t, err)
	for _, server := range servers {
		write(t, filepath.Dir(server.key), map[string]string{"authorized": string(authorized)})
	}
	for name, args := range map[string][]string{"cgroup": nil, "fallback": {"--no-cgroup"}} {
		t.Run(name, func(t *testing.T) {
			_, c := startDev(t, t.TempDir(), append(args, "--max-devices", "3")...)
			j := c.order(order{
				template: "remote-devices", devices: devices, input: map[string]any{"ports": ports, "user": servers["leaf-1"].user},
				files: map[string]string{"key": string(key)},
			}).onDevices(devices...)
			require.Equal(t, len(devices), strings.Count(strings.Join(j.processes(), "\n"), "[mux]"), "each device has its master")
			j.abort("force", "?wait=30s")
			v := j.reach("ABORTED")
			require.Empty(t, j.processes(), "dead before ABORTED is written")
			require.Equal(t, []string{"INTERRUPTED", "INTERRUPTED", "INTERRUPTED"}, v.deviceStatuses())
			j.nothingLeft()
		})
	}
}
