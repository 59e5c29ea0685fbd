package main

// Line is one component that is a released Go module.
type Line struct {
	Name     string   // of the component and its repository
	Module   string   // its module path
	Packages []string // what its recipe builds and tests; empty: all
	Needs    []string // components among the lines that it is built with
	Versions []string // released versions, oldest first: history, up to and with the one to begin with
	Next     []string // released versions to upgrade to, oldest first
}

// Step is an upgrade that the demo makes: what the product consists of differs from the step before in one component.
type Step struct{ Component, Version string }

const org = "github.com/prometheus/"

// lines is the product, in the order in which it is built. The versions are some that the public module proxy serves.
var lines = []Line{
	{
		Name: "client-model", Module: org + "client_model",
		Versions: []string{"0.6.1", "0.6.2"},
	},
	{
		Name: "procfs", Module: org + "procfs",
		Versions: []string{"0.17.0", "0.19.2"}, Next: []string{"0.23.0"},
	},
	{
		Name: "common", Module: org + "common",
		Packages: []string{"./expfmt/...", "./helpers/...", "./model/...", "./promslog/...", "./route/...", "./server/...", "./version/..."},
		Needs:    []string{"client-model"},
		Versions: []string{"0.66.1", "0.67.5"}, Next: []string{"0.70.1"},
	},
	{
		Name: "client-golang", Module: org + "client_golang",
		Packages: []string{"./...", org + "common/config"},
		Needs:    []string{"client-model", "procfs", "common"},
		Versions: []string{"1.22.0", "1.23.2"},
	},
	{
		Name: "exporter-toolkit", Module: org + "exporter-toolkit",
		Needs:    []string{"client-model", "procfs", "common", "client-golang"},
		Versions: []string{"0.15.1", "0.16.0"},
	},
	{
		Name: "statsd-exporter", Module: org + "statsd_exporter",
		Needs:    []string{"client-model", "procfs", "common", "client-golang", "exporter-toolkit"},
		Versions: []string{"0.25.0", "0.30.0"},
	},
	{
		Name: "node-exporter", Module: org + "node_exporter",
		Needs:    []string{"client-model", "procfs", "common", "client-golang", "exporter-toolkit"},
		Versions: []string{"1.9.1", "1.10.1"},
	},
}

// steps are the upgrades, each tried on top of those before: thirdparty serves what all of them need.
//
// procfs 0.23.0 changed the type of a field that node_exporter 1.10.1 reads: procfs and client_golang build and pass
// their tests with it, node_exporter does not compile.
var steps = []Step{
	{"common", "0.70.1"},
	{"procfs", "0.23.0"},
}
