package quell_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

// checked is an owner whose every reaction is checked against what has to
// hold for any job, whatever happens to it. It keeps a twin that is told the
// same and is never restarted.
type checked struct {
	*owner
	twin    *owner
	events  []string
	wanted  bool // an intent that hits the job was stored and can be read
	forced  bool // a force abort was observed
	forcing bool // one that hits the job was stored
}

func TestAnyLife(t *testing.T) {
	const count = 1000
	seed := rand.Int63()
	t.Logf("seed %d", seed)
	ends := map[string]int{}
	for i := range count {
		random := rand.New(rand.NewSource(seed + int64(i)))
		template := randomTemplate(random)
		c := &checked{owner: newOwner(t, template), twin: newOwner(t, template)}
		c.twin.kept = true
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d, life %d: %s\ntrace: %v", seed, i, strings.Join(c.events, "; "), c.trace)
				}
			}()
			c.live(random)
		}()
		ends[string(c.state.Status)+" "+record(c.state)]++
	}
	t.Logf("ends: %v", ends)
	assert.Greater(t, len(ends), 10, "the lives differ")
}

// randomTemplate has one to three playbooks and up to two recovery playbooks.
func randomTemplate(random *rand.Rand) quell.Template {
	t := template()
	list := func(n int) []quell.Playbook {
		var list []quell.Playbook
		for i := range n {
			p := quell.Playbook{URI: fmt.Sprintf("%d.yml", i)}
			if random.Intn(4) == 0 {
				p.Timeout = quell.Duration(10 * 60e9)
			}
			abortable := random.Intn(4) > 0
			p.Abortable = &abortable
			list = append(list, p)
		}
		return list
	}
	t.Playbooks, t.RecoveryPlaybooks = list(1+random.Intn(3)), list(random.Intn(3))
	return t
}

// live lets up to twelve random things happen, and then the job end.
func (c *checked) live(random *rand.Rand) {
	if random.Intn(2) == 0 {
		c.happens("idle")
	}
	for range random.Intn(12) {
		c.happens(c.randomEvent(random))
	}
	for i := 0; !c.state.Status.Final(); i++ {
		require.Less(c.t, i, 20, "the job comes to an end")
		switch _, running := c.state.Current(); {
		case !running:
			c.happens("place")
		case len(c.killed) > 0:
			c.happens("dies")
		default:
			c.happens("ok")
		}
	}
	unchanged(c.t, c.owner)
}

func (c *checked) randomEvent(random *rand.Rand) string {
	events := []string{
		"after 1m", "after 10m", "withdraw", "withdraw", "old force", "all graceful", "all " + gracefulNow, "all " + in5m, "all " + junk,
		"put graceful", "put graceful", "put " + in5m, "put " + gracefulNow, "put " + override, "put " + forceNow, "put force", "put " + junk,
	}
	if _, running := c.state.Current(); running {
		events = append(events, "ok", "ok", "ok", "ok", "ok", "fail", "broken", "survives")
		if len(c.killed) > 0 {
			events = append(events, "dies", "dies", "dies", "dies")
		}
	}
	if c.state.Status == quell.StatusQueued {
		events = append(events, "place", "place", "place", "place", "place", "place")
	}
	return events[random.Intn(len(events))]
}

// happens tells both owners of the event and checks everything.
func (c *checked) happens(event string) {
	c.events = append(c.events, event)
	c.noteIntent(event)
	snapshot, copied := encode(c.t, c.state), c.twin.state
	for _, o := range []*owner{c.owner, c.twin} {
		if event == "survives" {
			o.state.Survived([]quell.Process{{PID: 1}}, o.now)
			continue
		}
		begun := len(o.trace)
		o.tell(event)
		c.checkTrace(o, begun)
	}
	require.Equal(c.t, snapshot, encode(c.t, copied), "a copy that was taken before has changed")
	require.Equal(c.t, encode(c.t, c.state), encode(c.t, c.twin.state), "a restarted owner does otherwise")
	require.False(c.t, c.state.Observe(c.effective(), c.now), "observed twice is observed once")
	c.check()
}

func (c *checked) noteIntent(event string) {
	verb, value, _ := strings.Cut(event, " ")
	if i, err := quell.ParseIntent([]byte(value)); err == nil && (verb == "put" || verb == "all") {
		c.wanted = true
		c.forcing = c.forcing || i.Mode == quell.Force || i.ForceAfter > 0
	}
}

// checkTrace checks what an owner has done since it had done so much.
func (c *checked) checkTrace(o *owner, since int) {
	for i, what := range o.trace[since:] {
		require.NotContains(c.t, o.trace[:since+i], what, "done twice, of what is done once")
		if strings.HasPrefix(what, "begin playbook") {
			require.Empty(c.t, o.effective().Mode, "begun though an abort is pending: %s", what)
		}
		if strings.HasSuffix(what, string(quell.CauseAbort)) {
			require.True(c.t, c.forcing, "killed though nobody asked for force: %s", what)
		}
	}
}

// check checks the state by itself.
func (c *checked) check() {
	s, t := c.state, c.t
	count := func(list []quell.PlaybookState, statuses ...quell.PlaybookStatus) (n int) {
		for _, p := range list {
			if slices.Contains(statuses, p.Status) {
				n++
			}
		}
		return n
	}
	running := 0
	for i, p := range slices.Concat(s.Playbooks, s.Recovery) {
		if p.BegunAt != nil && p.EndedAt == nil {
			running++
		}
		if i > 0 && i < len(s.Playbooks) && p.BegunAt != nil {
			require.Equal(t, quell.PlaybookSuccess, s.Playbooks[i-1].Status, "begun before the one before had ended well")
		}
	}
	require.LessOrEqual(t, running, 1, "runs in progress")
	if a := s.Abort; a != nil && a.Mode == quell.Force && a.Outcome == "" {
		c.forced = true
	}
	require.True(t, !c.forced || s.Abort.Mode == quell.Force, "a force abort is gone")
	require.True(t, c.wanted || s.Abort == nil || s.Abort.Mode == "", "an abort that nobody wanted")
	require.LessOrEqual(t, len(encode(t, s)), quell.MaxStateSize)
	if !s.Status.Final() {
		require.Equal(t, len(c.killed) > 0, len(s.Next(c.rules, c.now).Kill) > 0, "a kill is ordered until the run is dead")
		return
	}
	require.Zero(t, running)
	require.Zero(t, count(append(s.Playbooks, s.Recovery...), quell.PlaybookPending, quell.PlaybookRunning))
	require.NotNil(t, s.EndedAt)
	require.Empty(t, s.Outcome)
	switch failed := count(s.Playbooks, quell.PlaybookFailure); s.Status {
	case quell.StatusSuccess:
		require.Equal(t, len(s.Playbooks), count(s.Playbooks, quell.PlaybookSuccess))
		require.InDelta(t, 100, s.Percentage, 0)
	case quell.StatusFailure:
		require.Equal(t, 1, failed)
		require.NotEmpty(t, s.Reason)
	case quell.StatusAborted:
		require.Zero(t, failed)
		require.Equal(t, quell.OutcomeAborted, s.Abort.Outcome)
		require.NotEmpty(t, s.Reason)
	default:
		require.Fail(t, "no such end", s.Status)
	}
	if s.Abort != nil && s.Abort.Mode != "" {
		require.NotEmpty(t, s.Abort.Outcome, "the record says what became of the abort")
	}
}
