package template_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
	"quell/internal/template"
)

const full = `
# A comment before the first document.
fq_name: [default-global-system-config, image_upgrade_template]
display_name: Image Upgrade
concurrency_level: none
playbooks:
  - playbook_uri: ./opt/image_upgrade.yml
    multi_device_playbook: false
    job_completion_weightage: 90
    timeout: 30m
    abortable: false
  - playbook_uri: second.yml
recovery_playbooks:
  - playbook_uri: cleanup.yml
input_schema: &schema
  $schema: http://json-schema.org/draft-06/schema#
  type: object
  required: [count]
  properties: {count: {type: integer, minimum: 1}}
---
fq_name: ["a", "b"]
playbooks: [{playbook_uri: one.yml}]
---
`

func TestReadYAML(t *testing.T) {
	templates, err := template.Read("templates.yaml", []byte(full))
	require.NoError(t, err)
	require.Len(t, templates, 2)

	got := templates[0]
	assert.Equal(t, quell.FQName{"default-global-system-config", "image_upgrade_template"}, got.FQName)
	assert.Equal(t, "Image Upgrade", got.DisplayName)
	require.Len(t, got.Playbooks, 2)
	weight, abortable := 90.0, false
	assert.Equal(t, quell.Playbook{
		URI: "./opt/image_upgrade.yml", Weight: &weight, Timeout: quell.Duration(30 * time.Minute), Abortable: &abortable,
	}, got.Playbooks[0])
	assert.Equal(t, quell.Playbook{URI: "second.yml"}, got.Playbooks[1])
	assert.Equal(t, []quell.Playbook{{URI: "cleanup.yml"}}, got.RecoveryPlaybooks)
	assert.JSONEq(t, `{"$schema":"http://json-schema.org/draft-06/schema#","type":"object","required":["count"],
		"properties":{"count":{"type":"integer","minimum":1}}}`, string(got.InputSchema))
	assert.Equal(t, quell.FQName{"a", "b"}, templates[1].FQName)
}

// TestReadBack stores a template as the API does and reads it again.
func TestReadBack(t *testing.T) {
	templates, err := template.Read("templates.yaml", []byte(full))
	require.NoError(t, err)
	var stream []byte
	for _, one := range templates {
		text, err := json.MarshalIndent(one, "", "\t")
		require.NoError(t, err)
		stream = append(append(stream, text...), '\n')
	}
	again, err := template.Read("templates.json", stream)
	require.NoError(t, err)
	want, got := asJSON(t, templates), asJSON(t, again)
	assert.JSONEq(t, want, got)
}

func TestReadForms(t *testing.T) {
	const one = `{"fq_name":["a"],"playbooks":[{"playbook_uri":"one.yml"}]}`
	for name, text := range map[string]string{
		"JSON":                      one,
		"JSON, two documents":       one + "\n" + strings.Replace(one, `"a"`, `"b"`, 1),
		"JSON between YAML's marks": one + "\n---\n" + strings.Replace(one, `"a"`, `"b"`, 1),
		"YAML's flow style":         "{fq_name: [a], playbooks: [{playbook_uri: one.yml}]}",
		"an alias":                  "fq_name: [a]\nplaybooks: [&p {playbook_uri: one.yml}]\nrecovery_playbooks: [*p]\n",
		"only a begin mark":         "---\nfq_name: [a]\nplaybooks: [{playbook_uri: one.yml}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			templates, err := template.Read("file", []byte(text))
			require.NoError(t, err)
			assert.Len(t, templates, 1+strings.Count(text, `"b"`))
			assert.Equal(t, "one.yml", templates[0].Playbooks[0].URI)
		})
	}
}

