package apiserver

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestABrowserIsSentToThePage(t *testing.T) {
	for accept, want := range map[string]int{
		"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8": http.StatusSeeOther,
		"application/json, Text/HTML;q=0.5":               http.StatusSeeOther,
		"":                                                http.StatusOK,
		"*/*":                                             http.StatusOK,
		"application/json":                                http.StatusOK,
		"text/htmlx, ;;":                                  http.StatusOK,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		w := httptest.NewRecorder()
		(&Server{}).root(w, r)
		assert.Equal(t, want, w.Code, accept)
		assert.Equal(t, "Accept", w.Header().Get("Vary"), accept)
		if want == http.StatusSeeOther {
			assert.Equal(t, "/ui/", w.Header().Get("Location"), accept)
		}
	}
}
