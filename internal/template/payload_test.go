package template_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"quell"
	"quell/internal/template"
)

// payload wraps a job template as Contrail's payload file does.
func payload(objects ...string) string {
	return `{"data":[{"object_type":"job-template","objects":[` + strings.Join(objects, ",") + `]}]}`
}

const payloadPath = "testdata/contrail_payload.json"

// contrailPlaybook names a playbook as Contrail's files do.
func contrailPlaybook(name string) quell.Playbook {
	return quell.Playbook{URI: "./opt/contrail/fabric_ansible_playbooks/" + name}
}

// TestReadPayloadTexts: texts stand for numbers, for true and false, and for
// paths from the root.
func TestReadPayloadTexts(t *testing.T) {
	file, err := template.Read("f.json", []byte(payload(`{"fq_name":["a"],"job_template_playbooks":{"playbook_info":[
		{"playbook_uri":"/opt/contrail/fabric_ansible_playbooks/b.yml","multi_device_playbook":"True","job_completion_weightage":"10","sequence_no":"2"},
		{"playbook_uri":"a.yml","multi_device_playbook":"false","sequence_no":1}]}}`)))
	require.NoError(t, err)
	b := contrailPlaybook("b.yml")
	b.MultiDevice, b.Weight = true, new(10.0)
	assert.Equal(t, []quell.Playbook{{URI: "a.yml"}, b}, file.Templates[0].Playbooks)
}

func TestReadPayload(t *testing.T) {
	file, err := template.ReadFile(payloadPath)
	require.NoError(t, err)
	assert.Equal(t, []string{
		payloadPath + `: skipped 3 objects of type "tag": only job templates are read`,
		payloadPath + `: skipped 1 object of type "fabric": only job templates are read`,
		payloadPath + `: skipped 0 objects of type "telemetry-profile": only job templates are read`,
	}, file.Skipped)
	byName := map[string]quell.Template{}
	for _, one := range file.Templates {
		require.Len(t, one.FQName, 2)
		assert.Equal(t, "default-global-system-config", one.FQName[0])
		assert.Len(t, one.UUID, 36)
		byName[one.FQName[1]] = one
	}
	require.Len(t, file.Templates, 6)
	require.Len(t, byName, 6)

	image := byName["greenhouse_image_template"]
	check, first, start := contrailPlaybook("greenhouse_check.yml"), contrailPlaybook("greenhouse_copy.yml"), contrailPlaybook("greenhouse_start.yml")
	check.Weight = new(5.0)
	first.MultiDevice, first.Vendor, first.Weight = true, "Fern", new(25.0)
	start.MultiDevice, start.Vendor, start.DeviceFamily, start.Weight = true, "Fern", "fern-qx", new(70.0)
	assert.Equal(t, "5e0c1f7a-3b52-4d0b-8c61-2a9d4f6b7e10", image.UUID)
	assert.Equal(t, "Put an image on switches", image.DisplayName)
	assert.Equal(t, "Copies an image to each switch and starts it anew", image.Description)
	assert.Equal(t, quell.ConcurrencyDevice, image.Concurrency)
	assert.Equal(t, []quell.Playbook{check, first, start}, image.Playbooks)
	assert.Equal(t, []quell.Playbook{contrailPlaybook("greenhouse_undo.yml")}, image.RecoveryPlaybooks)
	require.ErrorContains(t, template.CheckInput(image, json.RawMessage(`{"image":"","fabric_fq_name":["a","b"],"slots":0}`)), "#/slots: ")
	require.ErrorContains(t, template.CheckOutput(image, json.RawMessage(`{"done":1}`)), "#/done: ")

	onboard, link := byName["orchard_onboard_template"], contrailPlaybook("orchard_link.yml")
	link.Weight = new(40.0)
	assert.Equal(t, quell.ConcurrencyFabric, onboard.Concurrency)
	assert.Empty(t, onboard.Description)
	assert.Empty(t, onboard.InputSchema)
	assert.Empty(t, onboard.OutputSchema)
	assert.Equal(t, []quell.Playbook{contrailPlaybook("orchard_find.yml"), contrailPlaybook("orchard_name.yml"), link}, onboard.Playbooks)
	assert.Equal(t, []quell.Playbook{contrailPlaybook("orchard_forget.yml"), contrailPlaybook("orchard_unlink.yml")}, onboard.RecoveryPlaybooks)
}

