package apiserver

import (
	"regexp"
	"strconv"

	"quell"
)

// runName is what [quell.RunRef.Name] makes.
var runName = regexp.MustCompile(`^(playbook|recovery)-(\d{1,4})(-device-[1-9]\d{0,5})?(-try-[1-9]\d{0,3})?$`)

// checkRun says whether the job can have a run of this name. Devices turn up
// while it runs: how many there are is not looked at.
func checkRun(run string, job quell.Job) error {
	if run == "" {
		return nil
	}
	parts := runName.FindStringSubmatch(run) // it has matched before
	list, kind := job.State.Playbooks, "playbooks"
	if parts[1] == "recovery" {
		list, kind = job.State.Recovery, "recovery playbooks"
	}
	if index, err := strconv.Atoi(parts[2]); err != nil || index >= len(list) {
		return quell.Errorf(quell.CodeNotFound, "the job %s has no run %s: it has %d %s, counted from 0", job.Spec.ID, run, len(list), kind)
	}
	return nil
}

// nothingYet says whether a log that the agent does not have may still come:
// the job, or the run that is asked for, may not have begun.
func nothingYet(job quell.Job, run string) bool {
	return job.State.StartedAt == nil || run != "" && !job.State.Status.Final()
}
