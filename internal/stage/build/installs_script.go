package build

import "strings"

// clients are the package managers, by format.
var clients = map[string]string{"rpm": "rpm", "deb": "dpkg", "apk": "apk"}

// installPrelude begins the script of an installation: what it needs to run package managers, each in a root of its own below work/.
//
// When one fails, the last line repeats what it complained of, because that is what people see first. A root has no distribution in it:
// where a package has scripts, seed puts a shell and the common tools there, with the libraries that they load.
const installPrelude = `[ "$(id -u)" = 0 ] || { echo "not applicable: this worker has no user 0 in its sandbox"; exit 0; }
umask 022
mkdir -p work "$HOME"
begin() { root=$PWD/work/$1; said=$PWD/work/$1.said; mkdir -p "$root/tmp" "$root/var/tmp" "$root/etc"; echo "# $1: $(cd packages/$1 && echo *)"; }
failed() {
  cat "$said" >&2
  echo "$1: $(grep -v -e '^warning: .*NOKEY' -e '^dpkg: warning' -e 'RPM should not be used' -e 'assuming you know' "$said" | tr -s '\n\t ' '   ' | cut -c1-270)" >&2
  exit 1
}
seed() {
  printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
  printf 'root:x:0:\n' >"$root/etc/group"
  mkdir -p "$root/usr/bin" "$root/root" "$root/dev"
  [ -e "$root/bin" ] || ln -s usr/bin "$root/bin"
  command -v ldd >/dev/null || { echo "there is no ldd, so the scripts of packages have no shell" >"$said"; failed "$1"; }
  for name in sh cat chgrp chmod chown cp cut date dirname basename echo env expr false find getent grep head id install ldconfig ln ls mkdir mktemp mv printf pwd readlink rm rmdir sed sort stat tail test touch tr true uname wc xargs; do
    file=$(command -v "$name") && [ -f "$file" ] || continue
    cp -L "$file" "$root/usr/bin/$name"
    for library in $(ldd "$file" 2>/dev/null | grep -o '/[^ ]*'); do
      [ -e "$root$library" ] || { mkdir -p "$root${library%/*}" && cp -L "$library" "$root$library"; }
    done
  done
}
`

// installScript installs the packages of one format, all at once, and asks the package manager whether all is well.
func installScript(format string, withScripts bool) string {
	lines := []string{"begin " + format}
	if withScripts {
		lines = append(lines, "seed "+format)
	}
	switch format {
	case "deb":
		lines = append(lines,
			`mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"; : >"$root/var/lib/dpkg/status"`,
			`dpkg --root="$root" --log=/dev/null --force-unsafe-io --install packages/deb/*.deb 2>"$said" || failed deb`,
			`dpkg --root="$root" --audit >"$said" 2>&1 && [ ! -s "$said" ] || failed "deb: dpkg --audit"`,
			`dpkg --root="$root" --verify >"$said" 2>&1 && [ ! -s "$said" ] || failed "deb: dpkg --verify"`)
	case "rpm": // a script after the installation that fails is a warning for rpm, and a failure here
		lines = append(lines,
			`rpm --root "$root" --initdb >"$said" 2>&1 || failed rpm`,
			`rpm --root "$root" --nosignature --install --verbose packages/rpm/*.rpm 2>"$said" || failed rpm`,
			`! grep -q 'scriptlet failed' "$said" || failed rpm`,
			`rpm --root "$root" --nosignature --verify --all --nomtime >"$said" 2>&1 || failed "rpm: rpm --verify"`)
	case "apk":
		lines = append(lines,
			`apk --root "$root" --initdb --no-network --no-cache --allow-untrusted add packages/apk/*.apk 2>"$said" || failed apk`,
			`apk --root "$root" audit --system >"$said" 2>&1 || failed "apk: apk audit"`)
	}
	return strings.Join(lines, "\n")
}

// quote makes one word of a text for the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
