package quell

import "encoding/json"

// Intents is what was read of the abort intents that concern a job. A
// transition that compares it fails when any intent has come since, so that
// no acknowledged intent slips past (design: Keys in etcd).
type Intents struct {
	Own *StoredIntent  // the job's own key; nil: there is none
	All []StoredIntent // the abort-all intents, the emergency key among them
	// AllRevision is the revision up to which /aborts/ was read, and
	// StarRevision the mod revision of the emergency key (0: there is none).
	AllRevision  int64
	StarRevision int64
}

// OwnRevision is the mod revision of the job's own key, 0 where it is missing.
func (i Intents) OwnRevision() int64 {
	if i.Own == nil {
		return 0
	}
	return i.Own.Revision
}

// Effective is what holds for a job of this age.
func (i Intents) Effective(specRevision int64) Effective {
	return EffectiveIntent(i.Own, i.All, specRevision)
}

// Transition is one change of a job's state by its owner: what it relies on,
// and the state that it leads to. A final state also ends the job's /active
// key, its index key, its progress and its locks, all in one transaction.
type Transition struct {
	ID            string
	Token         int64    // the owner's token: the mod revision of /active/<id>
	StateRevision int64    // the mod revision of the status that State was made from
	Intents       *Intents // what the decision relied on; nil where it relies on none
	State         State
	Output        json.RawMessage // the job's output, an object, where the transition changes it; nil otherwise
	Node          string          // where the index key is; empty while queued
}

// Leader proves that its holder leads the scheduler: its writes compare it.
type Leader struct {
	Key      string
	Revision int64 // the key's create revision
}

// AbortAll is what is known of the abort-all intents at a moment.
type AbortAll struct {
	Intents  []StoredIntent
	Revision int64 // up to which /aborts/ is known
	Star     int64 // the mod revision of the emergency key, 0: none
}

// Into puts it into what is known for one job.
func (a AbortAll) Into(i *Intents) {
	i.All, i.AllRevision, i.StarRevision = a.Intents, a.Revision, a.Star
}
