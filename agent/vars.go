package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"quell"
	"quell/agent/ansible"
)

// deviceFacts is what a run on a device is told of it. What a playbook found
// out is not to be trusted: nothing in it is ever evaluated. What the
// operator's own inventory says may be templates or encrypted.
type deviceFacts struct {
	untrusted map[string]any
	trusted   map[string]any
}

// factNames are the variables that a run on a device gets, and the names by
// which device_json has them.
var factNames = map[string][]string{
	"device_fqname":        {"device_fqname", "device_name"},
	"device_management_ip": {"device_management_ip"},
	"vendor":               {"vendor", "device_vendor"},
	"device_family":        {"device_family"},
	"product_name":         {"product_name", "device_product"},
	"device_username":      {"device_username"},
	"device_password":      {"device_password"},
}

// inventoryTime bounds how long the inventory may take to tell of devices.
const inventoryTime = 2 * time.Minute

// factsRead is what the inventory says of the devices of one playbook. It is
// read beside the runner, which waits for no source of an inventory.
type factsRead struct {
	of    quell.RunRef // the playbook, without device and try
	stop  context.CancelFunc
	ended chan struct{}
	facts map[string]ansible.DeviceFacts // these two once ended is closed
	err   error
}

// factsOf returns what is known of a run's device: what device_json says and,
// for what it does not say, the inventory. ready is false while that one is
// being asked.
func (r *runner) factsOf(ctx context.Context, ref quell.RunRef) (facts deviceFacts, ready bool, err error) {
	if ref.Device == 0 {
		return deviceFacts{}, true, nil
	}
	id := r.state.Devices[ref.Device-1].ID
	if facts.untrusted = found(r.outputs.devices[id]); len(facts.untrusted) == len(factNames) {
		return facts, true, nil // nothing is left to ask
	}
	of := quell.RunRef{Recovery: ref.Recovery, Index: ref.Index}
	if r.facts == nil || r.facts.of != of {
		r.readFacts(ctx, of)
	}
	select {
	case <-r.facts.ended:
	default:
		return facts, false, nil
	}
	if r.facts.err != nil && len(facts.untrusted) > 0 {
		// Something is known of it: it may do.
		r.state.Warn(r.facts.err.Error())
		return facts, true, nil
	}
	facts.trusted = r.facts.facts[id].Vars()
	// Credentials go to the address that the operator knows, not to another
	// that something which was found says is the device's.
	if ip := facts.trusted["device_management_ip"]; ip != nil && facts.untrusted["device_management_ip"] != nil &&
		encoded(ip) != encoded(facts.untrusted["device_management_ip"]) {
		delete(facts.trusted, "device_username")
		delete(facts.trusted, "device_password")
	}
	for name := range facts.untrusted {
		delete(facts.trusted, name)
	}
	return facts, true, r.facts.err
}

func encoded(value any) string {
	text, _ := json.Marshal(value) // what was decoded can be encoded
	return string(text)
}

// found are the facts that device_json has of a device.
func found(known map[string]json.RawMessage) map[string]any {
	facts := map[string]any{}
	for name, sources := range factNames {
		for _, source := range sources {
			if value := known[source]; value != nil && string(value) != "null" {
				facts[name] = value
				break
			}
		}
	}
	return facts
}

// readFacts begins to ask the inventory for all devices.
func (r *runner) readFacts(ctx context.Context, of quell.RunRef) {
	r.stopFacts()
	var ids []string
	for _, d := range r.state.Devices {
		ids = append(ids, d.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, inventoryTime)
	read := &factsRead{of: of, stop: cancel, ended: make(chan struct{})}
	r.facts = read
	r.beside.Go(func() {
		defer cancel()
		read.facts, read.err = r.o.Ansible.Facts(ctx, ids)
		close(read.ended)
		r.poke()
	})
}

// stopFacts ends a question to the inventory that nobody waits for any more,
// and returns false while its process may still be there.
func (r *runner) stopFacts() bool {
	if r.facts == nil {
		return true
	}
	select {
	case <-r.facts.ended:
		return true
	default:
		r.facts.stop()
		return false
	}
}

// vars are the variables of a run (contrail.md: How a job runs there).
func (r *runner) vars(ref quell.RunRef, facts map[string]any) (map[string]any, error) {
	spec, t := r.job.Spec, r.job.Spec.Template
	input := map[string]json.RawMessage{}
	if err := json.Unmarshal(spec.Input, &input); err != nil {
		return nil, fmt.Errorf("the job's input cannot be read: %w", err)
	}
	maps.Copy(input, r.outputs.all)
	for _, name := range []string{outDeviceJSON, outStatus, outMessage, outEarlyExit, outRetry} {
		// The first has a variable of its own, the others are of the run that
		// gave them; a repetition sees for which devices it is.
		if name != outRetry || ref.Try == 0 {
			if _, given := r.outputs.all[name]; given {
				delete(input, name)
			}
		}
	}
	vars := map[string]any{
		"input":                 input,
		"job_execution_id":      spec.ID,
		"job_template_id":       t.UUID,
		"job_template_fqname":   t.FQName,
		"job_description":       t.DisplayName,
		"job_transaction_id":    spec.Transaction(),
		"job_transaction_descr": spec.Params.TransactionDescr,
		"device_list":           r.devicesLeft(),
	}
	if fabric := input["fabric_fq_name"]; fabric != nil {
		vars["fabric_fq_name"] = fabric
	}
	if whole := r.outputs.all[outDeviceJSON]; whole != nil {
		vars["job_device_json"] = whole
	}
	if ref.Recovery {
		r.tellWhy(vars)
	} else {
		vars["playbook_job_percentage"] = 100 * t.Weights()[ref.Index]
	}
	if ref.Device > 0 {
		vars["device_id"] = r.state.Devices[ref.Device-1].ID
		maps.Copy(vars, facts)
	}
	return vars, nil
}

// devicesLeft are the devices that the playbooks to come run on.
func (r *runner) devicesLeft() []string {
	ids := []string{}
	for _, d := range r.state.Devices {
		if d.Status != quell.PlaybookFailure && !d.Gone {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// tellWhy tells a recovery playbook why it runs.
func (r *runner) tellWhy(vars map[string]any) {
	failed, devices, mode := "", []string{}, quell.Mode("")
	for _, p := range r.state.Playbooks {
		if p.Status == quell.PlaybookFailure || p.Status == quell.PlaybookInterrupted {
			failed = p.URI
			break
		}
	}
	for _, d := range r.state.Devices {
		if d.Status == quell.PlaybookFailure || d.Status == quell.PlaybookInterrupted {
			devices = append(devices, d.ID)
		}
	}
	if a := r.state.Abort; a != nil && r.state.Outcome == quell.StatusAborted {
		mode = a.Mode
	}
	vars["job_outcome"], vars["failed_playbook"] = r.state.Outcome, failed
	vars["failed_devices"], vars["abort_mode"] = devices, mode
	vars["job_reason"] = r.state.Reason
}
