package apiserver

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"quell"
)

func FuzzExecuteBody(f *testing.F) {
	for _, seed := range []string{
		execute, `{"job_template_id":"x","input":{}}`, `{'input':{}}`, `{"job_template_fq_name":["a"],"input":{},"params":{"device_list":["d"]}}`,
		`{"job_template_fq_name":["a"],"input":{},"params":{"device_list":["d","e","d"],"transaction_id":"t","transaction_descr":"\u00e9"}}`,
		`{"job_template_fq_name":null}`, `{"input":{"a":{"b":1,"b":2}}}`, `{"input":{}} x`, "\ufeff{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseExecute(body)
		if err != nil {
			require.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			return
		}
		if req.name != nil {
			require.NoError(t, req.name.Check())
			require.Empty(t, req.templateID)
		}
		var input map[string]any
		require.NoError(t, json.Unmarshal(req.input, &input))
		require.NotNil(t, input)
		// What was accepted says the same when it is written out.
		again := map[string]any{"input": req.input}
		if req.name != nil {
			again["job_template_fq_name"] = req.name
		} else {
			again["job_template_id"] = req.templateID
		}
		params := map[string]any{"transaction_id": req.params.TransactionID, "transaction_descr": req.params.TransactionDescr}
		if req.params.DeviceList != nil {
			params["device_list"] = req.params.DeviceList
			require.Len(t, once(req.params.DeviceList), len(req.params.DeviceList), "each device once")
		}
		again["params"] = params
		text, err := json.Marshal(again)
		require.NoError(t, err)
		second, err := parseExecute(text)
		require.NoError(t, err)
		require.Equal(t, req.name, second.name)
		require.Equal(t, req.params, second.params)
	})
}

func FuzzAbortBody(f *testing.F) {
	for _, seed := range []string{
		`{"input":{}}`, abortOf("force", job1, job2), `{"input":{"job_execution_id":"` + strings.ToUpper(job1) + `"}}`,
		`{"input":{"job_execution_ids":null}}`, `{'input':{}}`, `{"input":{"job_execution_ids":["x","x",""],"abort_mode":"graceful"}}`,
		`{"input":{"job_execution_id":[],"job_execution_ids":[]}}`, `{"input":{},"input":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		req, err := parseAbort(body)
		if err != nil {
			require.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
			return
		}
		require.Contains(t, []quell.Mode{quell.Graceful, quell.Force}, req.mode)
		seen := map[string]bool{}
		for _, id := range req.ids {
			canonical, ok := canonicalID(id)
			require.True(t, !ok || canonical == id)
			require.False(t, seen[id], "duplicates count once")
			seen[id] = true
		}
		// A request that names anything is never one for every job.
		var typed struct {
			Input map[string]json.RawMessage `json:"input"`
		}
		require.NoError(t, json.Unmarshal(body, &typed))
		if mode, ok := typed.Input["abort_mode"]; ok {
			require.JSONEq(t, string(must(json.Marshal(req.mode))), string(mode))
		} else {
			require.Equal(t, quell.Graceful, req.mode, "nobody gets force who did not ask for it")
		}
		named := slices.ContainsFunc([]string{"job_execution_ids", "job_execution_id"}, func(name string) bool {
			value := strings.Join(strings.Fields(string(typed.Input[name])), "")
			return value != "" && value != "[]"
		})
		require.Equal(t, named, len(req.ids) > 0)
	})
}
