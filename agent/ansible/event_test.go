package ansible

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDecodeEvent(t *testing.T) {
	at := time.Date(2024, 5, 6, 7, 8, 9, 500_000_000, time.UTC)
	good := map[string]Event{
		`{"event":"playbook_start","ts":1714979289.5,"tasks":3}`: {Type: PlaybookStart, Time: at, Tasks: 3},
		`{"event":"task_start","ts":1714979289.5,"task":"Copy","play":"All","handler":true,"later":[1]}`: {
			Type: TaskStart, Time: at, Task: "Copy", Play: "All", Handler: true,
		},
		`{"event":"result","ts":1714979289.5,"host":"h","task":"Copy","status":"failed","ignored":true,"message":"no"}`: {
			Type: TaskResult, Time: at, Host: "h", Task: "Copy", Status: ResultFailed, Ignored: true, Message: "no",
		},
		`{"event":"no_hosts_matched","ts":1714979289.5}`: {Type: NoHostsMatched, Time: at},
		`{"event":"host_stats","ts":1714979289.5,"host":"h","stats":{"ok":2,"changed":1}}`: {
			Type: HostSummary, Time: at, Host: "h", Stats: HostStats{OK: 2, Changed: 1},
		},
		`{"event":"stats","ts":1714979289.5,"hosts":1}`: {Type: PlaybookStats, Time: at, Hosts: 1},
	}
	for line, want := range good {
		got, err := DecodeEvent([]byte(line + "\n"))
		require.NoError(t, err, line)
		require.Equal(t, want, got)
	}

	bad := map[string]string{
		``:                     "not as expected",
		`x`:                    "not as expected",
		`[]`:                   "not as expected",
		`null`:                 "without a type",
		`{}`:                   "without a type",
		`{"event":1}`:          "not as expected",
		`{"event":"stats"} {}`: "not as expected",
		`{"event":"playbook_start","tasks":1e99}`:                         "not as expected",
		`{"event":"playbook_start","tasks":-1}`:                           "negative",
		`{"event":"host_stats","host":"h","stats":{"ok":-1}}`:             "negative",
		`{"event":"host_stats"}`:                                          "without a host",
		`{"event":"result","status":"ok"}`:                                "without a host",
		`{"event":"result","host":"h"}`:                                   "status",
		`{"event":"result","host":"h","status":"great"}`:                  "great",
		`{"event":"stats","ts":-1}`:                                       "time",
		`{"event":"stats","ts":1e300}`:                                    "time",
		"{\"event\":\"stats\",\"play\":\"\xff\"}":                         "UTF-8",
		`{"event":"stats","play":"` + strings.Repeat("x", MaxLine) + `"}`: "bytes",
	}
	for line, want := range bad {
		_, err := DecodeEvent([]byte(line))
		require.ErrorContains(t, err, want, "%.80s", line)
	}

	_, err := DecodeEvent([]byte(`{"event":"from_the_future"}`))
	require.ErrorIs(t, err, ErrUnknownEvent)

	e, err := DecodeEvent([]byte(`{"event":"task_start","task":"` + strings.Repeat("ä", 1000) + `"}`))
	require.NoError(t, err)
	require.LessOrEqual(t, len(e.Task), maxName)
	require.True(t, utf8.ValidString(e.Task))
}

func FuzzDecodeEvent(f *testing.F) {
	for _, seed := range []string{
		`{"event":"playbook_start","ts":1714979289.5,"tasks":3}`,
		`{"event":"task_start","task":"Copy","play":"All"}`,
		`{"event":"result","host":"h","task":"Copy","status":"failed","message":"no"}`,
		`{"event":"result","host":"h","status":"unreachable","ignored":true}`,
		`{"event":"host_stats","host":"h","stats":{"ok":2,"failures":1}}`,
		`{"event":"stats","hosts":1}`,
		`{"event":null,"ts":1e999}`,
		`{"event":"result","host":"\ud800","status":"ok"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := DecodeEvent(line)
		if err != nil {
			if e != (Event{}) {
				t.Fatalf("an event and an error: %+v, %v", e, err)
			}
			return
		}
		for _, text := range []string{e.Play, e.Task, e.Host, e.Message} {
			if len(text) > maxMessage || !utf8.ValidString(text) {
				t.Fatalf("%q is not within bounds", text)
			}
		}
		var p Progress
		before := p.Fraction()
		for range 3 {
			p.Apply(e)
			after := p.Fraction()
			if after < before || after > 1 {
				t.Fatalf("the fraction went from %v to %v", before, after)
			}
			before = after
		}
		_, _ = p.FirstFailure()
		_ = p.Explain(2)
	})
}
