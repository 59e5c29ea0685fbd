package rpmrepo

import (
	"encoding/xml"
)

// Group is a package group: what `dnf group install` takes.
type Group struct {
	ID          string   // lower case, without spaces
	Name        string   // for people
	Description string   // may be empty
	Packages    []string // by name; all of them are installed with the group
}

// Environment is a set of groups that make one kind of system.
type Environment struct {
	ID          string
	Name        string
	Description string
	Groups      []string // ids
}

// The elements of comps.xml in the order of libcomps' comps.dtd.
type (
	compsDoc struct {
		XMLName      xml.Name           `xml:"comps"`
		Groups       []compsGroup       `xml:"group"`
		Environments []compsEnvironment `xml:"environment"`
	}
	compsGroup struct {
		ID          string       `xml:"id"`
		Name        string       `xml:"name"`
		Description string       `xml:"description"`
		Default     bool         `xml:"default"`
		UserVisible bool         `xml:"uservisible"`
		Packages    []packageReq `xml:"packagelist>packagereq"`
	}
	packageReq struct {
		Type string `xml:"type,attr"`
		Name string `xml:",chardata"`
	}
	compsEnvironment struct {
		ID          string   `xml:"id"`
		Name        string   `xml:"name"`
		Description string   `xml:"description"`
		Groups      []string `xml:"grouplist>groupid"`
	}
)

const compsHeader = xml.Header + `<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">` + "\n"

// comps writes comps.xml; nil when there are no groups. Empty groups are left out, also from their environments.
func comps(groups []Group, environments []Environment) ([]byte, error) {
	var doc compsDoc
	kept := map[string]bool{}
	for _, g := range groups {
		if len(g.Packages) == 0 {
			continue
		}
		kept[g.ID] = true
		c := compsGroup{ID: g.ID, Name: g.Name, Description: g.Description, Default: true, UserVisible: true}
		for _, p := range g.Packages {
			c.Packages = append(c.Packages, packageReq{"mandatory", p})
		}
		doc.Groups = append(doc.Groups, c)
	}
	for _, e := range environments {
		c := compsEnvironment{ID: e.ID, Name: e.Name, Description: e.Description}
		for _, id := range e.Groups {
			if kept[id] {
				c.Groups = append(c.Groups, id)
			}
		}
		if len(c.Groups) > 0 {
			doc.Environments = append(doc.Environments, c)
		}
	}
	if len(doc.Groups) == 0 {
		return nil, nil
	}
	return marshal(compsHeader, doc)
}

func marshal(header string, doc any) ([]byte, error) {
	body, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(append([]byte(header), body...), '\n'), nil
}
