package debian

import "strings"

// tuples are the architectures whose tuple ABI-libc-OS-CPU is not base-gnu-linux-NAME (dpkg's ostable and tupletable).
var tuples = map[string]string{
	"armel": "eabi-gnu-linux-arm", "armhf": "eabihf-gnu-linux-arm", "arm": "base-gnu-linux-arm",
	"x32": "x32-gnu-linux-amd64", "arm64ilp32": "ilp32-gnu-linux-arm64", "powerpcspe": "spe-gnu-linux-powerpc",
	"mips64el": "abi64-gnu-linux-mips64el", "mips64": "abi64-gnu-linux-mips64", "mipsn32el": "abin32-gnu-linux-mips64el", "mipsn32": "abin32-gnu-linux-mips64",
	"mips64r6el": "abi64-gnu-linux-mips64r6el", "mips64r6": "abi64-gnu-linux-mips64r6",
	"hurd-i386": "base-gnu-hurd-i386", "hurd-amd64": "base-gnu-hurd-amd64",
	"kfreebsd-amd64": "base-gnu-kfreebsd-amd64", "kfreebsd-i386": "base-gnu-kfreebsd-i386",
	"musl-linux-amd64": "base-musl-linux-amd64", "musl-linux-arm64": "base-musl-linux-arm64", "musl-linux-i386": "base-musl-linux-i386",
}

// matches reports whether an architecture is named by one word of an architecture list: "amd64", "linux-any", "any-arm", "any".
func matches(arch, word string) bool {
	if arch == word || word == "any" {
		return true
	}
	if !strings.Contains(word, "any") {
		return false
	}
	tuple, ok := tuples[arch]
	if !ok {
		tuple = "base-gnu-linux-" + arch
	}
	have, want := strings.Split(tuple, "-"), strings.Split(word, "-")
	if len(want) > len(have) {
		return false
	}
	for i := range want { // what a wildcard leaves out on the left is any
		if w := want[len(want)-1-i]; w != "any" && w != have[len(have)-1-i] {
			return false
		}
	}
	return true
}

// listed reports whether a restriction, "amd64 linux-any" or "!i386 !hurd-any", holds for an architecture. The empty one always does.
func listed(arch, list string) bool {
	negative := false
	for word := range strings.FieldsSeq(list) {
		name, not := strings.CutPrefix(word, "!")
		negative = not
		if matches(arch, name) {
			return !not
		}
	}
	return negative || list == ""
}

// active reports whether a restriction formula of build profiles holds, "<!nocheck> <cross !nodoc>" without the outermost brackets: one of the
// lists in which all terms hold. The empty one always does.
func active(profiles []string, formula string) bool {
	if formula == "" {
		return true
	}
	for list := range strings.SplitSeq(formula, "> <") {
		all := true
		for term := range strings.FieldsSeq(strings.Trim(list, "<>")) {
			name, not := strings.CutPrefix(term, "!")
			has := false
			for _, p := range profiles {
				has = has || p == name
			}
			all = all && has != not
		}
		if all {
			return true
		}
	}
	return false
}
