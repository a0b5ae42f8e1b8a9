package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"quell"
	"quell/apiserver"
)

// The page's types are generated from what the API says now.
func TestCommittedOpenAPIIsTrue(t *testing.T) {
	committed, err := os.ReadFile("../../web/openapi.json")
	require.NoError(t, err)
	text, err := apiserver.OpenAPI()
	require.NoError(t, err)
	require.Equal(t, string(text), string(committed), "web/openapi.json is out of date: make reference")
}

// The committed page is what the code says now.
func TestReferenceIsTrue(t *testing.T) {
	committed, err := os.ReadFile("../../docs/reference.md")
	require.NoError(t, err)
	text, err := reference(newApp(&bytes.Buffer{}, &bytes.Buffer{}, nil))
	require.NoError(t, err)
	require.Equal(t, text, string(committed), "docs/reference.md is out of date: make reference")
	require.Len(t, meanings, len(quell.Statuses))
	for _, s := range quell.Statuses {
		require.NotEmpty(t, meanings[s], s)
	}
	require.Contains(t, text, "quell_abort_seen_seconds")
}
