package process

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkKillTree measures from Kill to Done, with a tree of eleven.
func BenchmarkKillTree(b *testing.B) {
	for _, noCgroup := range []bool{false, true} {
		name := map[bool]string{false: "cgroup", true: "fallback"}[noCgroup]
		b.Run(name, func(b *testing.B) {
			sup, err := New(Options{Root: b.TempDir(), Shim: shimPath, NoCgroup: noCgroup})
			require.NoError(b, err)
			defer sup.Close()
			job := "bench-" + filepath.Base(b.TempDir()) + "-" + name
			script := "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1000 & done; echo ready; wait"
			var kills, deaths, starts []time.Duration
			for i := 0; b.Loop(); i++ {
				run := "run-" + strings.Repeat("i", i%100) + time.Now().Format("150405.000000000")
				begin := time.Now()
				r, err := sup.Start(job, run, Command{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}})
				require.NoError(b, err)
				<-r.Started()
				starts = append(starts, time.Since(begin))
				for info, err := os.Stat(sup.LogPath(job, run)); err != nil || info.Size() == 0; info, err = os.Stat(sup.LogPath(job, run)) {
					<-r.Changed()
				}
				asked := time.Now()
				r.Kill("benchmark")
				<-r.Done()
				kills = append(kills, time.Since(asked))
				e := r.Exit()
				require.True(b, e.Killed)
				deaths = append(deaths, e.DeadAt.Sub(asked))
				require.NoError(b, r.Close())
			}
			require.NoError(b, sup.Remove(job))
			b.ReportMetric(0, "ns/op")
			reportQuantiles(b, "start", starts)
			reportQuantiles(b, "dead", deaths)
			reportQuantiles(b, "done", kills)
		})
	}
}

func reportQuantiles(b *testing.B, what string, d []time.Duration) {
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	b.ReportMetric(float64(d[len(d)/2].Microseconds()), what+"-p50-µs")
	b.ReportMetric(float64(d[len(d)*99/100].Microseconds()), what+"-p99-µs")
}
