package quell_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"quell"
)

func TestWeights(t *testing.T) {
	const none = -1
	for _, tt := range []struct{ given, want []float64 }{
		{[]float64{none}, []float64{1}},
		{[]float64{none, none, none, none}, []float64{.25, .25, .25, .25}},
		{[]float64{90, none}, []float64{.9, .1}},
		{[]float64{90, none, none}, []float64{.9, .05, .05}},
		{[]float64{20, 80}, []float64{.2, .8}},
		{[]float64{10, 30}, []float64{.25, .75}},
		{[]float64{100, 100}, []float64{.5, .5}},
		{[]float64{100, 100, none}, []float64{.5, .5, 0}},
		{[]float64{0, 0}, []float64{.5, .5}},
		{[]float64{0, none}, []float64{0, 1}},
	} {
		var template quell.Template
		for _, w := range tt.given {
			p := quell.Playbook{URI: "a.yml"}
			if w != none {
				p.Weight = &w
			}
			template.Playbooks = append(template.Playbooks, p)
		}
		weights, sum := template.Weights(), 0.0
		for _, w := range weights {
			sum += w
		}
		assert.InDelta(t, 1, sum, 1e-9, tt.given)
		assert.InDeltaSlice(t, tt.want, weights, 1e-9, tt.given)
	}
}

func TestTemplateCheck(t *testing.T) {
	weight := func(w float64) func(*quell.Template) {
		return func(t *quell.Template) { t.Playbooks[1].Weight = &w }
	}
	uri := func(uri string) func(*quell.Template) {
		return func(t *quell.Template) { t.RecoveryPlaybooks[0].URI = uri }
	}
	for _, good := range []func(*quell.Template){
		func(*quell.Template) {}, weight(0), weight(100), timeout, unabortable, noRecovery, many(62, 10), many(8, 1000), uri("ü/ä.yml"),
	} {
		require.NoError(t, template(good).Check())
	}
	for says, bad := range map[string]func(*quell.Template){
		"the fq_name is empty":                                 func(t *quell.Template) { t.FQName = nil },
		"default:upgrade has no playbooks: give at least one":  func(t *quell.Template) { t.Playbooks = nil },
		"has 65 playbooks: at most 64":                         many(63, 10),
		"together: at most 8192":                               many(9, 1000),
		"playbooks[1]: job_completion_weightage -1 is not":     weight(-1),
		"playbooks[1]: job_completion_weightage 100.5 is not":  weight(100.5),
		"playbooks[1]: job_completion_weightage NaN is not":    weight(math.NaN()),
		"playbooks[1]: job_completion_weightage +Inf is not":   weight(math.Inf(1)),
		"playbooks[0]: timeout -1s is below zero":              func(t *quell.Template) { t.Playbooks[0].Timeout = -1e9 },
		"recovery_playbooks[0]: playbook_uri is missing":       uri(" "),
		"recovery_playbooks[0]: playbook_uri is longer than":   uri(strings.Repeat("x", 1025)),
		`recovery_playbooks[0]: playbook_uri "a\x00" is no`:    uri("a\x00"),
		`recovery_playbooks[0]: playbook_uri "a\xff" is no`:    uri("a\xff"),
		"part 2 of the fq_name \"default:\" is empty":          func(t *quell.Template) { t.FQName[1] = "" },
		"part 1 of the fq_name \" a:upgrade\" is empty or has": func(t *quell.Template) { t.FQName[0] = " a" },
	} {
		err := template(bad).Check()
		require.ErrorContains(t, err, says)
		assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
	}
}

// many gives a template n playbooks beside its two recovery playbooks, with
// names of so many bytes.
func many(n, size int) func(*quell.Template) {
	return func(t *quell.Template) {
		t.Playbooks = nil
		for range n {
			t.Playbooks = append(t.Playbooks, quell.Playbook{URI: strings.Repeat("x", size)})
		}
	}
}

func TestFQName(t *testing.T) {
	n, err := quell.ParseFQName("default-global-system-config:image_upgrade_template")
	require.NoError(t, err)
	assert.Equal(t, quell.FQName{"default-global-system-config", "image_upgrade_template"}, n)
	assert.Equal(t, "default-global-system-config:image_upgrade_template", n.String())
	for _, text := range []string{"", ":", "a:", ":a", "a: b", "a:b\n", "a\x7f", "a\xff", strings.Repeat("x", 513)} {
		_, err := quell.ParseFQName(text)
		require.Error(t, err, text)
		assert.Equal(t, quell.CodeInvalid, quell.CodeOf(err))
	}
	require.Error(t, quell.FQName{"a:b"}.Check())
}

func TestDuration(t *testing.T) {
	var p quell.Playbook
	require.NoError(t, json.Unmarshal([]byte(`{"timeout":"90s"}`), &p))
	assert.Equal(t, quell.Duration(90*time.Second), p.Timeout)
	assert.Contains(t, encode(t, p), `"timeout":"1m30s"`)
	assert.NotContains(t, encode(t, quell.Playbook{}), "timeout")
	for _, text := range []string{`{"timeout":90}`, `{"timeout":"soon"}`, `{"timeout":"90"}`} {
		require.ErrorContains(t, json.Unmarshal([]byte(text), &p), "is not a time such as", text)
	}
}

func TestMayKill(t *testing.T) {
	yes, no := true, false
	assert.True(t, quell.Playbook{}.MayKill())
	assert.True(t, quell.Playbook{Abortable: &yes}.MayKill())
	assert.False(t, quell.Playbook{Abortable: &no}.MayKill())
}
