package agent

import (
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
)

// Facts finds out what the node is: os, arch, cpus, hostname, root, and the address from which it reaches the server.
func Facts(server, root string) map[string]string {
	facts := map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": strconv.Itoa(runtime.NumCPU()), "root": root}
	if name, err := os.Hostname(); err == nil {
		facts["hostname"] = name
	}
	if u, err := url.Parse(server); err == nil {
		port := u.Port()
		if port == "" {
			port = "80"
		}
		// Connecting UDP sends nothing; it only asks the routing table.
		if conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)); err == nil {
			if addr, ok := conn.LocalAddr().(*net.UDPAddr); ok {
				facts["address"] = addr.IP.String()
			}
			conn.Close()
		}
	}
	return facts
}
