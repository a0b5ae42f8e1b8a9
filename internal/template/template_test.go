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

// full has every member, a template with no more than it must have, and one
// with the levels and forms that the first leaves out.
const full = `
# A comment before the first document.
fq_name: [default-global-system-config, image_upgrade_template]
uuid: 0A1B2C3D-0000-4000-8000-00000000ABCD
display_name: Image Upgrade
description: Puts a new image on devices.
concurrency_level: device
synchronous: true
node_labels: {site: west, "8": "eight"}
timeout: 2h
queue_timeout: 90s
playbooks:
  - playbook_uri: ./opt/image_upgrade.yml
    multi_device_playbook: true
    vendor: juniper
    device_family: junos-qfx
    job_completion_weightage: 90
    sequence_no: 2
    timeout: 30m
    abortable: false
    max_retries: 5
    refresh_token: {any: thing}
  - executable: bin/prepare
    executable_args: [--quick, "", "a b"]
    sequence_no: 1
recovery_playbooks:
  - playbook_uri: cleanup.yml
  - executable: bin/tidy
recovery: {on_failure: true, on_graceful: false}
input_schema: &schema
  $schema: http://json-schema.org/draft-06/schema#
  type: object
  required: [count]
  properties: {count: {type: integer, minimum: 1}}
output_schema: *schema
---
fq_name: ["a", "b"]
playbooks: [{playbook_uri: one.yml}]
---
fq_name: ["a", "c"]
concurrency_level: fabric
playbooks: [{playbook_uri: one.yml}]
input_schema: |
  {"type": "object"}
output_schema: ""
---
`

func TestReadYAML(t *testing.T) {
	file, err := template.Read("templates.yaml", []byte(full))
	require.NoError(t, err)
	require.Empty(t, file.Skipped)
	templates := file.Templates
	require.Len(t, templates, 3)

	no, yes, weight, retries := false, true, 90.0, 5
	schema := json.RawMessage(`{"$schema":"http://json-schema.org/draft-06/schema#","type":"object","required":["count"],` +
		`"properties":{"count":{"type":"integer","minimum":1}}}`)
	assert.Equal(t, quell.Template{
		FQName:       quell.FQName{"default-global-system-config", "image_upgrade_template"},
		UUID:         "0a1b2c3d-0000-4000-8000-00000000abcd",
		DisplayName:  "Image Upgrade",
		Description:  "Puts a new image on devices.",
		Concurrency:  quell.ConcurrencyDevice,
		Synchronous:  true,
		NodeLabels:   map[string]string{"site": "west", "8": "eight"},
		Timeout:      quell.Duration(2 * time.Hour),
		QueueTimeout: quell.Duration(90 * time.Second),
		Playbooks: []quell.Playbook{
			{Executable: "bin/prepare", Args: []string{"--quick", "", "a b"}},
			{
				URI: "./opt/image_upgrade.yml", MultiDevice: true, Vendor: "juniper", DeviceFamily: "junos-qfx", Weight: &weight,
				Timeout: quell.Duration(30 * time.Minute), Abortable: &no, MaxRetries: &retries,
			},
		},
		RecoveryPlaybooks: []quell.Playbook{{URI: "cleanup.yml"}, {Executable: "bin/tidy"}},
		Recovery:          quell.RecoveryPolicy{OnFailure: &yes, OnGraceful: &no},
		InputSchema:       schema,
		OutputSchema:      schema,
	}, templates[0])
	assert.Equal(t, quell.Template{
		FQName: quell.FQName{"a", "b"}, UUID: uuidAB, Playbooks: []quell.Playbook{{URI: "one.yml"}},
	}, templates[1])
	assert.Equal(t, quell.ConcurrencyFabric, templates[2].Concurrency)
	assert.JSONEq(t, `{"type":"object"}`, string(templates[2].InputSchema))
	assert.Empty(t, templates[2].OutputSchema)
}

// uuidAB is what the template a:b is called wherever it brings no uuid: it
// must never change, since clients store it.
const uuidAB = "9fb828df-bba0-5f50-92a6-f7fcd07e76b7"

