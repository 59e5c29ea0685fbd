package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// count sends a counter to a relay, as a program would, and waits until it is served as a metric. UDP may lose what is
// sent, so it is sent again until the relay has it.
func (s *story) count(ctx context.Context, n *node, tag string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	name := "vista_demo_" + strings.NewReplacer(".", "_", "-", "_").Replace(tag)
	conn, err := net.Dial("udp", "127.0.0.1:"+n.statsd)
	if err != nil {
		return err
	}
	defer conn.Close()
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		if _, err := fmt.Fprintf(conn, "%s:1|c\n", name); err != nil {
			return err
		}
		metrics, err := get(ctx, "http://127.0.0.1:"+n.port+"/metrics")
		if err != nil {
			return err
		}
		if strings.Contains(metrics, "\n"+name+" ") {
			return nil
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not count %s", n.name, name)
		}
	}
}
