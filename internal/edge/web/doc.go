// Package web is the dashboard: pages rendered on the server, made live by the ledger.
//
// A page is read from the same services as the REST API, through the interfaces in [Services]. Its main part names the
// topics that it shows ("change/12", "build.", see [Topic]) and the ledger's number at which it was read; a script of a
// few lines follows /ui/stream with those and fetches the page again when an event matches, so no event between the
// reading and the following is missed. Without scripts every page still works, and shows what was true when it was opened.
//
// People log in with an API token, which opens a session; the token itself is not kept in the browser. Every request
// needs a session, and what changes something also the role for it. Forms are ordinary posts; one that another site sent
// is refused (see auth.Service.Request). Nothing is loaded from elsewhere: the content security policy allows this origin
// alone and no inline script or style.
//
// Every state is shown with its reason.
package web

//go:generate go tool templ generate
