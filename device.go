package quell

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDeviceID bounds the id of a device, in bytes.
const maxDeviceID = 256

// Device is one device of a job.
type Device struct {
	ID string
	// Status is that of its last run: PENDING, RUNNING, SUCCESS, FAILURE,
	// INTERRUPTED, or SKIPPED where the job ended without it. A device in
	// FAILURE is left out of later playbooks.
	Status  PlaybookStatus
	Changed bool
	Error   string
	Step    int  // the index of the playbook in which it failed
	Gone    bool // a later device_json does not list it: no further playbook runs on it
	Locking bool // it turned up in the middle of the job, and its lock is still to be taken
}

// deviceLetters are the statuses as they are stored: a thousand devices have
// to fit in a status (design: Keys in etcd).
var deviceLetters = []struct {
	status PlaybookStatus
	letter byte
}{
	{PlaybookPending, 'P'},
	{PlaybookRunning, 'R'},
	{PlaybookSuccess, 'S'},
	{PlaybookFailure, 'F'},
	{PlaybookInterrupted, 'I'},
	{PlaybookSkipped, 'K'},
}

func letterOf(status PlaybookStatus) byte {
	for _, l := range deviceLetters {
		if l.status == status {
			return l.letter
		}
	}
	return '?'
}

// Marks behind a device's letter.
const (
	markChanged = "+"
	markGone    = "-"
	markLocking = "?"
)

// MarshalText writes "S ID", such as "F+2 leaf-1" and, behind a tab, why it
// failed. The status is a letter (P, R, S, F, I, or K for SKIPPED); then come
// + where something was changed, - where it left the list, ? while its lock
// is not taken, and the number of the playbook in which it failed.
func (d Device) MarshalText() ([]byte, error) {
	text := string(letterOf(d.Status))
	for _, m := range []struct {
		is   bool
		mark string
	}{{d.Changed, markChanged}, {d.Gone, markGone}, {d.Locking, markLocking}} {
		if m.is {
			text += m.mark
		}
	}
	if d.Status == PlaybookFailure {
		text += strconv.Itoa(d.Step)
	}
	text += " " + d.ID
	if d.Error != "" {
		text += "\t" + d.Error
	}
	return []byte(text), nil
}

// UnmarshalText reads what MarshalText wrote.
func (d *Device) UnmarshalText(text []byte) error {
	word, rest, ok := strings.Cut(string(text), " ")
	if !ok || word == "" {
		return fmt.Errorf("%q is no device: it has no status", excerpt(string(text)))
	}
	*d = Device{}
	d.ID, d.Error, _ = strings.Cut(rest, "\t")
	for _, l := range deviceLetters {
		if l.letter == word[0] {
			d.Status = l.status
		}
	}
	if d.Status == "" {
		return fmt.Errorf("%q is no device: %q is no status", excerpt(string(text)), excerpt(word))
	}
	d.Changed, d.Gone = strings.Contains(word, markChanged), strings.Contains(word, markGone)
	d.Locking = strings.Contains(word, markLocking)
	if step := strings.TrimLeft(word[1:], markChanged+markGone+markLocking); step != "" {
		var err error
		if d.Step, err = strconv.Atoi(step); err != nil {
			return fmt.Errorf("%q is no device: %w", excerpt(string(text)), err)
		}
	}
	return nil
}

// CheckDeviceIDs says what is wrong with a list of device ids, if anything:
// each has to be a name of its own.
func CheckDeviceIDs(ids []string) error {
	seen := make(map[string]bool, len(ids))
	for i, id := range ids {
		switch {
		case strings.TrimSpace(id) == "" || strings.TrimSpace(id) != id:
			return Errorf(CodeInvalid, "device %d of the list, %q, is empty or has space around it", i+1, excerpt(id))
		case len(id) > maxDeviceID:
			return Errorf(CodeInvalid, "device %d of the list, %q, is longer than %d bytes", i+1, excerpt(id), maxDeviceID)
		case !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl):
			return Errorf(CodeInvalid, "device %d of the list, %q, is no UTF-8 or holds a control character", i+1, excerpt(id))
		case seen[id]:
			return Errorf(CodeInvalid, "the device %q is in the list twice", excerpt(id))
		}
		seen[id] = true
	}
	return nil
}

// newDevices are the devices of a job that has just been accepted.
func newDevices(ids []string) []Device {
	if ids == nil {
		return nil
	}
	devices := make([]Device, len(ids))
	for i, id := range ids {
		devices[i] = Device{ID: id, Status: PlaybookPending}
	}
	return devices
}

// deviceIndex finds a device; -1: the job has no such device.
func (s *State) deviceIndex(id string) int {
	for i := range s.Devices {
		if s.Devices[i].ID == id {
			return i
		}
	}
	return -1
}
