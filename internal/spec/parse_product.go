package spec

import (
	"maps"
	"net/mail"
	"net/url"
	"path"
	"slices"
	"strings"
)

// ParseProduct reads a product.yaml; file names it in errors. What the file leaves out has its default in the
// result. The error tells every problem (see [Problems]). Whether the repositories exist, and whether what the
// components need is among them, is for package catalog to say.
func ParseProduct(data []byte, name string) (Product, error) {
	f := &file{name: name}
	root := f.read(data)
	if root == nil {
		return Product{}, f.err()
	}
	f.check(root, productSchema())
	p := f.product(root)
	if err := f.err(); err != nil {
		return Product{}, err
	}
	return p, nil
}

func (f *file) product(root *node) Product {
	p := Product{
		Name:       root.str("product"),
		Summary:    root.str("summary"),
		Params:     root.texts("params"),
		Components: f.refs(root.get("components")),
	}
	names := slices.Sorted(maps.Keys(p.Components))
	p.Branches = f.branches(root.get("branches"))
	p.Bootstrap = f.bootstrap(root.get("bootstrap"), names)
	p.Buildroots = f.buildroots(root.get("buildroots"))
	build := root.get("build")
	p.Build = BuildRules{Buildroot: build.str("buildroot"), Unconfined: build.str("unconfined")}
	f.buildrootName(build.get("buildroot"), p.Buildroots)
	p.Modules = f.modules(root.get("modules"), p, names)
	p.Configurations = f.configurations(root.get("configurations"), names)

	review := root.get("review")
	p.Review = Review{
		Approve: orText(review.str("approve"), "gatekeeper"),
		Merge:   orText(review.str("merge"), "rebase"),
		Bump:    orText(review.str("bump"), "conventional-commits"),
	}
	gates := root.get("gates")
	f.unique(gates.get("change"), "the check")
	f.unique(gates.get("candidate"), "the check")
	p.Gates = Gates{Change: gates.list("change"), Candidate: gates.list("candidate")}
	p.Queue = f.queue(root.get("queue"))
	p.Compose = f.compose(root.get("compose"), p, names)

	deploy := root.get("deploy")
	automatic := true
	if deploy.get("automatic") != nil {
		automatic = deploy.boolean("automatic")
	}
	p.Deploy = Deploy{Model: deploy.str("model"), Automatic: &automatic}
	if p.Deploy.Model != "" {
		f.inside(deploy.get("model"), p.Deploy.Model, "the integration repository")
		p.Deploy.Model = path.Clean(p.Deploy.Model)
	}
	if notify := root.get("notify"); notify != nil {
		for _, item := range notify.items {
			p.Notify = append(p.Notify, f.subscription(item))
		}
	}
	return p
}

func (f *file) refs(n *node) map[string]ComponentRef {
	refs := map[string]ComponentRef{}
	if n == nil {
		return refs
	}
	places := map[ComponentRef]string{}
	for _, name := range n.keys {
		m := n.members[name]
		ref := ComponentRef{
			Repo:   orText(m.value.str("repo"), "components/"+name),
			Path:   m.value.str("path"),
			Branch: orText(m.value.str("branch"), "main"),
		}
		if ref.Path != "" {
			f.inside(m.value.get("path"), ref.Path, "the repository")
			if ref.Path = path.Clean(ref.Path); ref.Path == "." {
				ref.Path = ""
			}
		}
		if strings.Contains(ref.Branch, "..") || strings.HasSuffix(ref.Branch, "/") || strings.HasSuffix(ref.Branch, ".lock") || strings.Contains(ref.Branch, "//") {
			f.at(m.value.get("branch"), "write a branch's name, as in main or release/2", "git allows no branch %q", ref.Branch)
		}
		if first, dup := places[ref]; dup {
			f.report(m.line, m.column, "give one of them another repo, path or branch", "the components %q and %q have the same source", first, name)
		}
		places[ref] = name
		refs[name] = ref
	}
	return refs
}

