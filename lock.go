package quell

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// DefaultFabric is the fabric of a job whose input names none. Jobs without a
// fabric that want one for themselves alone exclude each other.
const DefaultFabric = "__DEFAULT__"

// Lock names what one job at a time may have: a fabric, or a device of a
// fabric.
type Lock struct {
	Fabric string
	Device string // empty: the fabric itself
}

// String names it in a sentence.
func (l Lock) String() string {
	if l.Device == "" {
		return "fabric " + l.Fabric
	}
	return "device " + l.Device + " of fabric " + l.Fabric
}

// LockChanges tells what has changed of the locks that are held.
type LockChanges struct {
	Reset    bool            // nothing else is held than Held
	Held     map[Lock]string // taken, by the job with this id
	Freed    []Lock
	Revision int64 // up to which that is all
}

// LockScope is what a job's locks have in common.
type LockScope struct {
	Level  Concurrency `json:"level"`
	Fabric string      `json:"fabric"`
}

// FabricOf reads the fabric's name in a job's input: its fabric_fq_name, a
// list or the joined text. It is empty where there is none.
func FabricOf(input json.RawMessage) string {
	var in struct {
		Fabric json.RawMessage `json:"fabric_fq_name"`
	}
	var parts FQName
	var name string
	switch {
	case json.Unmarshal(input, &in) != nil || len(in.Fabric) == 0:
		return ""
	case json.Unmarshal(in.Fabric, &parts) == nil:
		return parts.String()
	case json.Unmarshal(in.Fabric, &name) == nil:
		return name
	}
	return ""
}

func newLockScope(spec Spec) *LockScope {
	switch level := spec.Template.Concurrency; level {
	case ConcurrencyDevice, ConcurrencyFabric:
		fabric := FabricOf(spec.Input)
		if fabric == "" {
			fabric = DefaultFabric
		}
		return &LockScope{Level: level, Fabric: fabric}
	}
	return nil
}

// Bounds of a job's locks: all are taken, and released, in one transaction of
// etcd's, which bounds its operations and its size. A final transition has the
// status and an output in it, too.
const (
	maxLocks     = 3000
	maxLocksSize = 400 << 10 // bytes of what releases them
)

// checkLocks says whether the locks of these devices can be taken and released
// at once.
func (l *LockScope) checkLocks(devices []Device) error {
	if l == nil || l.Level != ConcurrencyDevice {
		return nil
	}
	size := 0
	for _, d := range devices {
		// The key is compared and deleted.
		size += 100 + 2*(len("/locks/devices//")+len(url.PathEscape(l.Fabric))+len(url.PathEscape(d.ID)))
	}
	if len(devices) > maxLocks || size > maxLocksSize {
		return Errorf(CodeTooLarge, "the locks of %d devices in fabric %s are too many (at most %d) or their names too long (%d bytes, at most %d): give it fewer devices",
			len(devices), excerpt(l.Fabric), maxLocks, size, maxLocksSize)
	}
	return nil
}

// WantedLocks are the locks that stand in the status: those that the job holds
// or is about to take (design: Keys in etcd).
func (s *State) WantedLocks() []Lock {
	switch {
	case s.Locks == nil:
		return nil
	case s.Locks.Level == ConcurrencyFabric:
		return []Lock{{Fabric: s.Locks.Fabric}}
	}
	locks := make([]Lock, 0, len(s.Devices))
	for _, d := range s.Devices {
		locks = append(locks, Lock{Fabric: s.Locks.Fabric, Device: d.ID})
	}
	return locks
}

// LocksToTake are the locks of the devices that turned up in the middle of
// the job (see ActLock).
func (s *State) LocksToTake() []Lock {
	if s.Locks == nil {
		return nil
	}
	var locks []Lock
	for _, d := range s.Devices {
		if d.Locking {
			locks = append(locks, Lock{Fabric: s.Locks.Fabric, Device: d.ID})
		}
	}
	return locks
}

// Locked tells the state what became of LocksToTake. holders has the job that
// holds a device's lock, for the devices whose lock was not to be had: they
// fail, and they alone (contrail.md: How a job runs there).
func (s *State) Locked(holders map[string]string) {
	if s.Status.Final() {
		return
	}
	s.unshare()
	for i := range s.Devices {
		d := &s.Devices[i]
		if !d.Locking {
			continue
		}
		d.Locking = false
		if holder := holders[d.ID]; holder != "" {
			d.Status, d.Error = PlaybookFailure, "it is locked by job "+holder
			d.Step = max(0, s.firstPending(s.Playbooks))
		}
	}
	left := func(d Device) bool { return d.Status != PlaybookFailure && !d.Gone }
	if len(s.Devices) > 0 && !slices.ContainsFunc(s.Devices, left) && s.Fault == "" {
		s.Fault = cut("no device is left: "+strings.Join(s.failedDevices(), ""), maxReason)
	}
	s.fit()
}
