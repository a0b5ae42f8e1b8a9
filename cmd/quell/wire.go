package main

import (
	"encoding/json"
	"slices"
	"time"

	"quell"
)

// What the CLI reads of the API's answers. These stand apart from the API
// server's own structs: a CLI may be older or newer than the server it asks.

type jobList struct {
	Jobs       []job  `json:"jobs"`
	NextCursor string `json:"next_cursor"`
}

type job struct {
	ID               string           `json:"job_execution_id"`
	Template         quell.FQName     `json:"job_template_fq_name"`
	TemplateRevision int64            `json:"job_template_revision"`
	DisplayName      string           `json:"display_name"`
	Status           quell.Status     `json:"status"`
	Reason           string           `json:"reason"`
	Warnings         []string         `json:"warnings"`
	Node             string           `json:"node"`
	UnreachableSince *time.Time       `json:"unreachable_since"`
	Fabric           string           `json:"fabric_fq_name"`
	Percentage       float64          `json:"percentage_completed"`
	CurrentTasks     []string         `json:"current_tasks"`
	Requester        string           `json:"requester"`
	Transaction      string           `json:"transaction_id"`
	TransactionDescr string           `json:"transaction_descr"`
	ResumedFrom      string           `json:"resumed_from"`
	ResumedAs        string           `json:"resumed_as"`
	RerunOf          string           `json:"rerun_of"`
	CreatedAt        time.Time        `json:"created_at"`
	StartedAt        *time.Time       `json:"started_at"`
	EndedAt          *time.Time       `json:"ended_at"`
	Locks            *quell.LockScope `json:"locks"`
	Playbooks        []playbook       `json:"playbooks"`
	Recovery         []playbook       `json:"recovery"`
	Devices          []device         `json:"devices"`
	Abort            *abortRecord     `json:"abort"`
	Input            json.RawMessage  `json:"input"`
	Output           json.RawMessage  `json:"output"`
}

type playbook struct {
	URI           string               `json:"playbook_uri"`
	Status        quell.PlaybookStatus `json:"status"`
	ExitCode      *int                 `json:"exit_code"`
	Signal        string               `json:"signal"`
	Error         string               `json:"error"`
	Try           int                  `json:"try"` // how often it was repeated
	MultiDevice   bool                 `json:"multi_device"`
	Unabortable   bool                 `json:"unabortable"`
	Succeeded     int                  `json:"devices_succeeded"`
	Failed        int                  `json:"devices_failed"`
	Total         *int                 `json:"devices_total"` // null where it is not known
	From          string               `json:"from"`          // the job in which it ended
	Leftovers     []quell.Process      `json:"leftovers"`
	LeftoverCount int                  `json:"leftover_count"`
	StartedAt     *time.Time           `json:"started_at"`
	EndedAt       *time.Time           `json:"ended_at"`
}

type device struct {
	ID      string               `json:"device_id"`
	Status  quell.PlaybookStatus `json:"status"`
	Changed bool                 `json:"changed"`
	Error   string               `json:"error"`
}

type transactionList struct {
	Transactions []transaction `json:"transactions"`
	NextCursor   string        `json:"next_cursor"`
}

// transaction is a group of jobs; the list leaves the jobs out.
type transaction struct {
	ID         string       `json:"transaction_id"`
	Descr      string       `json:"transaction_descr"`
	Status     quell.Status `json:"status"`
	Final      bool         `json:"final"`
	JobCount   int          `json:"job_count"`
	CreatedAt  time.Time    `json:"created_at"`
	StartedAt  *time.Time   `json:"started_at"`
	EndedAt    *time.Time   `json:"ended_at"`
	Percentage float64      `json:"percentage_completed"`
	Jobs       []job        `json:"jobs"`
}

type abortRecord struct {
	Mode        quell.Mode         `json:"mode"`
	Source      quell.Source       `json:"source"`
	RequestedBy string             `json:"requested_by"`
	Reason      string             `json:"reason"`
	RequestedAt *time.Time         `json:"requested_at"`
	ForceAt     *time.Time         `json:"force_at"`
	Recovery    bool               `json:"recovery"`
	SeenAt      *time.Time         `json:"seen_at"`
	EscalatedAt *time.Time         `json:"escalated_at"`
	SignalledAt *time.Time         `json:"signalled_at"`
	DeadAt      *time.Time         `json:"dead_at"`
	Survivors   []quell.Process    `json:"survivors"`
	Outcome     quell.AbortOutcome `json:"outcome"`
	Error       string             `json:"error"`
}

// leftovers are the processes that the playbooks left behind; the count may
// be larger than the list.
func (j job) leftovers() (list []quell.Process, count int) {
	for _, p := range slices.Concat(j.Playbooks, j.Recovery) {
		list = append(list, p.Leftovers...)
		count += max(p.LeftoverCount, len(p.Leftovers))
	}
	return list, count
}

type abortAnswer struct {
	Results []abortedJob `json:"results"`
}

// abortedJob is what an abort meant for one job.
type abortedJob struct {
	ID       string       `json:"job_execution_id"`
	Outcome  string       `json:"outcome"`
	Status   quell.Status `json:"status"`
	Mode     quell.Mode   `json:"abort_mode"`
	Final    bool         `json:"final"`
	WaitsFor string       `json:"waits_for"` // what a force abort waits for, in words
}

// The outcomes of a request for an abort.
const (
	abortNotFound     = "not_found"
	abortAlreadyFinal = "already_final"
)

type templateList struct {
	Templates []templateEntry `json:"job_templates"`
}

type templateEntry struct {
	FQName      quell.FQName `json:"fq_name"`
	UUID        string       `json:"job_template_id"`
	DisplayName string       `json:"display_name"`
	Revision    int64        `json:"revision"`
}

type nodeList struct {
	Nodes []node `json:"nodes"`
}

type node struct {
	Node             string            `json:"node"`
	Address          string            `json:"address"`
	Release          string            `json:"release"`
	Labels           map[string]string `json:"labels"`
	Capacity         int               `json:"capacity"`
	JobsRunning      int               `json:"jobs_running"`
	Unreachable      bool              `json:"unreachable"`
	UnreachableSince *time.Time        `json:"unreachable_since"`
}

type logMatches struct {
	Matches []struct {
		Line int64  `json:"line"`
		Text string `json:"text"`
	} `json:"matches"`
	Truncated bool `json:"truncated"`
}