func TestReadPayloadWithExecutables(t *testing.T) {
	file, err := template.ReadFile(payloadPath)
	require.NoError(t, err)
	byName := map[string]quell.Template{}
	for _, one := range file.Templates {
		byName[one.FQName[1]] = one
	}
	count := byName["meadow_count_template"]
	assert.True(t, count.Synchronous)
	assert.Empty(t, count.Concurrency)
	assert.JSONEq(t, `{"type":"object","required":["device_list"]}`, string(count.InputSchema))
	assert.Equal(t, []quell.Playbook{
		{
			Executable: "./opt/contrail/fabric_ansible_playbooks/bin/meadow_count", Weight: new(60.0),
			Args: []string{"--out", "/tmp/the count.json", "--label", `a "b"`, "c d", ""},
		},
		{Executable: "./opt/contrail/fabric_ansible_playbooks/bin/meadow_tell", Args: []string{"--to", "two words"}},
		{Executable: "./opt/contrail/fabric_ansible_playbooks/bin/meadow_sweep"},
	}, count.Playbooks)
	assert.Empty(t, count.RecoveryPlaybooks)

	// The executable comes last.
	assert.Equal(t, []quell.Playbook{contrailPlaybook("hedge_trim.yml"), {Executable: "bin/hedge_rake"}}, byName["hedge_trim_template"].Playbooks)
	assert.Empty(t, byName["pond_level_template"].DisplayName)
	assert.JSONEq(t, `{}`, string(byName["pond_level_template"].InputSchema))
	// Two without a number, which then come first, and two that are sorted.
	sweep := contrailPlaybook("path_sweep.yml")
	sweep.MultiDevice = true
	assert.Equal(t, []quell.Playbook{
		contrailPlaybook("path_look.yml"), sweep, contrailPlaybook("path_gate.yml"), contrailPlaybook("path_report.yml"),
	}, byName["path_sweep_template"].Playbooks)
}

// TestReadPayloadBack stores the templates of a payload as the API does.
func TestReadPayloadBack(t *testing.T) {
	file, err := template.ReadFile(payloadPath)
	require.NoError(t, err)
	for _, one := range file.Templates {
		again, err := template.ReadNamed("the request body", []byte(asJSON(t, one)), one.FQName)
		require.NoError(t, err)
		assert.JSONEq(t, asJSON(t, one), asJSON(t, again))
	}
}

// TestReadPayloadAsYAML reads the payload in YAML, and beside a template of
// Quell's own.
func TestReadPayloadAsYAML(t *testing.T) {
	data, err := os.ReadFile(payloadPath)
	require.NoError(t, err)
	want, err := template.Read("f", data)
	require.NoError(t, err)
	var value any
	require.NoError(t, json.Unmarshal(data, &value))
	text, err := yaml.Marshal(value)
	require.NoError(t, err)
	got, err := template.Read("f", text)
	require.NoError(t, err)
	require.JSONEq(t, asJSON(t, want), asJSON(t, got))

	both, err := template.Read("f", []byte("fq_name: [a, b]\nplaybooks: [{playbook_uri: x}]\n---\n"+string(text)))
	require.NoError(t, err)
	assert.Len(t, both.Templates, 7)
	assert.Equal(t, want.Skipped, both.Skipped)
}