// TestReadBack stores a template as the API does and reads it again.
func TestReadBack(t *testing.T) {
	file, err := template.Read("templates.yaml", []byte(full))
	require.NoError(t, err)
	var stream []byte
	for _, one := range file.Templates {
		text, err := json.MarshalIndent(one, "", "\t")
		require.NoError(t, err)
		again, err := template.ReadNamed("the request body", []byte(asJSON(t, one)), one.FQName)
		require.NoError(t, err)
		assert.Equal(t, one.UUID, again.UUID)
		stream = append(append(stream, text...), '\n')
	}
	again, err := template.Read("templates.json", stream)
	require.NoError(t, err)
	assert.JSONEq(t, asJSON(t, file), asJSON(t, again))
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
			file, err := template.Read("file", []byte(text))
			require.NoError(t, err)
			templates := file.Templates
			assert.Len(t, templates, 1+strings.Count(text, `"b"`))
			assert.Equal(t, "one.yml", templates[0].Playbooks[0].URI)
		})
	}
}

// doc is a template with more members, and playbook one with another playbook.
func doc(more string) string {
	return "fq_name: [a, b]\nplaybooks: [{playbook_uri: one.yml}]\n" + more
}

func playbook(more string) string {
	return "fq_name: [a, b]\nplaybooks:\n- playbook_uri: ok.yml\n- " + more
}

// at is where problems of both are.
const at = "f.yaml: document 1 (a:b): "