func TestReadRefuses(t *testing.T) {
	doc := func(more string) string {
		return "fq_name: [a, b]\nplaybooks: [{playbook_uri: one.yml}]\n" + more
	}
	playbook := func(more string) string {
		return "fq_name: [a, b]\nplaybooks:\n- playbook_uri: ok.yml\n- " + more
	}
	const at = "f.yaml: document 1 (a:b): "
	for name, c := range map[string]struct {
		text, want string
		code       quell.Code
	}{
		"nothing":                   {text: "# nothing\n", want: "f.yaml: there is no job template in it"},
		"no YAML":                   {text: "a: [", want: "f.yaml: document 1: not YAML: "},
		"no JSON":                   {text: `{"a": 1,,}`, want: "f.yaml: document 1: not JSON: "},
		"no object":                 {text: "- a\n", want: "f.yaml: document 1: a JSON object is needed"},
		"not UTF-8":                 {text: "a: \xff", want: "not valid UTF-8"},
		"no fq_name":                {text: "playbooks: [{playbook_uri: one.yml}]", want: "f.yaml: document 1: the fq_name is empty"},
		"no playbooks":              {text: "fq_name: [a, b]", want: at + "the job template a:b has no playbooks"},
		"unknown property":          {text: doc("colour: red"), want: at + "colour: the property is unknown"},
		"property in another case":  {text: doc("Display_name: x"), want: at + "Display_name: the property is unknown"},
		"repeated property":         {text: doc("display_name: x\ndisplay_name: y"), want: at + `the property "display_name" is repeated`},
		"repeated deep in JSON":     {text: `{"fq_name":["a","b"],"playbooks":[{"playbook_uri":"x","playbook_uri":"y"}]}`, want: at + `the property "playbooks[0].playbook_uri" is repeated`},
		"merge key":                 {text: doc("<<: {display_name: x}"), want: at + "line 3: merge keys (<<) are not read"},
		"tag":                       {text: doc("display_name: !secret x"), want: at + "line 3: the tag !secret is not read"},
		"a name that is null":       {text: doc("~: x"), want: at + "line 3: a property's name is a string"},
		"a number beyond JSON":      {text: doc("display_name: .inf"), want: at + "line 3: .inf is no number of JSON"},
		"fq_name as text":           {text: "fq_name: a:b\nplaybooks: [{playbook_uri: x}]", want: `f.yaml: document 1: fq_name: "a:b" is not a list of strings`},
		"fq_name with a number":     {text: "fq_name: [a, 3]\nplaybooks: [{playbook_uri: x}]", want: "fq_name[1]: 3 is not a string"},
		"fq_name with a null":       {text: "fq_name: [a, ~]\nplaybooks: [{playbook_uri: x}]", want: "fq_name[1]: it is empty"},
		"fq_name with a colon":      {text: "fq_name: ['a:b']\nplaybooks: [{playbook_uri: x}]", want: "fq_name: part 1 of the fq_name"},
		"display_name as a list":    {text: doc("display_name: [x]"), want: at + `display_name: ["x"] is not a string`},
		"display_name empty":        {text: doc("display_name:"), want: at + "display_name: it is empty: give a string, or leave it out"},
		"unknown concurrency_level": {text: doc("concurrency_level: all"), want: at + `concurrency_level: "all" is unknown: it is none, device or fabric`},
		"playbooks as an object":    {text: "fq_name: [a, b]\nplaybooks: {playbook_uri: x}", want: at + "playbooks: "},
		"playbook as text":          {text: playbook("one.yml"), want: at + "playbooks[1]: it is not an object"},
		"playbook without a uri":    {text: playbook("timeout: 3m"), want: "playbooks[1]: playbook_uri is missing"},
		"playbook_uri outside":      {text: playbook("playbook_uri: ../one.yml"), want: at + `playbooks[1].playbook_uri: "../one.yml" leaves the playbook folder`},
		"playbook_uri absolute":     {text: playbook("playbook_uri: /one.yml"), want: "leaves the playbook folder"},
		"playbook's unknown":        {text: playbook("{playbook_uri: x, vendor: y}"), want: at + "playbooks[1].vendor: the property is unknown"},
		"weightage as text":         {text: playbook("{playbook_uri: x, job_completion_weightage: '9'}"), want: at + `playbooks[1].job_completion_weightage: "9" is not a number`},
		"weightage over 100":        {text: playbook("{playbook_uri: x, job_completion_weightage: 101}"), want: "job_completion_weightage 101 is not between 0 and 100"},
		"timeout as a number":       {text: playbook("{playbook_uri: x, timeout: 30}"), want: at + "playbooks[1].timeout: 30 is not a time such as 30m"},
		"timeout below zero":        {text: playbook("{playbook_uri: x, timeout: -1s}"), want: "timeout -1s is below zero"},
		"abortable as a word":       {text: playbook("{playbook_uri: x, abortable: yes}"), want: at + `playbooks[1].abortable: "yes" is not true or false`},
		"recovery's unknown":        {text: doc("recovery_playbooks: [{uri: x}]"), want: at + "recovery_playbooks[0].uri: the property is unknown"},
		"schema as text":            {text: doc("input_schema: '{}'"), want: at + "input_schema: it is not a JSON Schema as an object"},
		"schema empty":              {text: doc("input_schema:"), want: at + "input_schema: it is not a JSON Schema as an object"},
		"schema is none":            {text: doc("input_schema: {type: objekt}"), want: at + "input_schema: it is not a JSON Schema: #/type: "},
		"schema's pattern":          {text: doc("input_schema: {pattern: '('}"), want: at + "input_schema: it is not a JSON Schema: "},
		"schema from the network":   {text: doc("input_schema: {$ref: 'http://127.0.0.1:1/x.json'}"), want: at + "input_schema: it refers to http://127.0.0.1:1/x.json: only what is inside"},
		"schema from a file":        {text: doc("input_schema: {$ref: 'file:///etc/passwd'}"), want: at + "input_schema: it refers to file:///etc/passwd"},
		"schema's draft unknown":    {text: doc("input_schema: {$schema: 'http://example.com/my'}"), want: at + "input_schema: it refers to http://example.com/my"},
		"schema's number":           {text: `{"fq_name":["a","b"],"playbooks":[{"playbook_uri":"x"}],"input_schema":{"const":1e999}}`, want: at + "input_schema: the number 1e999 is out of range"},
		"the same name twice":       {text: doc("") + "---\n" + doc(""), want: "document 2 (a:b): fq_name: document 1 has the same"},
		"grows by aliases":          {text: "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g]\n", want: "is too large, or nests too deep"},
		"nests too deep":            {text: doc("input_schema: {const: " + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "}"), want: at + "line 3: the document is too large, or nests too deep"},
		"alias inside itself":       {text: "a: &a [*a]\n", want: "is too large, or nests too deep"},
		"device":                    {text: doc("concurrency_level: device"), want: at + "concurrency_level: device", code: quell.CodeUnsupported},
		"fabric":                    {text: doc("concurrency_level: fabric"), want: "does not offer it yet", code: quell.CodeUnsupported},
		"multi_device_playbook":     {text: playbook("{playbook_uri: x, multi_device_playbook: true}"), want: at + "playbooks[1].multi_device_playbook: ", code: quell.CodeUnsupported},
		"output_schema":             {text: doc("output_schema: {}"), want: at + "output_schema: ", code: quell.CodeUnsupported},
		"unsupported and wrong":     {text: doc("output_schema: {}\ncolour: red"), want: "f.yaml: 2 problems:\n- document 1 (a:b): output_schema: "},
	} {
		t.Run(name, func(t *testing.T) {
			templates, err := template.Read("f.yaml", []byte(c.text))
			require.Error(t, err)
			assert.Nil(t, templates)
			assert.Contains(t, err.Error(), c.want)
			if c.code == "" {
				c.code = quell.CodeInvalid
			}
			assert.Equal(t, c.code, quell.CodeOf(err))
		})
	}
}

