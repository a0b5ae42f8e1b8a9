package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"quell"
)

// section is a part of what job show tells in plain words.
type section struct {
	heading string
	lines   []string
}

// tell says what happened to the job and, where it was aborted, what that left
// and what to do next.
func tell(j job) []section {
	var sections []section
	add := func(heading string, lines []string) {
		if len(lines) > 0 {
			sections = append(sections, section{heading, lines})
		}
	}
	add("What happened", whatHappened(j))
	switch {
	case j.Status == quell.StatusFailure, j.Status == quell.StatusLost, j.Status == quell.StatusWarning,
		j.Status.Final() && j.Abort != nil && j.Abort.Mode != "":
		add("What it left", whatItLeft(j))
	}
	add("What to do next", whatNext(j))
	return sections
}

func whatHappened(j job) []string {
	var lines []string
	if j.Abort != nil {
		lines = append(lines, abortStory(*j.Abort, j)...)
	}
	switch j.Status {
	case quell.StatusQueued:
		text := "It waits for a node and has not begun."
		if holder := lockHolder(j); holder != "" {
			text = "It waits for the end of job " + holder + ", and has not begun."
		}
		lines = append(lines, text)
	case quell.StatusFailure:
		lines = append(lines, "It failed: "+or(j.Reason, "no reason is on record")+".")
	case quell.StatusLost:
		lines = append(lines, "Its node was declared gone; what its playbooks did there at last is not known.")
	case quell.StatusWarning:
		lines = append(lines, "It ended well, with something to look at: "+warningText(j)+".")
	}
	if j.UnreachableSince != nil && !j.Status.Final() {
		lines = append(lines, fmt.Sprintf("Its node %s is out of reach since %s. Its playbooks go on there; an abort stays stored and is carried out when the node is back.",
			j.Node, clock(j.UnreachableSince)))
	}
	return lines
}

// warningText says what there is to look at.
func warningText(j job) string {
	list := slices.Clone(j.Warnings)
	if failed := names(j.Devices, inStatus(quell.PlaybookFailure)); failed != "" {
		list = append(list, "it failed on "+failed)
	}
	return strings.TrimSuffix(or(j.Reason, or(strings.Join(list, "; "), "see the log")), ".")
}

// anID finds the id of a job in a text.
var anID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// lockHolder is the job for whose locks a queued job waits, by its reason; ""
// where it waits for something else.
func lockHolder(j job) string {
	if j.Status != quell.StatusQueued || j.Locks == nil {
		return ""
	}
	for _, id := range anID.FindAllString(j.Reason, -1) {
		if id != j.ID {
			return id
		}
	}
	return ""
}

// abortStory tells of the abort: who, why, and how far it has come.
func abortStory(a abortRecord, j job) []string {
	var lines []string
	if a.Mode != "" {
		lines = append(lines, asked(a))
	}
	if a.Error != "" {
		lines = append(lines, "Not acted on: "+a.Error+".")
	}
	switch a.Outcome {
	case quell.OutcomeAborted:
		lines = append(lines, endedBy(a, j))
	case quell.OutcomeFinishedFirst:
		lines = append(lines, "The job ended by itself ("+string(j.Status)+") before the abort took effect.")
	case quell.OutcomeRecoveryStopped:
		lines = append(lines, "The job had ended by itself; the abort kept its recovery playbooks from running to their end.")
	case quell.OutcomeWithdrawn:
		lines = append(lines, "The abort was taken back before it took effect.")
	case quell.OutcomeAlreadyFinal:
		lines = append(lines, "The job was final when the abort came: it changed nothing.")
	case "":
		if a.Mode != "" {
			lines = append(lines, pendingStory(a, j))
		}
	}
	return lines
}

func asked(a abortRecord) string {
	text := or(a.RequestedBy, "Somebody") + " asked for a " + string(a.Mode) + " abort"
	if a.Source != "" {
		text += " by way of " + string(a.Source)
	}
	if a.RequestedAt != nil {
		text += " at " + clock(a.RequestedAt)
	}
	if a.Reason != "" {
		text += ": " + a.Reason
	}
	return strings.TrimSuffix(text, ".") + "."
}

