package script

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"github.com/emersion/go-smtp"
	"github.com/rogpeppe/go-internal/testscript"
)

// postbox starts what events can be sent to: a web server and a mail server.
func postbox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: postbox")
	}
	hooks, mails := keep(ts, "hooks"), keep(ts, "mails")
	hookAt, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := hooks.add("%s %s\n%s\n", r.Method, r.Header.Get("Content-Type"), body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})}
	mailAt, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	mail := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &letter{box: mails}, nil }))
	var both sync.WaitGroup
	both.Go(func() { web.Serve(hookAt) })  //nolint:errcheck // it ends with the story
	both.Go(func() { mail.Serve(mailAt) }) //nolint:errcheck // it ends with the story
	ts.Defer(func() {
		web.Close()  //nolint:errcheck // nobody listens any more
		mail.Close() //nolint:errcheck // nobody listens any more
		both.Wait()
	})
	ts.Setenv("HOOK", "http://"+hookAt.Addr().String()+"/hook")
	ts.Setenv("SMTP", "smtp://"+mailAt.Addr().String())
}

// box is a file that grows by what comes.
type box struct {
	mu   sync.Mutex
	file string
}

func keep(ts *testscript.TestScript, name string) *box {
	b := &box{file: filepath.Join(ts.Getenv("WORK"), name)}
	ts.Check(os.WriteFile(b.file, nil, 0o644))
	return b
}

func (b *box) add(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	f, err := os.OpenFile(b.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, format, args...)
	return err
}

// letter is one mail under way.
type letter struct {
	box *box
	to  string
}

func (l *letter) Mail(string, *smtp.MailOptions) error      { return nil }
func (l *letter) Rcpt(to string, _ *smtp.RcptOptions) error { l.to = to; return nil }
func (l *letter) Reset()                                    { l.to = "" }
func (l *letter) Logout() error                             { return nil }
func (l *letter) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return l.box.add("for %s\n%s\n", l.to, text)
}