// TestReadPayloadLoosely has what Contrail reads and Quell's own format
// refuses.
func TestReadPayloadLoosely(t *testing.T) {
	const steps = `"job_template_playbooks":{"playbook_info":[{"playbook_uri":"one.yml"}]}`
	for name, text := range map[string]string{
		"an unknown member":          payload(`{"fq_name":["a","b"],"colour":{"x":[null]},` + steps + `}`),
		"unknown members above":      `{"version":3,"data":[{"object_type":"job-template","note":1,"objects":[{"fq_name":["a","b"],` + steps + `}]}]}`,
		"an unknown member below":    payload(`{"fq_name":["a","b"],"job_template_playbooks":{"x":1,"playbook_info":[{"playbook_uri":"one.yml","x":1}]}}`),
		"a repeated member":          payload(`{"fq_name":["x"],"fq_name":["a","b"],` + steps + `}`),
		"a schema's repeated member": payload(`{"fq_name":["a","b"],"job_template_input_schema":{"type":"array","type":"object"},` + steps + `}`),
		"the type's other spelling":  strings.Replace(payload(`{"fq_name":["a","b"],`+steps+`}`), "job-template", "job_template", 1),
		"nulls": payload(`{"fq_name":["a","b"],"uuid":null,"display_name":null,"job_template_concurrency_level":null,"job_template_synchronous_job":null,` +
			`"job_template_input_schema":null,"job_template_output_schema":null,"job_template_recovery_playbooks":{"playbook_info":null},"job_template_executables":null,` + steps + `}`),
		"empty strings": payload(`{"fq_name":["a","b"],"uuid":"","job_template_synchronous_job":"","job_template_recovery_playbooks":"",` +
			`"job_template_playbooks":{"playbook_info":[{"playbook_uri":"one.yml","job_completion_weightage":"","sequence_no":"","vendor":""}]}}`),
	} {
		t.Run(name, func(t *testing.T) {
			file, err := template.Read("f.json", []byte(text))
			require.NoError(t, err)
			require.Len(t, file.Templates, 1)
			got := file.Templates[0]
			if name == "a schema's repeated member" {
				require.NoError(t, template.CheckInput(got, json.RawMessage(`{}`))) // the last one counts
				_, err := template.ReadNamed("f", []byte(asJSON(t, got)), got.FQName)
				require.NoError(t, err)
				got.InputSchema = nil
			}
			assert.Equal(t, quell.Template{
				FQName: quell.FQName{"a", "b"}, UUID: uuidAB, Playbooks: []quell.Playbook{{URI: "one.yml"}},
			}, got)
		})
	}
}

// infos is a payload with another playbook, and executables one without any.
func infos(more string) string {
	return payload(`{"fq_name":["a","b"],"job_template_playbooks":{"playbook_info":[{"playbook_uri":"one.yml"},` + more + `]}}`)
}

func executables(list string) string {
	return payload(`{"fq_name":["a","b"],"job_template_executables":{"executable_info":[` + list + `]}}`)
}

const (
	// oneTemplate lacks the bracket at its end.
	oneTemplate  = `{"fq_name":["a","b"],"job_template_playbooks":{"playbook_info":[{"playbook_uri":"one.yml"}]}`
	payloadAt    = "f.json: data[0].objects[0] (a:b): "
	infoAt       = "job_template_playbooks.playbook_info[1]"
	executableAt = "job_template_executables.executable_info[0]"
)

