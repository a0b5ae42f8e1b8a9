package quell_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func TestParseIntent(t *testing.T) {
	for _, word := range []string{"force", "FORCE", " Force\n", `"force"`, "'force'", `' "forcE" '`, "\tforce\r\n", `"force'`} {
		i, err := quell.ParseIntent([]byte(word))
		require.NoError(t, err, word)
		assert.Equal(t, quell.Intent{Mode: quell.Force, Source: quell.SourceEtcdctl}, i, word)
	}
	at := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	for value, want := range map[string]quell.Intent{
		"graceful":                            {Mode: quell.Graceful, Source: quell.SourceEtcdctl},
		`{"mode":"Graceful"}`:                 {Mode: quell.Graceful, Source: quell.SourceEtcdctl},
		" {\"mode\":\"force\"}\n":             {Mode: quell.Force, Source: quell.SourceEtcdctl},
		`{"mode":"force","recovery":true}`:    {Mode: quell.Force, Source: quell.SourceEtcdctl},
		`{"mode":"force","recovery":false}`:   {Mode: quell.Force, Source: quell.SourceEtcdctl, NoRecovery: true},
		`{"override":true,"mode":"force"}`:    {Mode: quell.Force, Source: quell.SourceEtcdctl, Override: true},
		`{"mode":"force","source":"web"}`:     {Mode: quell.Force, Source: quell.SourceWeb},
		`{"mode":"force","reason":"` + long:   {Mode: quell.Force, Source: quell.SourceEtcdctl, Reason: "x" + strings.Repeat("é", 511)},
		`{"mode":"f\u006frce","reason":"\n"}`: {Mode: quell.Force, Source: quell.SourceEtcdctl, Reason: "\n"},
		`{"mode":"graceful","force_after":"1m30s","requested_by":"ann","requested_at":"2026-03-01T13:00:00Z"}`: {
			Mode: quell.Graceful, Source: quell.SourceEtcdctl, ForceAfter: 90 * time.Second, RequestedBy: "ann", RequestedAt: at,
		},
	} {
		i, err := quell.ParseIntent([]byte(value))
		require.NoError(t, err, value)
		assert.Equal(t, want, i, value)
	}
}

// long is the end of an object with a reason that is cut in the middle of a
// character.
var long = "x" + strings.Repeat("é", 600) + `"}`

func TestParseIntentRefuses(t *testing.T) {
	for value, says := range map[string]string{
		"":                                    `"" is neither graceful nor force`,
		"forec":                               `"forec" is neither graceful nor force`,
		"force!":                              "neither graceful nor force",
		"graceful force":                      "neither graceful nor force",
		"f orce":                              "neither graceful nor force",
		"\xff":                                "neither graceful nor force",
		`["force"]`:                           "neither graceful nor force",
		"{}":                                  "has no mode",
		`{"reason":"x"}`:                      "has no mode",
		`{"mode":""}`:                         `unknown abort mode ""`,
		`{"mode":"kill"}`:                     `unknown abort mode "kill"`,
		`{"mode":null}`:                       "mode is not a string",
		`{"mode":1}`:                          "mode is not a string",
		`{"Mode":"force"}`:                    `property "Mode" is unknown`,
		`{"mode":"force","mode":"graceful"}`:  `"mode" is repeated`,
		`{"mode":"force"} x`:                  "more text behind",
		`{"mode":"force"`:                     "ends too early",
		`{'mode':'force'}`:                    "use double quotes",
		`{"mode":"force","recovery":"false"}`: "recovery is not true or false",
		`{"mode":"force","recovery":null}`:    "recovery is not true or false",
		`{"mode":"force","override":1}`:       "override is not true or false",
		`{"mode":"force","source":"carrier"}`: `source "carrier" is none of`,
		`{"mode":"graceful","force_after":"soon"}`: `force_after "soon" is not a time above zero`,
		`{"mode":"graceful","force_after":"0s"}`:   "above zero",
		`{"mode":"graceful","force_after":"-1m"}`:  "above zero",
		`{"mode":"graceful","force_after":5}`:      "force_after is not a string",
		`{"mode":"force","requested_at":"today"}`:  "requested_at is not a time",
		`{"mode":"force","requested_by":7}`:        "requested_by is not a string",
		`{"mode":"force","reason":[]}`:             "reason is not a string",
		strings.Repeat(" ", 16<<10) + "force":      "bytes: at most",
	} {
		i, err := quell.ParseIntent([]byte(value))
		require.ErrorContains(t, err, says, value)
		assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
		assert.Zero(t, i, "what is wrong is not acted on, not even in part")
		assert.LessOrEqual(t, len(err.Error()), 300, "a job's status holds it")
	}
}