// TestReadTellsEveryProblem has problems in two documents and behind them.
func TestReadTellsEveryProblem(t *testing.T) {
	_, err := template.Read("f.yaml", []byte("fq_name: [a]\ncolour: red\nplaybooks: [{timeout: 3, vendor: x}]\n---\nfq_name: [b]\nsize: 3\n---\n: ["))
	require.Error(t, err)
	for _, want := range []string{
		"f.yaml: 5 problems:", "\n- document 1 (a): colour: ", "\n- document 1 (a): playbooks[0].timeout: ",
		"\n- document 1 (a): playbooks[0].vendor: ", "\n- document 2 (b): size: ", "\n- document 3: not YAML: ",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

// TestReadLoadsNoFile has a reference to a file that would be a schema.
func TestReadLoadsNoFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "schema.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"type":"object"}`), 0o600))
	_, err := template.Read("f.yaml", []byte("fq_name: [a]\nplaybooks: [{playbook_uri: x}]\ninput_schema: {$ref: 'file://"+path+"'}"))
	require.ErrorContains(t, err, "only what is inside the schema can be referred to")
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "templates.yaml")
	_, err := template.ReadFile(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.Contains(t, err.Error(), path)
	require.NoError(t, os.WriteFile(path, []byte(full), 0o600))
	templates, err := template.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, templates, 2)
}