// refused are texts that are not read, and what is said of them.
var refused = map[string]struct{ text, want string }{
	"nothing":                      {text: "# nothing\n", want: "f.yaml: there is no job template in it"},
	"no YAML":                      {text: "a: [", want: "f.yaml: document 1: not YAML: "},
	"no JSON":                      {text: `{"a": 1,,}`, want: "f.yaml: document 1: not JSON: "},
	"no object":                    {text: "- a\n", want: "f.yaml: document 1: a JSON object is needed"},
	"not UTF-8":                    {text: "a: \xff", want: "not valid UTF-8"},
	"no fq_name":                   {text: "playbooks: [{playbook_uri: one.yml}]", want: "f.yaml: document 1: fq_name: it is missing: give a list"},
	"no playbooks":                 {text: "fq_name: [a, b]", want: at + "the job template a:b has no playbooks"},
	"unknown property":             {text: doc("colour: red"), want: at + "colour: the property is unknown"},
	"property in another case":     {text: doc("Display_name: x"), want: at + "Display_name: the property is unknown"},
	"repeated property":            {text: doc("display_name: x\ndisplay_name: y"), want: at + `the property "display_name" is repeated`},
	"repeated deep in JSON":        {text: `{"fq_name":["a","b"],"playbooks":[{"playbook_uri":"x","playbook_uri":"y"}]}`, want: at + `the property "playbooks[0].playbook_uri" is repeated`},
	"merge key":                    {text: doc("<<: {display_name: x}"), want: at + "line 3: merge keys (<<) are not read"},
	"tag":                          {text: doc("display_name: !secret x"), want: at + "line 3: the tag !secret is not read"},
	"a name that is null":          {text: doc("~: x"), want: at + "line 3: a property's name is a string"},
	"a number beyond JSON":         {text: doc("display_name: .inf"), want: at + "line 3: .inf is no number of JSON"},
	"fq_name as text":              {text: "fq_name: a:b\nplaybooks: [{playbook_uri: x}]", want: `f.yaml: document 1: fq_name: "a:b" is not a list of strings`},
	"fq_name with a number":        {text: "fq_name: [a, 3]\nplaybooks: [{playbook_uri: x}]", want: "fq_name[1]: 3 is not a string"},
	"fq_name with a null":          {text: "fq_name: [a, ~]\nplaybooks: [{playbook_uri: x}]", want: "fq_name[1]: it is empty"},
	"fq_name with a colon":         {text: "fq_name: ['a:b']\nplaybooks: [{playbook_uri: x}]", want: "fq_name: part 1 of the fq_name"},
	"display_name as a list":       {text: doc("display_name: [x]"), want: at + `display_name: ["x"] is not a string`},
	"display_name empty":           {text: doc("display_name:"), want: at + "display_name: it is empty: give a string, or leave it out"},
	"unknown concurrency_level":    {text: doc("concurrency_level: all"), want: at + `concurrency_level: "all" is unknown: it is none, device or fabric`},
	"playbooks as an object":       {text: "fq_name: [a, b]\nplaybooks: {playbook_uri: x}", want: at + "playbooks: "},
	"playbook as text":             {text: playbook("one.yml"), want: at + "playbooks[1]: it is not an object"},
	"playbook without a uri":       {text: playbook("timeout: 3m"), want: at + "playbooks[1]: playbook_uri is missing: give it, or an executable"},
	"playbook_uri outside":         {text: playbook("playbook_uri: ../one.yml"), want: at + `playbooks[1].playbook_uri: "../one.yml" leaves the playbook folder`},
	"playbook_uri absolute":        {text: playbook("playbook_uri: /one.yml"), want: "leaves the playbook folder"},
	"playbook's unknown":           {text: playbook("{playbook_uri: x, uri: y}"), want: at + "playbooks[1].uri: the property is unknown"},
	"weightage as text":            {text: playbook("{playbook_uri: x, job_completion_weightage: '9'}"), want: at + `playbooks[1].job_completion_weightage: "9" is not a number`},
	"weightage over 100":           {text: playbook("{playbook_uri: x, job_completion_weightage: 101}"), want: at + "playbooks[1].job_completion_weightage: 101 is not a number from 0 to 100"},
	"timeout as a number":          {text: playbook("{playbook_uri: x, timeout: 30}"), want: at + "playbooks[1].timeout: 30 is not a time such as 30m"},
	"timeout below zero":           {text: playbook("{playbook_uri: x, timeout: -1s}"), want: at + "playbooks[1].timeout: -1s is not above zero: give a time such as 30m"},
	"abortable as a word":          {text: playbook("{playbook_uri: x, abortable: yes}"), want: at + `playbooks[1].abortable: "yes" is not true or false`},
	"recovery's unknown":           {text: doc("recovery_playbooks: [{playbook_uri: x, uri: x}]"), want: at + "recovery_playbooks[0].uri: the property is unknown"},
	"schema as text":               {text: doc("input_schema: 'x'"), want: at + "input_schema: it is not a JSON Schema as an object"},
	"schema as true":               {text: doc("output_schema: true"), want: at + "output_schema: it is not a JSON Schema as an object"},
	"schema in a string, a list":   {text: doc("output_schema: '[]'"), want: at + "output_schema: it is not a JSON Schema as an object"},
	"schema in a string, no JSON":  {text: doc("output_schema: '{'"), want: at + "output_schema: not JSON: "},
	"schema in a string, repeated": {text: doc("input_schema: '{\"type\":\"object\",\"type\":\"object\"}'"), want: at + `input_schema: the property "type" is repeated`},
	"schema in a string is none":   {text: doc("output_schema: '{\"type\":3}'"), want: at + "output_schema: it is not a JSON Schema: #/type: "},
	"schema empty":                 {text: doc("input_schema:"), want: at + "input_schema: it is not a JSON Schema as an object"},
	"schema is none":               {text: doc("input_schema: {type: objekt}"), want: at + "input_schema: it is not a JSON Schema: #/type: "},
	"schema's pattern":             {text: doc("input_schema: {pattern: '('}"), want: at + "input_schema: it is not a JSON Schema: "},
	"schema from the network":      {text: doc("input_schema: {$ref: 'http://127.0.0.1:1/x.json'}"), want: at + "input_schema: it refers to http://127.0.0.1:1/x.json: only what is inside"},
	"schema from a file":           {text: doc("input_schema: {$ref: 'file:///etc/passwd'}"), want: at + "input_schema: it refers to file:///etc/passwd"},
	"schema's draft unknown":       {text: doc("input_schema: {$schema: 'http://example.com/my'}"), want: at + "input_schema: it refers to http://example.com/my"},
	"schema's number":              {text: `{"fq_name":["a","b"],"playbooks":[{"playbook_uri":"x"}],"input_schema":{"const":1e999}}`, want: at + "input_schema: the number 1e999 is out of range"},
	"the same name twice":          {text: doc("") + "---\n" + doc(""), want: "document 2 (a:b): fq_name: document 1 has the same"},
	"grows by aliases":             {text: "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g]\n", want: "is too large, or nests too deep"},
	"nests too deep":               {text: doc("input_schema: {const: " + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "}"), want: at + "line 3: the document is too large, or nests too deep"},
	"alias inside itself":          {text: "a: &a [*a]\n", want: "is too large, or nests too deep"},
	"playbooks empty":              {text: "fq_name: [a, b]\nplaybooks: []", want: at + "playbooks: the list is empty: give at least one"},
	"uuid is none":                 {text: doc("uuid: 12"), want: at + "uuid: 12 is not a UUID such as"},
	"uuid in another form":         {text: doc("uuid: '{1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11}'"), want: at + `uuid: "{1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11}" is not a UUID such as`},
	"uuid without dashes":          {text: doc("uuid: 1f1b3f0c5a4e4c399d0c6f6d0e2a7b11"), want: at + "uuid: "},
	"the same uuid twice":          {text: doc("uuid: 1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11") + "\n---\nfq_name: [c]\nplaybooks: [{playbook_uri: x}]\nuuid: 1F1B3F0C-5A4E-4C39-9D0C-6F6D0E2A7B11", want: "f.yaml: document 2 (c): uuid: document 1 has the same, 1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11"},
	"another's made uuid":          {text: doc("") + "---\nfq_name: [c]\nplaybooks: [{playbook_uri: x}]\nuuid: " + uuidAB, want: "f.yaml: document 2 (c): uuid: document 1 has the same, " + uuidAB},
	"description as a number":      {text: doc("description: 3"), want: at + "description: 3 is not a string"},
	"concurrency_level empty":      {text: doc("concurrency_level: ''"), want: at + `concurrency_level: "" is unknown`},
	"synchronous as a word":        {text: doc("synchronous: sure"), want: at + `synchronous: "sure" is not true or false`},
	"node_labels as a list":        {text: doc("node_labels: [a]"), want: at + "node_labels: it is not an object of strings"},
	"a label's number":             {text: doc("node_labels: {a: b, c: 3}"), want: at + "node_labels.c: 3 is not a string"},
	"a label's null":               {text: doc("node_labels: {a: ~}"), want: at + "node_labels.a: it is empty"},
	"a label without a name":       {text: doc("node_labels: {'': x}"), want: at + "node_labels: a label's name is empty"},
	"timeout of zero":              {text: doc("timeout: 0s"), want: at + "timeout: 0s is not above zero: give a time such as 30m"},
	"queue_timeout below zero":     {text: doc("queue_timeout: -1m"), want: at + "queue_timeout: -1m0s is not above zero"},
	"queue_timeout as a number":    {text: doc("queue_timeout: 30"), want: at + "queue_timeout: 30 is not a time such as 30m"},
	"recovery as a word":           {text: doc("recovery: false"), want: at + "recovery: it is not an object such as"},
	"recovery policy's unknown":    {text: doc("recovery: {on_abort: true}"), want: at + "recovery.on_abort: the property is unknown"},
	"recovery policy's number":     {text: doc("recovery: {on_force: 1}"), want: at + "recovery.on_force: 1 is not true or false"},
	"playbook and executable":      {text: playbook("{playbook_uri: x, executable: y}"), want: at + "playbooks[1]: there are playbook_uri and executable: give one of them"},
	"playbook_uri empty":           {text: playbook("playbook_uri: ' '"), want: at + "playbooks[1].playbook_uri: it is empty"},
	"playbook_uri too long":        {text: playbook("playbook_uri: " + strings.Repeat("x", 1025)), want: "has 1025 bytes: at most 1024"},
	"playbook_uri's control":       {text: playbook(`playbook_uri: "a\tb"`), want: at + `playbooks[1].playbook_uri: "a\tb" holds a control character`},
	"executable outside":           {text: playbook("executable: /bin/sh"), want: at + `playbooks[1].executable: "/bin/sh" leaves the playbook folder`},
	"executable_args alone":        {text: playbook("{playbook_uri: x, executable_args: []}"), want: at + "playbooks[1].executable_args: it goes with executable"},
	"executable_args as text":      {text: playbook("{executable: x, executable_args: a b}"), want: at + `playbooks[1].executable_args: "a b" is not a list of strings`},
	"executable_args' number":      {text: playbook("{executable: x, executable_args: [a, 3]}"), want: at + "playbooks[1].executable_args[1]: 3 is not a string"},
	"executable_args' NUL":         {text: playbook(`{executable: x, executable_args: ["a\0"]}`), want: at + `playbooks[1].executable_args[0]: "a\x00" holds a NUL`},
	"multi_device_playbook":        {text: playbook("{playbook_uri: x, multi_device_playbook: 1}"), want: at + "playbooks[1].multi_device_playbook: 1 is not true or false"},
	"vendor as a list":             {text: playbook("{playbook_uri: x, vendor: [y]}"), want: at + `playbooks[1].vendor: ["y"] is not a string`},
	"device_family's null":         {text: playbook("{playbook_uri: x, device_family: ~}"), want: at + "playbooks[1].device_family: it is empty"},
	"weightage below 0":            {text: playbook("{playbook_uri: x, job_completion_weightage: -0.5}"), want: at + "playbooks[1].job_completion_weightage: -0.5 is not a number from 0 to 100"},
	"sequence_no as text":          {text: playbook("{playbook_uri: x, sequence_no: first}"), want: at + `playbooks[1].sequence_no: "first" is not a number`},
	"max_retries too many":         {text: playbook("{playbook_uri: x, max_retries: 101}"), want: at + "playbooks[1].max_retries: 101 is not a whole number from 0 to 100"},
	"max_retries below 0":          {text: playbook("{playbook_uri: x, max_retries: -1}"), want: "max_retries: -1 is not a whole number"},
	"max_retries by half":          {text: playbook("{playbook_uri: x, max_retries: 1.5}"), want: "max_retries: 1.5 is not a whole number"},
	"too many playbooks":           {text: "fq_name: [a, b]\nplaybooks: [" + strings.Repeat("{playbook_uri: x},", 65) + "]", want: at + "the job template a:b has 65 playbooks: at most 64"},
	"Contrail's member":            {text: doc("job_template_type: workflow"), want: at + "job_template_type: the property is unknown"},
	"data in a template":           {text: doc("data: []"), want: at + "data: the property is unknown"},
}