// TestIntentIsReadAgain: what Quell writes it reads, however long the texts
// that it was given.
func TestIntentIsReadAgain(t *testing.T) {
	for _, text := range []string{"", "x", strings.Repeat("<", 20<<10), strings.Repeat("\x00\xff", 10<<10)} {
		i := quell.Intent{Mode: quell.Force, Source: quell.SourceAPI, Reason: text, RequestedBy: text, NoRecovery: true}
		value, err := json.Marshal(i)
		require.NoError(t, err)
		read, err := quell.ParseIntent(value)
		require.NoError(t, err)
		assert.Equal(t, [2]any{i.Mode, i.NoRecovery}, [2]any{read.Mode, read.NoRecovery})
	}
}

func TestMerge(t *testing.T) {
	g := quell.Intent{Mode: quell.Graceful, RequestedBy: "first"}
	f := quell.Intent{Mode: quell.Force, RequestedBy: "first"}
	with := func(i quell.Intent, by string, options ...func(*quell.Intent)) quell.Intent {
		i.RequestedBy = by
		for _, option := range options {
			option(&i)
		}
		return i
	}
	noRecovery := func(i *quell.Intent) { i.NoRecovery = true }
	override := func(i *quell.Intent) { i.Override = true }
	in := func(d time.Duration) func(*quell.Intent) { return func(i *quell.Intent) { i.ForceAfter = d } }

	for _, tt := range []struct {
		name               string
		first, later, want quell.Intent
		adds               bool
	}{
		{"nothing first", quell.Intent{}, g, g, true},
		{"nothing later", g, quell.Intent{}, g, false},
		{"repetition", g, with(g, "later"), g, false},
		{"forced again", f, with(f, "later"), f, false},
		{"force after graceful", g, with(f, "later"), with(f, "later"), true},
		{"graceful after force", f, with(g, "later", noRecovery, override), f, false},
		{"what was asked for stays", with(g, "first", noRecovery, override), with(f, "later"), with(f, "later", noRecovery, override), true},
		{"no recovery is added", f, with(f, "later", noRecovery), with(f, "later", noRecovery), true},
		{"and not taken back", with(f, "first", noRecovery), with(f, "later"), with(f, "first", noRecovery), false},
		{"override is added", f, with(f, "later", override), with(f, "later", override), true},
		{"and not taken back", with(f, "first", override), with(f, "later"), with(f, "first", override), false},
		{"force_after is added", g, with(g, "later", in(5)), with(g, "later", in(5)), true},
		{"a shorter one", with(g, "first", in(5)), with(g, "later", in(3)), with(g, "later", in(3)), true},
		{"a longer one", with(g, "first", in(5)), with(g, "later", in(7)), with(g, "first", in(5)), false},
		{"none", with(g, "first", in(5)), with(g, "later"), with(g, "first", in(5)), false},
		{"a longer one, and override", with(g, "first", in(5)), with(g, "later", in(7), override), with(g, "later", in(5), override), true},
		{"force does not wait", f, with(f, "later", in(5)), f, false},
	} {
		assert.Equal(t, tt.want, tt.first.Merge(tt.later), tt.name)
		assert.Equal(t, tt.adds, tt.first.Adds(tt.later), tt.name)
	}
}

