package quell_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func TestParseObject(t *testing.T) {
	members, err := quell.ParseObject([]byte(` {"b": [1, {"x":1}], "a":"é", "A":null, "":{"x":2}, "n":1e999} ` + "\n"))
	require.NoError(t, err)
	assert.Equal(t, []quell.Member{
		{Name: "b", Value: json.RawMessage(`[1, {"x":1}]`)},
		{Name: "a", Value: json.RawMessage(`"é"`)},
		{Name: "A", Value: json.RawMessage("null")},
		{Name: "", Value: json.RawMessage(`{"x":2}`)},
		{Name: "n", Value: json.RawMessage("1e999")},
	}, members)

	members, err = quell.ParseObject([]byte("{}"))
	require.NoError(t, err)
	assert.Equal(t, []quell.Member{}, members)
}

func TestParseObjectRefuses(t *testing.T) {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	for text, says := range map[string]string{
		"":                            "the JSON text is empty",
		" \n":                         "the JSON text is empty",
		"[]":                          "a JSON object is needed",
		`"x"`:                         "a JSON object is needed",
		"null":                        "a JSON object is needed",
		"\xff{}":                      "not valid UTF-8",
		"{} {}":                       "more text behind the JSON value",
		"{}}":                         "more text behind the JSON value",
		"{'a':1}":                     "use double quotes",
		`{"a":'b'}`:                   "use double quotes",
		`'{"a":1}'`:                   "use double quotes",
		`{"a":1`:                      "ends too early",
		`{"a":`:                       "ends too early",
		"{":                           "ends too early",
		`{"a":1,}`:                    "not JSON",
		`{"a" 1}`:                     "not JSON",
		`{"a":[1,]}`:                  "not JSON",
		`{"a":[1}`:                    "not JSON",
		"{1:2}":                       "not JSON",
		"abort":                       "not JSON",
		` {"a":1,"b":x}`:              "invalid character 'x' looking for beginning of value (at byte 12)",
		`{"a":1,"a":2}`:               `the property "a" is repeated`,
		`{"a":1,"\u0061":2}`:          `the property "a" is repeated`,
		`{"a":{"b":[0,{"c":1,"c":1}]`: `the property "a.b[1].c" is repeated`,
		`{"a":[[0,[{"":1,"":2}]]]}`:   `the property "a[0][1][0]" is repeated`,
		`{"a":` + deep + "}":          "nests deeper than 200 levels",
	} {
		members, err := quell.ParseObject([]byte(text))
		require.ErrorContains(t, err, says, text)
		assert.Nil(t, members)
	}
}

// TestParseObjectIsQuick: a megabyte below one long name, which must not be
// copied for each of its members.
func TestParseObjectIsQuick(t *testing.T) {
	var text bytes.Buffer
	text.WriteString(`{"` + strings.Repeat("x", 500<<10) + `":[`)
	for range 100_000 {
		text.WriteString("0,")
	}
	text.WriteString("0]}")
	begin := time.Now()
	_, err := quell.ParseObject(text.Bytes())
	require.NoError(t, err)
	assert.Less(t, time.Since(begin), 5*time.Second)
}

func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		"{}", `{"a":1,"A":[{"b":"c"}]}`, `{"a":1,"a":2}`, "{'a':1}", `{"a":[1,]}`, "[]", "{}x", `{"a":"\ud800"}`,
		`{"a":{"b":{}},"c":[[],[{}]],"d":-0.1e+7,"e":true,"f":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := quell.ParseObject(text)
		var plain map[string]json.RawMessage
		plainErr := json.Unmarshal(text, &plain)
		if err != nil {
			require.Nil(t, members)
			require.NotEmpty(t, err.Error())
			return
		}
		require.NoError(t, plainErr, "it is stricter than encoding/json")
		require.Len(t, members, len(plain))
		for _, m := range members {
			require.Equal(t, string(plain[m.Name]), string(m.Value), m.Name)
		}
	})
}