// endedBy tells how fast the abort ended the job.
func endedBy(a abortRecord, j job) string {
	var parts []string
	since := func(what string, at *time.Time) {
		if at == nil {
			return
		}
		if a.RequestedAt != nil {
			what += " " + span(at.Sub(*a.RequestedAt)) + " after that"
		} else {
			what += " at " + clock(at)
		}
		parts = append(parts, what)
	}
	since("seen", a.SeenAt)
	since("turned to force", a.EscalatedAt)
	since("the kill made", a.SignalledAt)
	since("nothing of the playbook alive", a.DeadAt)
	since("final", j.EndedAt)
	return "It ended the job: " + or(strings.Join(parts, ", "), "no times are on record") + "."
}

// pendingStory tells of an abort that is not over.
func pendingStory(a abortRecord, j job) string {
	switch {
	case j.Status == quell.StatusRecovering:
		return "What ran is over; the recovery playbooks run now."
	case len(a.Survivors) > 0:
		return "These processes cannot be killed yet, and until they are gone the job is not final: " + processes(a.Survivors, 0) + "."
	case a.SeenAt == nil:
		return "It is stored, and who has to act on it has not seen it yet."
	case a.Mode == quell.Graceful && a.ForceAt != nil:
		return "The playbook that runs is left to end by itself; at " + clock(a.ForceAt) + " the abort turns to force."
	case a.Mode == quell.Graceful:
		return "The playbook that runs is left to end by itself; nothing starts after it."
	case a.SignalledAt == nil && unabortable(j) != "":
		return "It waits for the end of " + unabortable(j) + ", which must not be interrupted."
	case a.SignalledAt == nil:
		return "The kill has not been made yet."
	}
	return "The kill is made; the job is final once nothing is left."
}

// unabortable names the playbook that runs and must not be interrupted; "" for
// none.
func unabortable(j job) string {
	for _, list := range [][]playbook{j.Playbooks, j.Recovery} {
		for _, p := range list {
			if p.Unabortable && p.Status == quell.PlaybookRunning {
				return p.URI
			}
		}
	}
	return ""
}

// whatItLeft lists in which state the job left its work.
func whatItLeft(j job) []string {
	var lines []string
	fact := func(name, text string) {
		lines = append(lines, fmt.Sprintf("%-16s %s", name+":", text))
	}
	fact("Done", or(uris(j.Playbooks, quell.PlaybookSuccess), "no playbook"))
	if text := uris(j.Playbooks, quell.PlaybookFailure); text != "" {
		fact("Failed", text)
	}
	if text := uris(j.Playbooks, quell.PlaybookRunning); text != "" { // a job that is LOST
		fact("Not known", text)
	}
	if text := uris(j.Playbooks, quell.PlaybookInterrupted); text != "" {
		fact("Interrupted", text+", killed in the middle of its work")
	} else {
		fact("Interrupted", "no playbook")
	}
	fact("Never started", or(uris(j.Playbooks, quell.PlaybookSkipped, quell.PlaybookPending), "no playbook"))
	for _, kind := range []struct {
		name     string
		statuses []quell.PlaybookStatus
	}{
		{"Failed on", []quell.PlaybookStatus{quell.PlaybookFailure}},
		{"Interrupted on", []quell.PlaybookStatus{quell.PlaybookInterrupted}},
		{"Skipped on", []quell.PlaybookStatus{quell.PlaybookSkipped, quell.PlaybookPending}},
		{"Not known on", []quell.PlaybookStatus{quell.PlaybookRunning}}, // a job that is LOST
	} {
		if text := names(j.Devices, inStatus(kind.statuses...)); text != "" {
			fact(kind.name, text)
		}
	}
	fact("Devices changed", changedDevices(j))
	if list, n := j.leftovers(); n > 0 {
		fact("Leftovers", processes(list, n)+": left behind by a playbook, and killed")
	} else if j.Status != quell.StatusLost {
		fact("Leftovers", "none")
	}
	fact("Recovery", recoveryStory(j))
	return lines
}

func changedDevices(j job) string {
	if len(j.Devices) == 0 {
		return "the job has no list of devices; the log tells what its tasks changed"
	}
	return or(names(j.Devices, func(d device) bool { return d.Changed }), "none")
}

func recoveryStory(j job) string {
	if len(j.Recovery) == 0 {
		return "the template has no recovery playbooks"
	}
	var parts []string
	for _, kind := range []struct {
		status quell.PlaybookStatus
		words  string
	}{
		{quell.PlaybookSuccess, "ran well"},
		{quell.PlaybookFailure, "failed"},
		{quell.PlaybookRunning, "runs, or nobody knows"},
		{quell.PlaybookInterrupted, "was interrupted"},
		{quell.PlaybookSkipped, "did not run"},
		{quell.PlaybookPending, "did not run"},
	} {
		if text := uris(j.Recovery, kind.status); text != "" {
			parts = append(parts, text+" "+kind.words)
		}
	}
	return strings.Join(parts, "; ")
}

