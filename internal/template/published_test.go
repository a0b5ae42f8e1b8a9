package template_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"quell"
	"quell/internal/template"
)

// publishedSchema compiles the schema as an editor does.
func publishedSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(template.Schema()))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", value))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

// node is what the tests read of a schema.
type node struct {
	Schema      string           `json:"$schema"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Properties  map[string]*node `json:"properties"`
	Additional  any              `json:"additionalProperties"`
	Defs        map[string]*node `json:"$defs"`
}

// objects are the schema's objects with a fixed set of members, each with the
// Go type of what is stored, and a document that holds one with a member more.
func objects(t *testing.T) map[string]struct {
	node   *node
	stored reflect.Type
	extra  []string // members that are read and not stored
	with   func(member string) string
} {
	t.Helper()
	root := &node{}
	require.NoError(t, json.Unmarshal(template.Schema(), root))
	require.Equal(t, "https://json-schema.org/draft/2020-12/schema", root.Schema)
	require.Contains(t, root.Defs, "playbook")
	require.Contains(t, root.Properties, "recovery")
	return map[string]struct {
		node   *node
		stored reflect.Type
		extra  []string
		with   func(member string) string
	}{
		"template": {node: root, stored: reflect.TypeFor[quell.Template](), extra: []string{"$schema"}, with: func(member string) string {
			return `{` + member + `}`
		}},
		"playbook": {
			node: root.Defs["playbook"], stored: reflect.TypeFor[quell.Playbook](), extra: []string{"sequence_no", "refresh_token"},
			with: func(member string) string { return `{"fq_name":["a"],"playbooks":[{` + member + `}]}` },
		},
		"recovery": {node: root.Properties["recovery"], stored: reflect.TypeFor[quell.RecoveryPolicy](), with: func(member string) string {
			return `{"fq_name":["a"],"playbooks":[{"playbook_uri":"x"}],"recovery":{` + member + `}}`
		}},
	}
}

// TestSchemaKnowsWhatTheReaderKnows pairs three lists of members: the
// schema's, the reader's, and that of what is stored.
func TestSchemaKnowsWhatTheReaderKnows(t *testing.T) {
	for name, o := range objects(t) {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, false, o.node.Additional)
			want := slices.Clone(o.extra)
			for i := range o.stored.NumField() {
				tag, _, _ := strings.Cut(o.stored.Field(i).Tag.Get("json"), ",")
				want = append(want, tag)
			}
			got := slices.Sorted(maps.Keys(o.node.Properties))
			slices.Sort(want)
			assert.Equal(t, want, got)
			for _, member := range append(got, "unheard_of") {
				_, err := template.Read("f", []byte(o.with(`"`+member+`":[[0]]`)))
				known := err == nil || !strings.Contains(err.Error(), member+": the property is unknown")
				assert.Equal(t, member != "unheard_of", known, member)
			}
		})
	}
}

// TestSchemaExplainsEveryMember is what an editor shows.
func TestSchemaExplainsEveryMember(t *testing.T) {
	for name, o := range objects(t) {
		assert.NotEmpty(t, o.node.Title, name)
		assert.NotEmpty(t, o.node.Description, name)
		for member, p := range o.node.Properties {
			assert.NotEmpty(t, p.Title, "%s: %s", name, member)
			assert.Greater(t, len(p.Description), 20, "%s: %s", name, member)
		}
	}
}

// TestSchemaIsACopy changes what it was given.
func TestSchemaIsACopy(t *testing.T) {
	clear(template.Schema())
	assert.True(t, json.Valid(template.Schema()))
}

// These put a member where it belongs.
func member(text string) string {
	return `{"fq_name":["a"],"playbooks":[{"playbook_uri":"x"}],` + text + `}`
}
func policy(text string) string { return member(`"recovery":{` + text + `}`) }
func steps(list string) string  { return `{"fq_name":["a"],"playbooks":[` + list + `]}` }
func step(text string) string   { return steps(`{"playbook_uri":"x",` + text + `}`) }
func lone(text string) string   { return steps(`{` + text + `}`) }
func argsOf(text string) string { return steps(`{"executable":"x",` + text + `}`) }

// values are those of a member that are taken, and those that are not.
type values [2][]string

var (
	bools = values{{`true`, `false`}, {`"yes"`, `1`, `null`}}
	texts = values{{`"x"`, `""`}, {`3`, `null`, `["x"]`}}
	times = values{{`"30m"`, `"1h30m"`, `"1.5s"`, `"+.5ms"`, `"1m0s"`}, {`30`, `""`, `"0s"`, `"-1m"`, `"30"`, `"1d"`, `" 1m"`, `null`}}
	paths = values{
		{`"x.yml"`, `"./opt/x.yml"`, `"a/../b"`, `"..a"`, `"a b"`},
		{`""`, `" "`, `"/x"`, `"../x"`, `".."`, `"./../x"`, `"a\tb"`, `null`, `3`, `"` + strings.Repeat("x", 1025) + `"`},
	}
	schemas = values{{`{}`, `{"type":"object"}`, `"{\"type\":\"object\"}"`, `""`, `" {} "`, `" "`}, {`true`, `[]`, `"x"`, `"[]"`, `null`, `3`}}
)

// memberValues are what is run through both, member by member.
var memberValues = map[string]struct {
	in     func(member string) string
	values values
}{
	"uuid":               {member, values{{`"1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11"`, `"1F1B3F0C-5A4E-4C39-9D0C-6F6D0E2A7B11"`}, {`""`, `"x"`, `3`, `"{1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11}"`, `"1f1b3f0c5a4e4c399d0c6f6d0e2a7b11"`}}},
	"$schema":            {member, texts},
	"display_name":       {member, texts},
	"description":        {member, texts},
	"concurrency_level":  {member, values{{`"none"`, `"device"`, `"fabric"`}, {`""`, `"Device"`, `null`, `3`}}},
	"synchronous":        {member, bools},
	"node_labels":        {member, values{{`{}`, `{"a":"b","c":""}`}, {`{"a":1}`, `{"a":null}`, `{"":"x"}`, `["a"]`, `null`}}},
	"timeout":            {member, times},
	"queue_timeout":      {member, times},
	"recovery_playbooks": {member, values{{`[]`, `[{"executable":"x"}]`}, {`[{}]`, `[{"playbook_uri":"x","y":1}]`, `{}`, `null`}}},
	"recovery":           {member, values{{`{}`, `{"on_force":true,"on_failure":false}`}, {`true`, `[]`, `null`, `{"on_abort":true}`}}},
	"on_failure":         {policy, bools},
	"on_force":           {policy, bools},
	"on_graceful":        {policy, bools},
	"input_schema":       {member, schemas},
	"output_schema":      {member, schemas},
	"unheard_of":         {member, values{nil, {`1`}}},
	"data":               {member, values{nil, {`[]`}}},
	"playbook_uri":       {lone, paths},
	"executable":         {lone, paths},
	"executable_args": {
		argsOf,
		values{{`[]`, `["a",""]`}, {`"a b"`, `[3]`, `[null]`, `["\u0000"]`, `null`}},
	},
	"multi_device_playbook":    {step, bools},
	"vendor":                   {step, texts},
	"device_family":            {step, texts},
	"job_completion_weightage": {step, values{{`0`, `100`, `12.5`}, {`-1`, `100.5`, `"9"`, `null`}}},
	"sequence_no":              {step, values{{`0`, `-1`, `1.5`}, {`"1"`, `null`, `[1]`}}},
	"abortable":                {step, bools},
	"max_retries":              {step, values{{`0`, `3`, `3.0`, `100`}, {`-1`, `101`, `1.5`, `"3"`, `null`}}},
	"refresh_token":            {step, values{{`true`, `"x"`, `null`, `{"a":[1]}`}, nil}},
	"colour":                   {step, values{nil, {`1`}}},
}

// wholeDocuments are what concerns more than one member, and whether it is
// taken.
var wholeDocuments = map[string]bool{
	steps(`{"playbook_uri":"x","timeout":"30m"}`):      true,
	steps(`{"playbook_uri":"x","timeout":"0s"}`):       false,
	steps(`{"playbook_uri":"x","executable":"y"}`):     false,
	steps(`{"vendor":"x"}`):                            false,
	steps(`{"playbook_uri":"x","executable_args":[]}`): false,
	steps(`"x"`): false,
	steps(``):    false,
	steps(strings.Repeat(`{"playbook_uri":"x"},`, 63) + `{"executable":"x"}`): true,
	steps(strings.Repeat(`{"playbook_uri":"x"},`, 64) + `{"executable":"x"}`): false,
	`{"fq_name":["a"]}`:                                            false,
	`{"playbooks":[{"playbook_uri":"x"}]}`:                         false,
	`{"fq_name":["a b","c.d"],"playbooks":[{"playbook_uri":"x"}]}`: true,
	`{"fq_name":[],"playbooks":[{"playbook_uri":"x"}]}`:            false,
	`{"fq_name":"a","playbooks":[{"playbook_uri":"x"}]}`:           false,
	`{"fq_name":["a:b"],"playbooks":[{"playbook_uri":"x"}]}`:       false,
	`{"fq_name":[" a"],"playbooks":[{"playbook_uri":"x"}]}`:        false,
	`{"fq_name":["a "],"playbooks":[{"playbook_uri":"x"}]}`:        false,
	`{"fq_name":["a\tb"],"playbooks":[{"playbook_uri":"x"}]}`:      false,
	`{"fq_name":["a",""],"playbooks":[{"playbook_uri":"x"}]}`:      false,
	`{"fq_name":["a",3],"playbooks":[{"playbook_uri":"x"}]}`:       false,
	`[]`: false,
}

// TestSchemaAgreesWithTheReader runs documents through both.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	schema := publishedSchema(t)
	agree := func(t *testing.T, text string, accept bool) {
		t.Helper()
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		require.NoError(t, err)
		_, readErr := template.Read("f.json", []byte(text))
		schemaErr := schema.Validate(value)
		if accept {
			require.NoError(t, readErr)
			require.NoError(t, schemaErr)
		} else {
			require.Error(t, readErr)
			require.Error(t, schemaErr)
		}
	}
	for name, c := range memberValues {
		for i, list := range c.values {
			for _, value := range list {
				text := `"` + name + `":` + value
				t.Run(text[:min(len(text), 60)], func(t *testing.T) { agree(t, c.in(text), i == 0) })
			}
		}
	}
	for text, accept := range wholeDocuments {
		t.Run(text[:min(len(text), 60)], func(t *testing.T) { agree(t, text, accept) })
	}
}

// TestSchemaTakesWholeFiles has the document with every member, the examples,
// and what is stored of a payload.
func TestSchemaTakesWholeFiles(t *testing.T) {
	schema := publishedSchema(t)
	dec := yaml.NewDecoder(strings.NewReader(full))
	for range 3 {
		var value any
		require.NoError(t, dec.Decode(&value))
		text, err := json.Marshal(value)
		require.NoError(t, err)
		value, err = jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		require.NoError(t, schema.Validate(value))
	}
	files := []string{payloadPath}
	entries, err := os.ReadDir("../../examples/templates")
	require.NoError(t, err)
	for _, entry := range entries {
		files = append(files, "../../examples/templates/"+entry.Name())
	}
	for _, path := range files {
		file, err := template.ReadFile(path)
		require.NoError(t, err)
		for _, one := range file.Templates {
			value, err := jsonschema.UnmarshalJSON(strings.NewReader(asJSON(t, one)))
			require.NoError(t, err)
			require.NoError(t, schema.Validate(value), path)
		}
	}
}