func TestReadNamed(t *testing.T) {
	const rest = "playbooks: [{playbook_uri: one.yml}]\n"
	name := quell.FQName{"a", "b"}
	for text, want := range map[string]string{
		rest:                                   "",
		"fq_name: [a, b]\n" + rest:             "",
		"fq_name: [a, c]\n" + rest:             "fq_name: it is not a:b, the name in the request",
		rest + "---\nfq_name: [a, b]\n" + rest: "fq_name: document 1 has the same",
		"":                                     "there is no job template in it",
	} {
		got, err := template.ReadNamed("the request body", []byte(text), name)
		if want == "" {
			require.NoError(t, err, text)
			assert.Equal(t, name, got.FQName)
			continue
		}
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), want)
		assert.Contains(t, err.Error(), "the request body: ")
	}
	_, err := template.ReadNamed("the request body", []byte(rest), quell.FQName{""})
	assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
}

func TestCheckInput(t *testing.T) {
	draft := func(url, more string) string { return `{"$schema":"` + url + `",` + more + `}` }
	const (
		d4    = "http://json-schema.org/draft-04/schema#"
		d6    = "http://json-schema.org/draft-06/schema#"
		d7    = "http://json-schema.org/draft-07/schema#"
		d2019 = "https://json-schema.org/draft/2019-09/schema"
		d2020 = "https://json-schema.org/draft/2020-12/schema"
	)
	list := `"properties":{"list":{"items":{"type":"integer"}}},"required":["name"]`
	for name, c := range map[string]struct {
		schema, input string
		want          []string
	}{
		"no schema":     {schema: "", input: `{"a":1}`},
		"fits":          {schema: `{` + list + `}`, input: `{"name":"x","list":[1,2]}`},
		"all at once":   {schema: `{` + list + `}`, input: `{"list":["a",1,"b"]}`, want: []string{"#: ", "name", "#/list/0: ", "#/list/2: "}},
		"pointer's ~":   {schema: `{"properties":{"a/b":{"type":"string"}}}`, input: `{"a/b":1}`, want: []string{"#/a~1b: "}},
		"draft 4":       {schema: draft(d4, `"properties":{"n":{"minimum":1,"exclusiveMinimum":true}}`), input: `{"n":1}`, want: []string{"#/n: "}},
		"draft 6":       {schema: draft(d6, `"properties":{"n":{"exclusiveMinimum":1}}`), input: `{"n":1}`, want: []string{"#/n: "}},
		"draft 7":       {schema: draft(d7, `"if":{"required":["a"]},"then":{"required":["b"]}`), input: `{"a":1}`, want: []string{"#: "}},
		"draft 2019-09": {schema: draft(d2019, `"dependentRequired":{"a":["b"]}`), input: `{"a":1}`, want: []string{"#: "}},
		"draft 2020-12": {schema: draft(d2020, `"properties":{"l":{"prefixItems":[{"type":"string"}]}}`), input: `{"l":[1]}`, want: []string{"#/l/0: "}},
		"inner ref":     {schema: `{"properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"integer"}}}`, input: `{"n":"x"}`, want: []string{"#/n: "}},
		"loops":         {schema: `{"$ref":"#"}`, input: `{}`, want: []string{"#"}},
		"huge number":   {schema: `{"properties":{"n":{"multipleOf":2}}}`, input: `{"n":1e1000001}`, want: []string{"1e1000001 is out of range"}},
		"tiny number":   {schema: `{"properties":{"n":{"minimum":2}}}`, input: `{"n":[1e-99999999999999999999]}`, want: []string{"is out of range"}},
		"no JSON":       {schema: `{"type":"object"}`, input: `{`, want: []string{"the input: not JSON"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := template.CheckInput(quell.Template{FQName: quell.FQName{"a", "b"}, InputSchema: json.RawMessage(c.schema)}, json.RawMessage(c.input))
			if c.want == nil {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			for _, want := range c.want {
				assert.Contains(t, err.Error(), want)
			}
		})
	}
}

func TestCheckInputBoundsTheMessage(t *testing.T) {
	values := "[" + strings.TrimSuffix(strings.Repeat(`"x",`, 5000), ",") + "]"
	err := template.CheckInput(quell.Template{InputSchema: json.RawMessage(`{"items":{"type":"integer"}}`)}, json.RawMessage(values))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "and 4980 more")
	assert.Less(t, len(err.Error()), 4096)
}

