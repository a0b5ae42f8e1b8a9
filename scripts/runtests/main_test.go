package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSummary(t *testing.T) {
	tests := map[string]struct {
		lines          []string
		passed, failed int
		shown          string
	}{
		"passed": {[]string{
			`{"Action":"run","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Test":"TestA","Output":"\"Action\":\"fail\" quietly\n"}`,
			`{"Action":"pass","Package":"p","Test":"TestA/sub"}`,
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p","Elapsed":1.5}`,
		}, 2, 0, "ok  \tp\t1.5s"},
		"failed": {[]string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"it broke\n"}`,
			`{"Action":"fail","Package":"p","Test":"TestA"}`,
			`{"Action":"fail","Package":"p"}`,
		}, 0, 1, "it broke"},
		"skipped": {[]string{
			`{"Action":"skip","Package":"p","Test":"TestA"}`,
			`{"Action":"pass","Package":"p"}`,
			`{"Action":"skip","Package":"q"}`,
		}, 0, 0, "skipped: p TestA"},
		"not built": {[]string{
			`{"ImportPath":"p","Action":"build-output","Output":"undefined: x\n"}`,
			`{"ImportPath":"p","Action":"build-fail"}`,
			`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
		}, 0, 1, "undefined: x"},
		"died in a test": {[]string{
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: dead\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, 0, 1, "panic: dead"},
		"a leak found by TestMain": {[]string{
			`{"Action":"pass","Package":"p","Test":"TestA"}`,
			`{"Action":"output","Package":"p","Output":"found unexpected goroutines\n"}`,
			`{"Action":"fail","Package":"p"}`,
		}, 1, 1, "found unexpected goroutines"},
		"no JSON": {[]string{"go: no such tool"}, 0, 0, "no such tool"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			s.read(strings.NewReader(strings.Join(tt.lines, "\n")))
			s.close()
			require.Equal(t, tt.passed, s.passed)
			require.Equal(t, tt.failed, s.failed)
			require.Contains(t, out.String(), tt.shown)
			require.NotContains(t, out.String(), "quietly")
		})
	}
}

func TestSummaryFindsFuzzTargets(t *testing.T) {
	s := newSummary(&strings.Builder{})
	s.read(strings.NewReader(`{"Action":"run","Package":"p","Test":"FuzzX"}
{"Action":"run","Package":"p","Test":"FuzzX/seed#0"}
{"Action":"run","Package":"p","Test":"TestFuzzY"}
`))
	require.Equal(t, []target{{"p", "FuzzX"}}, s.targets)
}
