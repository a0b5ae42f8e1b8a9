package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"quell"
)

const (
	// mostRows is how many devices job show lists: a job may have a thousand.
	mostRows = 50
	// mostNames is how many of them a sentence names.
	mostNames = 10
)

// printDevices prints the devices; of many, first those that did not end well.
func (s *session) printDevices(devices []device) error {
	if len(devices) == 0 {
		return nil
	}
	shown := devices
	if len(devices) > mostRows {
		shown = slices.Clone(devices)
		slices.SortStableFunc(shown, func(a, b device) int { return cmp.Compare(urgency(a), urgency(b)) })
		shown = shown[:mostRows]
	}
	table := newTable(s.paint, "DEVICE", "STATUS", "CHANGED", "ERROR")
	for _, d := range shown {
		changed := "no"
		if d.Changed {
			changed = "yes"
		}
		table.add(d.ID, statusCell(d.Status), changed, d.Error)
	}
	fmt.Fprintln(s.out)
	if err := table.print(s.out); err != nil || len(shown) == len(devices) {
		return err
	}
	_, err := fmt.Fprintf(s.out, "and %s (--output json has all of them)\n", moreDevices(devices, shown))
	return err
}

// urgency orders devices by how much they need a look.
func urgency(d device) int {
	order := []quell.PlaybookStatus{
		quell.PlaybookFailure, quell.PlaybookInterrupted, quell.PlaybookRunning, quell.PlaybookSkipped, quell.PlaybookPending,
	}
	if i := slices.Index(order, d.Status); i >= 0 {
		return i
	}
	return len(order)
}

// moreDevices says how many devices are not shown, by their statuses.
func moreDevices(devices, shown []device) string {
	left := map[quell.PlaybookStatus]int{}
	var order []quell.PlaybookStatus
	for _, d := range devices {
		if left[d.Status]++; left[d.Status] == 1 {
			order = append(order, d.Status)
		}
	}
	for _, d := range shown {
		left[d.Status]--
	}
	var parts []string
	for _, status := range order {
		if left[status] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", left[status], status))
		}
	}
	return fmt.Sprintf("%d more: %s", len(devices)-len(shown), strings.Join(parts, ", "))
}

// names names devices, the first of many; "" for none.
func names(devices []device, which func(device) bool) string {
	var list []string
	more := 0
	for _, d := range devices {
		switch {
		case !which(d):
		case len(list) == mostNames:
			more++
		default:
			list = append(list, d.ID)
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// inStatus picks the devices of a status.
func inStatus(statuses ...quell.PlaybookStatus) func(device) bool {
	return func(d device) bool { return slices.Contains(statuses, d.Status) }
}

// failedRun is the flag for the log of the run that failed on a device, where
// it is clear which one that is.
func failedRun(j job) string {
	at := slices.IndexFunc(j.Devices, inStatus(quell.PlaybookFailure))
	step := -1
	for i, p := range j.Playbooks {
		if p.Failed == 0 {
			continue
		}
		if step >= 0 || p.Try > 0 || p.From != "" {
			return ""
		}
		step = i
	}
	if at < 0 || step < 0 {
		return ""
	}
	return " --run " + quell.RunRef{Index: step, Device: at + 1}.Name()
}
