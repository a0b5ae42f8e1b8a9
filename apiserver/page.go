package apiserver

import (
	"mime"
	"net/http"
	"strings"

	"quell/web"
)

// root sends a browser on to the job summary page. Programs get the discovery
// document, as from Contrail; one that takes anything is no browser.
func (s *Server) root(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Accept")
	if takesHTML(r) {
		http.Redirect(w, r, web.Base, http.StatusSeeOther)
		return
	}
	s.discovery(w, r)
}

// takesHTML says whether the request asks for HTML by name.
func takesHTML(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for wanted := range strings.SplitSeq(line, ",") {
			if name, _, err := mime.ParseMediaType(wanted); err == nil && name == "text/html" {
				return true
			}
		}
	}
	return false
}
