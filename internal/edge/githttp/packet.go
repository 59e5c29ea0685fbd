package githttp

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxPacket is the longest packet line, with its four digits of length (gitprotocol-common(5)).
const maxPacket = 65520

// readPackets reads packet lines up to a flush packet, without their line ends.
func readPackets(r io.Reader) ([]string, error) {
	var all []string
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, fmt.Errorf("read a packet line: %w", err)
		}
		n, err := strconv.ParseUint(string(head[:]), 16, 16)
		if err != nil || n > maxPacket || (n > 0 && n < 4) {
			return nil, fmt.Errorf("%q is no length of a packet line", head)
		}
		if n == 0 {
			return all, nil
		}
		body := make([]byte, n-4)
		if _, err := io.ReadFull(r, body); err != nil {
			return nil, fmt.Errorf("read a packet line: %w", err)
		}
		all = append(all, strings.TrimSuffix(string(body), "\n"))
	}
}

// writePackets writes lines as packet lines and a flush packet, in one write.
func writePackets(w io.Writer, lines ...string) error {
	var b strings.Builder
	for _, l := range lines {
		if len(l) > maxPacket-4 {
			return fmt.Errorf("a packet line of %d bytes", len(l))
		}
		fmt.Fprintf(&b, "%04x%s", len(l)+4, l)
	}
	b.WriteString("0000")
	_, err := io.WriteString(w, b.String())
	return err
}
