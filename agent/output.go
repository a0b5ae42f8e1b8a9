package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"quell"
	"quell/agent/ansible"
)

// What playbooks give back (contrail.md: How a job runs there). A run leaves
// its output in a file in the job's temp folder; what all of them have given
// back is the job's output, whose members become part of the input of the
// playbooks to come. It is stored with the end of the playbook.

// The members of an output that mean something to Quell.
const (
	outStatus     = "status"
	outMessage    = "message"
	outEarlyExit  = "early_exit"
	outRetry      = "retry_devices"
	outDeviceJSON = "device_json"
	outResults    = "results"
)

// outputs is a job's output so far.
type outputs struct {
	all     map[string]json.RawMessage
	devices map[string]map[string]json.RawMessage // device_json, by the device
	shown   json.RawMessage                       // device_json as it is stored
	changed bool                                  // it is not stored yet
}

// readOutputs makes the outputs of what is stored, and of what this node's
// disk has of it that is not to be stored.
func (r *runner) readOutputs(stored json.RawMessage) outputs {
	o := outputs{all: map[string]json.RawMessage{}}
	if stored != nil && json.Unmarshal(stored, &o.all) != nil {
		r.log.Error("the job's output cannot be read; it is begun anew")
		o.all = map[string]json.RawMessage{}
	}
	whole := o.all[outDeviceJSON]
	if text, err := os.ReadFile(r.deviceFile()); err == nil && json.Valid(text) {
		whole = text
	}
	if whole != nil {
		o.setDevices(whole)
	}
	return o
}

// setDevices takes a device_json that was checked when it came.
func (o *outputs) setDevices(whole json.RawMessage) {
	_, o.devices, _ = devicesOf(whole)
	o.all[outDeviceJSON], o.shown = whole, withoutSecrets(whole)
}

// deviceFile keeps device_json whole: it may hold passwords, which whoever may
// read jobs is not to see.
func (r *runner) deviceFile() string { return filepath.Join(r.tempDir(), "device_json") }

func (r *runner) outputFile(ref quell.RunRef) string {
	return filepath.Join(r.tempDir(), "output-"+ref.Name()+".json")
}

// toStore is what is to be stored now; nil: nothing.
func (o *outputs) toStore() json.RawMessage {
	if !o.changed {
		return nil
	}
	o.changed = false
	return o.encode()
}

func (o *outputs) encode() json.RawMessage {
	all := maps.Clone(o.all)
	if o.shown != nil {
		all[outDeviceJSON] = o.shown
	}
	text, err := json.Marshal(all)
	if err != nil {
		return json.RawMessage("{}") // its members were valid when they came
	}
	return text
}

// secretNames mark the members of device_json that are not stored.
var secretNames = []string{"password", "passwd", "secret", "private_key", "community", "token"}

// withoutSecrets leaves out what nobody who may read jobs is to see.
func withoutSecrets(whole json.RawMessage) json.RawMessage {
	decoder := json.NewDecoder(bytes.NewReader(whole))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return json.RawMessage("null")
	}
	strip(value)
	text, err := json.Marshal(value)
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}

func strip(value any) {
	switch v := value.(type) {
	case []any:
		for _, item := range v {
			strip(item)
		}
	case map[string]any:
		for name, inner := range v {
			lower := strings.ToLower(name)
			if slices.ContainsFunc(secretNames, func(s string) bool { return strings.Contains(lower, s) }) {
				delete(v, name)
				continue
			}
			strip(inner)
		}
	}
}

// takeOutput reads what a run that has ended gave back into its result.
func (r *runner) takeOutput(ref quell.RunRef, result *quell.RunResult) {
	if result.NeverStarted || result.Killed != "" {
		return
	}
	raw, err := ansible.ReadOutput(r.outputFile(ref))
	if err == nil && raw != nil {
		result.Report, err = reportOf(raw)
	}
	if err == nil && raw != nil && ref.Device == 0 && !ref.Recovery && result.Status() == quell.PlaybookSuccess {
		err = r.merge(given{output: raw})
	}
	if err != nil && result.Error == "" && result.ExitCode == 0 && result.Signal == "" {
		result.Error = err.Error()
	}
}

// afterEnd merges the outputs of a playbook that has ended on all devices.
func (r *runner) afterEnd(ref quell.RunRef) {
	if p := r.state.Playbook(ref); ref.Device > 0 && !ref.Recovery && p.EndedAt != nil {
		if err := r.gather(ref.Index); err != nil {
			r.state.FailPlaybook(ref, err.Error())
		}
	}
}

// gatherCutShort merges the outputs of a playbook that ends before it has run
// on all devices, so that a job that goes on with the work has them.
func (r *runner) gatherCutShort() {
	for i, p := range r.state.Playbooks {
		if p.Letters != "" {
			if err := r.gather(i); err != nil {
				r.log.Warn("what the devices gave back is not kept", "playbook", p.URI, "error", err)
			}
		}
	}
}

// gather merges the last output of each device on which the playbook ended
// well, in the order of the devices.
func (r *runner) gather(index int) error {
	var list []given
	for i, d := range r.state.Devices {
		if d.Status != quell.PlaybookSuccess {
			continue
		}
		for try := r.state.Playbooks[index].Try; try >= 0; try-- {
			raw, err := ansible.ReadOutput(r.outputFile(quell.RunRef{Index: index, Device: i + 1, Try: try}))
			if err == nil && raw != nil {
				list = append(list, given{output: raw, device: d.ID})
				break
			}
		}
	}
	return r.merge(list...)
}