func TestEffectiveIntent(t *testing.T) {
	at := func(revision int64, value string) quell.StoredIntent {
		i := quell.StoredIntent{Key: string(rune('a' + revision)), Revision: revision}
		i.Intent, i.Err = quell.ParseIntent([]byte(value))
		return i
	}
	all := func(revision int64, value string) quell.StoredIntent {
		i := at(revision, value)
		i.Before = revision
		return i
	}
	own := func(revision int64, value string) *quell.StoredIntent {
		i := at(revision, value)
		return &i
	}
	for _, tt := range []struct {
		name string
		own  *quell.StoredIntent
		all  []quell.StoredIntent
		mode quell.Mode
		key  string
		err  string
	}{
		{"nothing", nil, nil, "", "", ""},
		{"own", own(12, force), nil, quell.Force, "m", ""},
		{"own, older than the job's spec", own(3, force), nil, quell.Force, "d", ""},
		{"an abort-all", nil, []quell.StoredIntent{all(11, force)}, quell.Force, "l", ""},
		{"an abort-all of the spec's own revision", nil, []quell.StoredIntent{all(10, force)}, "", "", ""},
		{"an older abort-all", nil, []quell.StoredIntent{all(9, force)}, "", "", ""},
		{"both, force came last", own(12, graceful), []quell.StoredIntent{all(13, force)}, quell.Force, "n", ""},
		{"both, force came first", own(13, graceful), []quell.StoredIntent{all(12, force)}, quell.Force, "m", ""},
		{"the same twice", own(13, graceful), []quell.StoredIntent{all(12, graceful)}, quell.Graceful, "m", ""},
		{"several, in any order", nil, []quell.StoredIntent{all(15, graceful), all(14, force), all(13, graceful)}, quell.Force, "o", ""},
		{"the same, in any order", nil, []quell.StoredIntent{all(15, graceful), all(14, graceful)}, quell.Graceful, "o", ""},
		{"own unreadable", own(12, junk), nil, "", "", `"forec" is neither`},
		{"own unreadable, an abort-all", own(12, junk), []quell.StoredIntent{all(11, graceful)}, quell.Graceful, "l", `"forec" is neither`},
		{"an abort-all unreadable", own(12, force), []quell.StoredIntent{all(11, junk)}, quell.Force, "m", `"forec" is neither`},
		{"an older abort-all unreadable", nil, []quell.StoredIntent{all(9, junk)}, "", "", ""},
	} {
		e := quell.EffectiveIntent(tt.own, tt.all, 10)
		assert.Equal(t, tt.mode, e.Mode, tt.name)
		assert.Equal(t, tt.key, e.Key, tt.name)
		assert.Equal(t, tt.own != nil, e.Own, tt.name)
		if assert.Contains(t, e.Error, tt.err, tt.name); tt.err == "" {
			assert.Empty(t, e.Error, tt.name)
		}
	}
}

func TestIntentsOfAJob(t *testing.T) {
	assert.Zero(t, quell.Intents{}.OwnRevision())
	i := quell.Intents{Own: &quell.StoredIntent{Revision: 7, Intent: quell.Intent{Mode: quell.Graceful}}}
	assert.Equal(t, int64(7), i.OwnRevision())
	quell.AbortAll{
		Intents:  []quell.StoredIntent{{Revision: 20, Before: 20, Intent: quell.Intent{Mode: quell.Force}}},
		Revision: 21, Star: 19,
	}.Into(&i)
	assert.Equal(t, [2]int64{21, 19}, [2]int64{i.AllRevision, i.StarRevision})
	assert.Equal(t, quell.Force, i.Effective(19).Mode)
	assert.Equal(t, quell.Graceful, i.Effective(20).Mode)
}

func FuzzParseIntent(f *testing.F) {
	for _, seed := range []string{
		"force", "GRACEFUL", ` " force" `, "'graceful'\n", "forec", "{}", "{'mode':'force'}", `{"mode":"force"}x`,
		`{"mode":"graceful","requested_by":"ann","source":"cli","reason":"<\u0000>","requested_at":"2026-03-01T12:00:00.5+01:00","force_after":"1h2m","recovery":false,"override":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		i, err := quell.ParseIntent(value)
		if err != nil {
			require.Zero(t, i)
			require.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			return
		}
		require.Contains(t, []quell.Mode{quell.Graceful, quell.Force}, i.Mode)
		require.Contains(t, quell.Sources, i.Source)
		if !strings.Contains(string(value), "{") {
			word := strings.ToLower(strings.Trim(string(value), " \t\r\n\v\f'\"\u0085\u00a0"))
			require.Contains(t, word, string(i.Mode))
			require.Equal(t, quell.Intent{Mode: i.Mode, Source: quell.SourceEtcdctl}, i)
		}
		written, err := json.Marshal(i)
		require.NoError(t, err)
		again, err := quell.ParseIntent(written)
		require.NoError(t, err, "%s", written)
		require.True(t, i.RequestedAt.Equal(again.RequestedAt))
		again.RequestedAt = i.RequestedAt
		require.Equal(t, i, again)
		require.False(t, i.Adds(again))
	})
}