// branches are patterns as [path.Match] reads them.
func (f *file) branches(n *node) []string {
	f.unique(n, "the branch")
	if n == nil {
		return nil
	}
	var all []string
	for _, item := range n.items {
		if _, err := path.Match(item.text, ""); err != nil {
			f.at(item, "write a name or a pattern, as in stable-1 or stable-*", "%q is no pattern: %v", item.text, err)
		}
		if item.text == "main" {
			f.at(item, "leave it out", "main always has a queue")
		}
		all = append(all, item.text)
	}
	return all
}

func (f *file) bootstrap(n *node, components []string) []Bootstrap {
	if n == nil {
		return nil
	}
	var all []Bootstrap
	for _, item := range n.items {
		b := Bootstrap{From: item.str("from"), To: item.str("to"), At: item.str("at")}
		if b.From == "" || b.To == "" {
			continue // the schema tells it
		}
		f.knownText(item.get("from"), b.From, "component", components)
		f.knownText(item.get("to"), b.To, "component", components)
		if b.From == b.To {
			f.at(item, "name the component that it needs", "%s cannot start from itself", b.From)
		}
		if slices.ContainsFunc(all, func(o Bootstrap) bool { return o.From == b.From && o.To == b.To }) {
			f.at(item, "remove one of them", "the edge from %s to %s is described twice", b.From, b.To)
		}
		all = append(all, b)
	}
	return all
}

func (f *file) configurations(n *node, components []string) map[string]Configuration {
	all := map[string]Configuration{}
	if n == nil {
		return all
	}
	for _, name := range n.keys {
		v := n.members[name].value
		c := Configuration{
			Components:  v.list("components"),
			Nodes:       v.texts("nodes"),
			Params:      v.texts("params"),
			Experiments: v.list("experiments"),
		}
		f.unique(v.get("components"), "the component")
		f.known(v.get("components"), "component", components)
		experiments := v.get("experiments")
		f.unique(experiments, "the experiment")
		if experiments != nil {
			for i, item := range experiments.items {
				f.inside(item, item.text, "the integration repository")
				c.Experiments[i] = path.Clean(item.text)
				if ext := path.Ext(item.text); ext != ".yaml" && ext != ".yml" {
					f.at(item, "write the path of a file, as in experiments/smoke.yaml", "the experiment %q is no YAML file", item.text)
				}
			}
		}
		all[name] = c
	}
	return all
}

func (f *file) compose(n *node, p Product, components []string) Compose {
	c := Compose{Short: orText(n.str("short"), p.Name)}
	variants := n.get("variants")
	if variants == nil {
		return c
	}
	configurations := slices.Sorted(maps.Keys(p.Configurations))
	c.Variants = map[string]Variant{}
	for _, name := range variants.keys {
		v := variants.members[name].value
		variant := Variant{
			Summary:       v.str("summary"),
			Configuration: v.str("configuration"),
			Components:    v.list("components"),
		}
		if variant.Configuration != "" {
			f.knownText(v.get("configuration"), variant.Configuration, "configuration", configurations)
		}
		f.unique(v.get("components"), "the component")
		f.known(v.get("components"), "component", components)
		c.Variants[name] = variant
	}
	return c
}

func (f *file) subscription(n *node) Subscription {
	s := Subscription{Events: n.list("events"), Webhook: n.str("webhook"), Mail: n.str("mail")}
	switch {
	case s.Webhook == "" && s.Mail == "":
		f.at(n, "add webhook: or mail:", "the subscription goes nowhere")
	case s.Webhook != "" && s.Mail != "":
		f.at(n, "write two subscriptions", "the subscription has both a webhook and a mail address")
	}
	if s.Webhook != "" {
		u, err := url.Parse(s.Webhook)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			f.at(n.get("webhook"), "write an http or https URL", "%q is no URL to post to", s.Webhook)
		}
	}
	if s.Mail != "" {
		if a, err := mail.ParseAddress(s.Mail); err != nil || a.Address != s.Mail {
			f.at(n.get("mail"), "write it as name@example.org", "%q is no mail address", s.Mail)
		}
	}
	return s
}