func TestReadRefuses(t *testing.T) {
	for name, c := range refused {
		t.Run(name, func(t *testing.T) {
			file, err := template.Read("f.yaml", []byte(c.text))
			require.Error(t, err)
			assert.Zero(t, file)
			assert.Contains(t, err.Error(), c.want)
			assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
		})
	}
}

// TestReadTellsEveryProblem has problems in two documents and behind them.
func TestReadTellsEveryProblem(t *testing.T) {
	_, err := template.Read("f.yaml", []byte("fq_name: [a]\ncolour: red\nplaybooks: [{timeout: 3, uri: x, job_completion_weightage: 300}]\n---\nfq_name: [b]\nsize: 3\n---\n: ["))
	require.Error(t, err)
	for _, want := range []string{
		"f.yaml: 8 problems:", "\n- document 1 (a): colour: ", "\n- document 1 (a): playbooks[0].timeout: ",
		"\n- document 1 (a): playbooks[0].uri: ", "\n- document 1 (a): playbooks[0].job_completion_weightage: ",
		"\n- document 1 (a): playbooks[0]: playbook_uri is missing", "\n- document 2 (b): size: ",
		"\n- document 2 (b): the job template b has no playbooks", "\n- document 3: not YAML: ",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

func TestReadBoundsTheMessage(t *testing.T) {
	_, err := template.Read("f.yaml", []byte("fq_name: [a]\nplaybooks: ["+strings.Repeat("3,", 1000)+"]"))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "f.yaml: 1000 problems:")
	assert.Contains(t, err.Error(), "\n- and 800 more")
	assert.Equal(t, 201, strings.Count(err.Error(), "\n- "))
}

// TestReadTellsNoToken has a secret that is read past.
func TestReadTellsNoToken(t *testing.T) {
	_, err := template.Read("f.yaml", []byte("fq_name: [a]\nplaybooks: [{playbook_uri: /x, refresh_token: {key: s3cret}}]"))
	require.ErrorContains(t, err, "leaves the playbook folder")
	assert.NotContains(t, err.Error(), "s3cret")
}

func TestReadInOrder(t *testing.T) {
	for name, c := range map[string]struct{ list, want string }{
		"none has a number":                  {"c a b", "c a b"},
		"all have one":                       {"c:3 a:1 b:2", "a b c"},
		"the same number keeps the order":    {"c:2 a:1 d:2 b:1", "a b c d"},
		"fractions and below zero":           {"c:1.5 b:1.25 a:-3", "a b c"},
		"one without stays where it follows": {"c:3 d a:1 b", "a b c d"},
		"those before any come first":        {"a b d:2 c:1", "a b c d"},
		"zero is a number":                   {"b:1 a:0 c:2", "a b c"},
		"a long list keeps its order":        {strings.Repeat("b:2 a:1 x ", 20), strings.Repeat("a x ", 20) + strings.TrimSpace(strings.Repeat("b ", 20))},
	} {
		t.Run(name, func(t *testing.T) {
			var list []string
			for _, item := range strings.Fields(c.list) {
				uri, number, numbered := strings.Cut(item, ":")
				text := `{"playbook_uri":"` + uri + `"`
				if numbered {
					text += `,"sequence_no":` + number
				}
				list = append(list, text+"}")
			}
			for _, member := range []string{"playbooks", "recovery_playbooks"} {
				text := `{"fq_name":["a"],"playbooks":[{"playbook_uri":"x"}],"recovery_playbooks":[{"playbook_uri":"x"}]}`
				text = strings.Replace(text, `"`+member+`":[{"playbook_uri":"x"}]`, `"`+member+`":[`+strings.Join(list, ",")+`]`, 1)
				file, err := template.Read("f.json", []byte(text))
				require.NoError(t, err)
				playbooks := map[string][]quell.Playbook{
					"playbooks": file.Templates[0].Playbooks, "recovery_playbooks": file.Templates[0].RecoveryPlaybooks,
				}[member]
				var got []string
				for _, p := range playbooks {
					got = append(got, p.URI)
				}
				assert.Equal(t, c.want, strings.Join(got, " "), member)
			}
		})
	}
}

// TestReadExamples reads the templates that come with Quell.
func TestReadExamples(t *testing.T) {
	paths, err := filepath.Glob("../../examples/templates/*")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		file, err := template.ReadFile(path)
		require.NoError(t, err)
		assert.NotEmpty(t, file.Templates, path)
		assert.Empty(t, file.Skipped, path)
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
	file, err := template.ReadFile(path)
	require.NoError(t, err)
	assert.Len(t, file.Templates, 3)
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
		"data: []":                             "it is a payload of Contrail: give one job template in Quell's own format",
	} {
		got, err := template.ReadNamed("the request body", []byte(text), name)
		if want == "" {
			require.NoError(t, err, text)
			assert.Equal(t, name, got.FQName)
			assert.Equal(t, uuidAB, got.UUID)
			continue
		}
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), want)
		assert.Contains(t, err.Error(), "the request body: ")
	}
	_, err := template.ReadNamed("the request body", []byte(rest), quell.FQName{""})
	assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		full, "a: &a [*a]", "{fq_name: [a], playbooks: [{playbook_uri: one.yml}]}", "<<: {}", "? [a]\n: b", "- !!binary x",
		`{"fq_name":["a"],"playbooks":[{"playbook_uri":"x","timeout":"1s"}]}`, "fq_name: [a]\ninput_schema: {$ref: '#'}",
		payload(`{"fq_name":["a"],"job_template_executables":{"executable_info":[{"executable_path":"x","executable_args":"'a' \\"}]}}`),
		payload(`{"fq_name":["a"],"job_template_playbooks":{"playbook_info":[{"playbook_uri":"x","sequence_no":2,"vendor":""}]},"job_template_input_schema":"{}"}`),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := template.Read("fuzz", data)
		if err != nil {
			require.Zero(t, file)
			require.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			return
		}
		for _, one := range file.Templates {
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