// refusedPayloads are payloads that are not read, and what is said of them.
var refusedPayloads = map[string]struct{ text, want string }{
	"data is no list":           {`{"data":{}}`, `f.json: data: {} is not a list such as`},
	"data is null":              {`{"data":null}`, `f.json: data: it is empty`},
	"no entries":                {`{"data":[]}`, "f.json: there is no job template in it"},
	"others only":               {`{"data":[{"object_type":"tag","objects":[{}]}]}`, `f.json: there is no job template in it (skipped 1 object of type "tag": only job templates are read)`},
	"an entry is no object":     {`{"data":[3]}`, "f.json: data[0]: it is not an object such as"},
	"no object_type":            {`{"data":[{"objects":[]}]}`, "f.json: data[0]: object_type: it is missing"},
	"object_type as a number":   {`{"data":[{"object_type":3}]}`, "f.json: data[0]: object_type: 3 is not a string"},
	"objects is no list":        {`{"data":[{"object_type":"job-template","objects":{}}]}`, "f.json: data[0]: objects: {} is not a list of objects"},
	"a template is no object":   {payload("3"), "f.json: data[0].objects[0]: it is not an object: give a job template"},
	"no fq_name":                {payload(`{"name":"x_template","job_template_playbooks":{"playbook_info":[{"playbook_uri":"x"}]}}`), `f.json: data[0].objects[0]: fq_name: it is missing (its name is "x_template"): give a list`},
	"fq_name as text":           {payload(`{"fq_name":"a:b"}`), `data[0].objects[0]: fq_name: "a:b" is not a list of strings`},
	"no step":                   {payload(`{"fq_name":["a","b"]}`), payloadAt + "the job template a:b has neither playbooks nor executables: give at least one"},
	"no step in the lists":      {payload(`{"fq_name":["a","b"],"job_template_playbooks":{"playbook_info":[]},"job_template_executables":{}}`), payloadAt + "the job template a:b has neither playbooks nor executables"},
	"recovery alone":            {payload(`{"fq_name":["a","b"],"job_template_recovery_playbooks":{"playbook_info":[{"playbook_uri":"x"}]}}`), payloadAt + "the job template a:b has neither"},
	"uuid is none":              {payload(oneTemplate + `,"uuid":"x"}`), payloadAt + `uuid: "x" is not a UUID`},
	"unknown level":             {payload(oneTemplate + `,"job_template_concurrency_level":"all"}`), payloadAt + `job_template_concurrency_level: "all" is unknown`},
	"synchronous as text":       {payload(oneTemplate + `,"job_template_synchronous_job":"no"}`), payloadAt + `job_template_synchronous_job: "no" is not true or false`},
	"input schema is none":      {payload(oneTemplate + `,"job_template_input_schema":"{\"type\":3}"}`), payloadAt + "job_template_input_schema: it is not a JSON Schema: #/type: "},
	"output schema is none":     {payload(oneTemplate + `,"job_template_output_schema":[]}`), payloadAt + "job_template_output_schema: it is not a JSON Schema as an object"},
	"schema from the network":   {payload(oneTemplate + `,"job_template_input_schema":{"$ref":"http://127.0.0.1:1/x.json"}}`), payloadAt + "job_template_input_schema: it refers to http://127.0.0.1:1/x.json"},
	"playbooks as a list":       {payload(`{"fq_name":["a","b"],"job_template_playbooks":[]}`), payloadAt + `job_template_playbooks: it is not an object such as {"playbook_info": […]}`},
	"playbook_info an object":   {payload(`{"fq_name":["a","b"],"job_template_playbooks":{"playbook_info":{}}}`), payloadAt + "job_template_playbooks.playbook_info: {} is not a list of playbooks"},
	"a playbook as text":        {infos(`"x"`), payloadAt + infoAt + ": it is not an object"},
	"no playbook_uri":           {infos(`{"vendor":"x"}`), payloadAt + infoAt + ": playbook_uri is missing"},
	"playbook_uri empty":        {infos(`{"playbook_uri":""}`), payloadAt + infoAt + ": playbook_uri is missing"},
	"playbook_uri outside":      {infos(`{"playbook_uri":"../x.yml"}`), payloadAt + infoAt + `.playbook_uri: "../x.yml" leaves the playbook folder`},
	"weightage over 100":        {infos(`{"playbook_uri":"x","job_completion_weightage":101}`), payloadAt + infoAt + ".job_completion_weightage: 101 is not"},
	"sequence_no as text":       {infos(`{"playbook_uri":"x","sequence_no":"two"}`), payloadAt + infoAt + `.sequence_no: "two" is not a number`},
	"no executable_path":        {executables(`{"executable_args":"x"}`), payloadAt + executableAt + ": executable_path is missing"},
	"executable_path outside":   {executables(`{"executable_path":"../x"}`), payloadAt + executableAt + `.executable_path: "../x" leaves the playbook folder`},
	"executable_args a number":  {executables(`{"executable_path":"x","executable_args":3}`), payloadAt + executableAt + ".executable_args: 3 is not a list of strings"},
	"executable_args not ended": {executables(`{"executable_path":"x","executable_args":"a 'b"}`), payloadAt + executableAt + ".executable_args: the quote ' is not closed"},
	"executable_args' backslash": {
		executables(`{"executable_path":"x","executable_args":"a \\"}`), payloadAt + executableAt + ".executable_args: there is nothing behind the last backslash",
	},
	"executable_args' NUL": {executables(`{"executable_path":"x","executable_args":"a b\u0000"}`), payloadAt + executableAt + ".executable_args[1]: "},
	"the same name twice":  {payload(oneTemplate+"}", oneTemplate+"}"), "f.json: data[0].objects[1] (a:b): fq_name: data[0].objects[0] has the same"},
	"the same uuid twice": {
		payload(oneTemplate+`,"uuid":"1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11"}`, strings.Replace(oneTemplate, `"b"`, `"c"`, 1)+`,"uuid":"1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11"}`),
		"f.json: data[0].objects[1] (a:c): uuid: data[0].objects[0] has the same, 1f1b",
	},
	"in the second document": {`{"fq_name":["c"],"playbooks":[{"playbook_uri":"x"}]}` + payload(`{"fq_name":["a","b"]}`), "f.json: document 2, data[0].objects[0] (a:b): the job template"},
	"YAML's mistake":         {"data:\n- object_type: !secret x\n", "f.json: line 2: the tag !secret is not read"},
}