// given is what a run gave back; device is empty where it was for none.
type given struct {
	output json.RawMessage
	device string
}

// merge puts outputs over the job's. What a device gave back as results stands
// under the device's name; what it says of its own run is on record with the
// device. A null gives nothing back.
func (r *runner) merge(list ...given) error {
	next := r.outputs
	next.all, next.changed = maps.Clone(next.all), true
	results := map[string]json.RawMessage{}
	_ = json.Unmarshal(next.all[outResults], &results) // a playbook before may have had others
	var whole json.RawMessage
	byDevice := false
	for _, g := range list {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(g.output, &members); err != nil {
			return fmt.Errorf("its output cannot be read: %w", err)
		}
		maps.DeleteFunc(members, func(name string, value json.RawMessage) bool {
			own := slices.Contains([]string{outStatus, outMessage, outEarlyExit, outRetry, outDeviceJSON, outResults}, name)
			return own && (string(value) == "null" || g.device != "" && name != outResults)
		})
		if of := members[outResults]; of != nil && g.device != "" {
			results[g.device], byDevice = of, true
			delete(members, outResults)
		}
		if whole = members[outDeviceJSON]; whole != nil {
			next.setDevices(whole)
		}
		maps.Copy(next.all, members)
	}
	if byDevice { // once, however many devices there are
		next.all[outResults], _ = json.Marshal(results) // of valid values
	}
	if size := len(next.encode()); size > quell.MaxOutputSize-1024 {
		return fmt.Errorf("its output makes the job's %d bytes large: at most %d are kept", size, quell.MaxOutputSize)
	}
	if whole != nil {
		if err := errors.Join(r.makeTempDir(), os.WriteFile(r.deviceFile(), whole, 0o600)); err != nil {
			return fmt.Errorf("device_json cannot be kept: %w", err)
		}
	}
	r.outputs = next
	return nil
}

// reportOf reads what an output asks for.
func reportOf(raw json.RawMessage) (quell.Report, error) {
	var report quell.Report
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return report, fmt.Errorf("its output cannot be read: %w", err)
	}
	if err := quell.CheckVariables(raw); err != nil {
		return report, fmt.Errorf("its output cannot be handed to other playbooks: %w", err)
	}
	message := textOf(members[outMessage])
	if message == "" {
		message = "its output says so"
	}
	switch strings.ToLower(textOf(members[outStatus])) {
	case "failure", "failed", "error":
		report.Failure = message
	case "warning":
		report.Warning = message
	}
	switch strings.ToLower(textOf(members[outEarlyExit])) {
	case "true", "yes":
		report.EarlyExit = true
	}
	var err error
	if value := members[outRetry]; value != nil && string(value) != "null" {
		if report.Retry, _, err = devicesOf(value); err != nil {
			return report, fmt.Errorf("retry_devices in its output: %w", err)
		}
	}
	if value := members[outDeviceJSON]; value != nil && string(value) != "null" {
		if report.Devices, _, err = devicesOf(value); err != nil {
			return report, fmt.Errorf("device_json in its output: %w", err)
		}
	}
	return report, nil
}

// textOf is a string as it is, and any other value as it is written.
func textOf(value json.RawMessage) string {
	var text string
	if value == nil || string(value) == "null" {
		return ""
	}
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	return string(value)
}

// devicesOf reads devices: an object by their ids, in its order, or a list of
// ids or of objects that have a device_id.
func devicesOf(value json.RawMessage) (ids []string, facts map[string]map[string]json.RawMessage, err error) {
	ids, facts = []string{}, map[string]map[string]json.RawMessage{}
	add := func(id string, about json.RawMessage) error {
		known := map[string]json.RawMessage{}
		if len(about) > 0 && about[0] == '{' {
			if err := json.Unmarshal(about, &known); err != nil {
				return fmt.Errorf("what it has of device %s cannot be read: %w", id, err)
			}
		}
		ids, facts[id] = append(ids, id), known
		return nil
	}
	var items []json.RawMessage
	switch {
	case len(value) == 0:
		return nil, nil, nil
	case value[0] == '{':
		members, err := quell.ParseObject(value)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range members {
			if err := add(m.Name, m.Value); err != nil {
				return nil, nil, err
			}
		}
	case json.Unmarshal(value, &items) == nil:
		for i, item := range items {
			var about struct {
				ID string `json:"device_id"`
			}
			id := textOf(item)
			if len(item) > 0 && item[0] == '{' {
				_ = json.Unmarshal(item, &about) // without an id it is refused
				id = about.ID
			}
			if id == "" {
				return nil, nil, fmt.Errorf("entry %d has no device_id", i)
			}
			if err := add(id, item); err != nil {
				return nil, nil, err
			}
		}
	default:
		return nil, nil, errors.New("it is neither an object by device ids nor a list of them")
	}
	return ids, facts, nil
}

// checkOutput makes a job whose output does not fit the template's schema a
// WARNING.
func (r *runner) checkOutput() {
	t := r.job.Spec.Template
	if r.o.CheckOutput == nil || len(t.OutputSchema) == 0 {
		return
	}
	switch r.state.Heading() {
	case quell.StatusSuccess, quell.StatusWarning:
	default:
		return
	}
	if err := r.o.CheckOutput(t, r.outputs.encode()); err != nil {
		r.state.Warn(quell.MessageOf(err))
	}
}
