package apiserver

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func devicesOf(n int) []quell.Device {
	list := make([]quell.Device, n)
	for i := range list {
		list[i] = quell.Device{ID: fmt.Sprintf("d%d", i), Status: quell.PlaybookPending}
	}
	return list
}

// TestSummaryDevices has devices that the request names, and others that turn
// up in the middle of the job.
func TestSummaryDevices(t *testing.T) {
	for name, c := range map[string]struct {
		requested []string
		states    [][]quell.Device // one after the other
		count     int
		ids       []string
	}{
		"none":                        {nil, [][]quell.Device{nil}, 0, []string{}},
		"of the request":              {[]string{"d0", "d1"}, [][]quell.Device{devicesOf(2)}, 2, []string{"d0", "d1"}},
		"that turn up":                {nil, [][]quell.Device{nil, {}, devicesOf(1), devicesOf(3)}, 3, []string{"d0", "d1", "d2"}},
		"of both":                     {[]string{"x", "d0"}, [][]quell.Device{devicesOf(1), devicesOf(3)}, 4, []string{"x", "d0", "d1", "d2"}},
		"of an earlier release":       {[]string{"x"}, [][]quell.Device{nil, nil}, 1, []string{"x"}},
		"more than are shown":         {nil, [][]quell.Device{devicesOf(5), devicesOf(1000)}, 1000, []string{"d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7"}},
		"some of which are gone":      {nil, [][]quell.Device{{{ID: "d0", Gone: true}, {ID: "d1"}}}, 2, []string{"d0", "d1"}},
		"the same number of another":  {nil, [][]quell.Device{{{ID: "d0"}}, {{ID: "d1"}}}, 2, []string{"d0", "d1"}},
		"the same, again and again":   {nil, [][]quell.Device{devicesOf(2), devicesOf(2), devicesOf(2)}, 2, []string{"d0", "d1"}},
		"none any more, as it cannot": {nil, [][]quell.Device{devicesOf(2), {}}, 2, []string{"d0", "d1"}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newIndex()
			spec := quell.Spec{ID: job1, Params: quell.Params{DeviceList: c.requested}}
			x.change(quell.JobChange{ID: job1, Spec: &spec}, now)
			var before []*summaryBody
			var copies []summaryBody
			for _, devices := range c.states {
				x.change(quell.JobChange{ID: job1, State: &quell.State{Status: quell.StatusInProgress, Devices: devices}}, now)
				s := x.visible(job1)
				copied := *s
				copied.DeviceIDs = append([]string{}, s.DeviceIDs...)
				before, copies = append(before, s), append(copies, copied)
			}
			got := x.visible(job1)
			assert.Equal(t, c.count, got.DeviceCount)
			assert.Equal(t, c.ids, got.DeviceIDs)
			assert.Len(t, got.devices, c.count)
			for i := range before {
				assert.Equal(t, copies[i].DeviceIDs, before[i].DeviceIDs, "what was handed out is not written to")
				assert.Equal(t, copies[i].DeviceCount, before[i].DeviceCount)
			}
		})
	}
	f := newFixture(t)
	f.store.add(job1, quell.StatusInProgress)
	assert.Empty(t, requireJSON[jobList](t, f.do("GET", "/v1/jobs?device=d2", "")).Jobs)
	f.store.set(job1, func(j *quell.Job) { j.State.Devices = devicesOf(3) })
	assert.Len(t, requireJSON[jobList](t, f.do("GET", "/v1/jobs?device=d2", "")).Jobs, 1)
}

// TestSummaryOfManyDevicesIsCheap has a job whose devices change in their
// statuses alone: nothing is made for each of them.
func TestSummaryOfManyDevicesIsCheap(t *testing.T) {
	x := newIndex()
	spec, state := quell.Spec{ID: job1}, quell.State{Status: quell.StatusInProgress, Devices: devicesOf(1000)}
	x.change(quell.JobChange{ID: job1, Spec: &spec}, now)
	x.change(quell.JobChange{ID: job1, State: &state}, now)
	few := testing.AllocsPerRun(100, func() { x.change(quell.JobChange{ID: job1, State: &state}, now) })
	assert.Less(t, few, 20.0)
	first := &x.visible(job1).devices[0]
	x.change(quell.JobChange{ID: job1, State: &state}, now)
	require.Same(t, first, &x.visible(job1).devices[0])
}