func TestReadPayloadRefuses(t *testing.T) {
	for name, c := range refusedPayloads {
		t.Run(name, func(t *testing.T) {
			file, err := template.Read("f.json", []byte(c.text))
			require.Error(t, err)
			assert.Zero(t, file)
			assert.Contains(t, err.Error(), c.want)
			assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
		})
	}
}

// TestReadPayloadTellsEveryProblem has problems in several objects.
func TestReadPayloadTellsEveryProblem(t *testing.T) {
	text := `{"data":[7,{"object_type":"job-template","objects":[{"fq_name":["a"],"uuid":"x"},` +
		`{"fq_name":["b"],"job_template_playbooks":{"playbook_info":[{"sequence_no":"x"}]}}]}]}`
	_, err := template.Read("f.json", []byte(text))
	require.Error(t, err)
	assert.Equal(t, []string{
		"f.json: 5 problems:",
		`- data[0]: it is not an object such as {"object_type": "job-template", "objects": […]}`,
		`- data[1].objects[0] (a): uuid: "x" is not a UUID such as 1f1b3f0c-5a4e-4c39-9d0c-6f6d0e2a7b11: give one, or leave it out`,
		"- data[1].objects[0] (a): the job template a has neither playbooks nor executables: give at least one",
		"- data[1].objects[1] (b): job_template_playbooks.playbook_info[0]: playbook_uri is missing",
		`- data[1].objects[1] (b): job_template_playbooks.playbook_info[0].sequence_no: "x" is not a number`,
	}, strings.Split(err.Error(), "\n"))
}

func TestExecutableArgs(t *testing.T) {
	for line, want := range map[string][]string{
		`a b`:                 {"a", "b"},
		"  a \t\n b  ":        {"a", "b"},
		`   `:                 nil,
		`'a b' "c d"`:         {"a b", "c d"},
		`a'b c'"d"e`:          {"ab cde"},
		`'' ""`:               {"", ""},
		`a\ b \'c`:            {"a b", "'c"},
		`'a\b "c'`:            {`a\b "c`},
		`"a\"b\\c\d'e"`:       {`a"b\c\d'e`},
		`$HOME *.yml #x`:      {"$HOME", "*.yml", "#x"},
		`"\$x" --y=é\` + " z": {"$x", "--y=é z"},
	} {
		t.Run(line, func(t *testing.T) {
			text := payload(`{"fq_name":["a"],"job_template_executables":{"executable_info":[{"executable_path":"x","executable_args":` + asJSON(t, line) + `}]}}`)
			file, err := template.Read("f.json", []byte(text))
			require.NoError(t, err)
			assert.Equal(t, want, file.Templates[0].Playbooks[0].Args)
		})
	}
}

// FuzzReadPayload reads what FuzzRead would seldom build: any job template
// inside a payload.
func FuzzReadPayload(f *testing.F) {
	data, err := os.ReadFile(payloadPath)
	require.NoError(f, err)
	var whole struct {
		Data []struct {
			Objects []json.RawMessage `json:"objects"`
		} `json:"data"`
	}
	require.NoError(f, json.Unmarshal(data, &whole))
	for _, entry := range whole.Data {
		for _, o := range entry.Objects {
			f.Add(string(o))
		}
	}
	f.Fuzz(func(t *testing.T, object string) {
		file, err := template.Read("fuzz", []byte(payload(object)))
		if err != nil {
			require.Zero(t, file)
			require.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			return
		}
		for _, one := range file.Templates {
			require.NoError(t, one.Check())
			again, err := template.ReadNamed("again", []byte(asJSON(t, one)), one.FQName)
			require.NoError(t, err)
			require.JSONEq(t, asJSON(t, one), asJSON(t, again))
		}
	})
}