// whatNext says what there is to do for the user.
func whatNext(j job) []string {
	if !j.Status.Final() {
		return nextWhileActive(j)
	}
	var lines []string
	if text := uris(j.Playbooks, quell.PlaybookInterrupted); text != "" {
		lines = append(lines, "Look at the end of the log for what "+text+" was doing: quell job logs "+j.ID,
			"See that what it worked on is sound: hosts and devices are as the kill found them, and a task that went on by itself on a remote host was not reached.")
	}
	if uris(j.Playbooks, quell.PlaybookFailure) != "" || names(j.Devices, inStatus(quell.PlaybookFailure)) != "" {
		lines = append(lines, "Look for the failed task: quell job logs "+j.ID+failedRun(j))
	}
	if text := uris(j.Recovery, quell.PlaybookFailure, quell.PlaybookInterrupted); text != "" {
		lines = append(lines, "The recovery did not do all of its work ("+text+"): do by hand what it is for.")
	} else if uris(j.Recovery, quell.PlaybookSkipped, quell.PlaybookPending) != "" && j.Abort != nil && !j.Abort.Recovery {
		lines = append(lines, "The recovery was skipped, as was asked for: do by hand what it is for.")
	}
	return append(lines, howToGoOn(j)...)
}

// howToGoOn says how the work that is left is done.
func howToGoOn(j job) []string {
	resume, rerun := "quell job resume "+j.ID, "quell job rerun "+j.ID
	left := slices.ContainsFunc(j.Playbooks, func(p playbook) bool { return p.Status != quell.PlaybookSuccess })
	switch {
	case j.ResumedAs != "":
		return []string{"It was resumed: quell job show " + j.ResumedAs}
	case j.Status == quell.StatusLost:
		return []string{
			"See on the node " + j.Node + ", or where it stood, that none of the job's processes is left before you start it again.",
			"To do all of it again then: " + rerun,
		}
	case j.Status == quell.StatusAborted && left:
		return []string{"To do after all what was not done: " + resume, "To do all of it again, from its first playbook: " + rerun}
	case j.Status == quell.StatusFailure && left:
		return []string{"Once the cause is mended, go on with what was not done: " + resume, "Or do all of it again, from its first playbook: " + rerun}
	case j.Status == quell.StatusFailure,
		j.Status == quell.StatusWarning && names(j.Devices, inStatus(quell.PlaybookFailure)) != "":
		return []string{"Once the cause is mended, do all of it again: " + rerun}
	}
	return nil
}

func nextWhileActive(j job) []string {
	a := j.Abort
	pending := a != nil && a.Mode != "" && a.Outcome == ""
	switch {
	case !pending && lockHolder(j) != "":
		return []string{"See the job that it waits for: quell job show " + lockHolder(j), "To withdraw it: quell abort " + j.ID}
	case !pending && j.Status == quell.StatusQueued:
		return []string{"Is there a node with room? quell node list", "To withdraw it: quell abort " + j.ID}
	case !pending:
		return []string{"Watch it: quell job logs -f " + j.ID, "End it: quell abort " + j.ID + " (or, at once, with --force)"}
	case len(a.Survivors) > 0:
		return []string{"See on the node " + j.Node + " what holds these processes: state D waits for a disk or a file server."}
	case a.Mode == quell.Graceful:
		return []string{"Wait for it: quell job wait " + j.ID, "If it takes too long: quell abort " + j.ID + " --force"}
	}
	lines := []string{"Wait for it: quell job wait " + j.ID}
	if unabortable(j) != "" && a.SignalledAt == nil {
		lines = append(lines, "To kill "+unabortable(j)+" all the same: quell abort "+j.ID+" --force --override")
	}
	return lines
}

// processes names processes; all may be more than the list has.
func processes(list []quell.Process, all int) string {
	const most = 5
	var names []string
	for _, p := range list[:min(len(list), most)] {
		text := fmt.Sprintf("%s (pid %d", p.Command, p.PID)
		if p.State != "" {
			text += ", state " + p.State
		}
		names = append(names, text+")")
	}
	if more := max(all, len(list)) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