// TestCheckInputIsInOrder tells the same of the same input every time.
func TestCheckInputIsInOrder(t *testing.T) {
	schema := json.RawMessage(`{"additionalProperties":{"type":"integer"}}`)
	for range 50 {
		err := template.CheckInput(quell.Template{InputSchema: schema}, json.RawMessage(`{"d":"","b":"","a":"","c":""}`))
		require.Error(t, err)
		require.Regexp(t, "#/a: .*#/b: .*#/c: .*#/d: ", err.Error())
	}
}

// TestCheckInputWithStoredSchema has a schema that another release stored.
func TestCheckInputWithStoredSchema(t *testing.T) {
	err := template.CheckInput(quell.Template{FQName: quell.FQName{"a"}, InputSchema: json.RawMessage(`{"type":3}`)}, json.RawMessage(`{}`))
	require.Error(t, err)
	assert.Equal(t, quell.CodeConflict, quell.CodeOf(err))
	assert.Contains(t, err.Error(), "the stored job template a cannot be used")
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		full, "a: &a [*a]", "{fq_name: [a], playbooks: [{playbook_uri: one.yml}]}", "<<: {}", "? [a]\n: b", "- !!binary x",
		`{"fq_name":["a"],"playbooks":[{"playbook_uri":"x","timeout":"1s"}]}`, "fq_name: [a]\ninput_schema: {$ref: '#'}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		templates, err := template.Read("fuzz", data)
		if err != nil {
			require.Nil(t, templates)
			require.Contains(t, []quell.Code{quell.CodeInvalid, quell.CodeUnsupported}, quell.CodeOf(err))
			return
		}
		for _, one := range templates {
			require.NoError(t, one.Check())
			text, err := json.Marshal(one)
			require.NoError(t, err)
			again, err := template.ReadNamed("again", text, one.FQName)
			require.NoError(t, err)
			require.JSONEq(t, asJSON(t, one), asJSON(t, again))
		}
	})
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}
