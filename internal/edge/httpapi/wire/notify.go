package wire

// Subscribe asks for events to be sent somewhere. Exactly one of Webhook and Mail is set.
type Subscribe struct {
	Product string   `json:"product,omitempty" doc:"Only events of this product; default all"`
	Events  []string `json:"events,omitempty" doc:"Types, or prefixes that end in a dot, as in change.; default all"`
	Webhook string   `json:"webhook,omitempty" doc:"URL that gets a CloudEvent by POST"`
	Mail    string   `json:"mail,omitempty" doc:"Mail address"`
	Secret  string   `json:"secret,omitempty" doc:"Signs webhooks; made when empty"`
}
