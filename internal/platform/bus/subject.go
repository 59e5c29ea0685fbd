package bus

import (
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/nats-io/nkeys"
)

// The subjects of the bus.
const (
	EventSubject = "slipway.events." // + event type
	nodeSubject  = "slipway.node."   // + node name + ".sync" or ".poke"
	inboxPrefix  = "_INBOX.node."    // + node name
)

// SyncSubject is where the named node's agent asks for its orders; SyncSubject("*") matches all nodes.
func SyncSubject(node string) string { return nodeSubject + node + ".sync" }

// PokeSubject is where the server tells the named node's agent that a sync now would bring something new.
func PokeSubject(node string) string { return nodeSubject + node + ".poke" }

// InboxPrefix is the prefix of the subjects at which the named node's agent takes answers.
func InboxPrefix(node string) string { return inboxPrefix + node }

// NodeOf returns the node that a subject of SyncSubject's form belongs to.
func NodeOf(subject string) (node string, ok bool) {
	rest, ok := strings.CutPrefix(subject, nodeSubject)
	if !ok {
		return "", false
	}
	node, _, ok = strings.Cut(rest, ".")
	return node, ok && ValidNode(node)
}

// OwnsInbox reports whether an answer sent to reply can reach only the named node. A sender chooses the reply
// subject freely, so an answer to a foreign one would let it speak with the server's voice.
func OwnsInbox(node, reply string) bool {
	return ValidNode(node) && strings.HasPrefix(reply, InboxPrefix(node)+".") && !strings.ContainsAny(reply, "*> \t")
}

// ValidNode reports whether name can be a node's: lower-case letters, digits and dashes, at most 63, beginning
// with a letter or digit. It is one token of a subject, one path element and one host name label.
func ValidNode(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return false
		}
	}
	return true
}

// ValidKey reports whether key is the public half of an agent's nkey (a user key, "U...").
func ValidKey(key string) bool { return nkeys.IsValidPublicUserKey(key) }

// Rights are the subjects that a connection may publish on and listen to.
type Rights struct {
	Publish   []string
	Subscribe []string
}

// AgentPermissions are the rights of the named node's agent.
func AgentPermissions(node string) Rights {
	return Rights{
		Publish:   []string{nodeSubject + node + ".>"},
		Subscribe: []string{nodeSubject + node + ".>", InboxPrefix(node) + ".>"},
	}
}

// Authorization writes the authorization block of a NATS server's configuration file that gives serverKey all rights
// and each agent (node name -> public nkey) those of AgentPermissions. Equal input gives equal bytes.
func Authorization(w io.Writer, serverKey string, agents map[string]string) error {
	names := make([]string, 0, len(agents))
	for name := range agents {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	fmt.Fprintf(&b, "authorization {\n  users = [\n    { nkey: %s }\n", serverKey)
	for _, name := range names {
		r := AgentPermissions(name)
		fmt.Fprintf(&b, "    # node %s\n    { nkey: %s, permissions: { publish: { allow: [%s] }, subscribe: { allow: [%s] } } }\n",
			name, agents[name], quoted(r.Publish), quoted(r.Subscribe))
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func quoted(subjects []string) string { return `"` + strings.Join(subjects, `", "`) + `"` }
