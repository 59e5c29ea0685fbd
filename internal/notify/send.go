package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/smtp"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

// The headers of a webhook.
const (
	DeliveryHeader  = "Slipway-Delivery"
	SignatureHeader = "Slipway-Signature"
)

// Sign makes the value of [SignatureHeader] for a body posted at a time; see the package comment.
func Sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t + "."))
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// Verify reports whether a signature is that of the body under the secret, and not older than age at the time now.
func Verify(secret, signature string, body []byte, now time.Time, age time.Duration) bool {
	t, _, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	unix, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return false
	}
	at := time.Unix(unix, 0)
	return hmac.Equal([]byte(signature), []byte(Sign(secret, at, body))) && now.Sub(at).Abs() <= age
}

// post sends a webhook. An error of kind Invalid will not pass.
func (s *Service) post(ctx context.Context, sub Subscription, d Delivery, e slipway.Event) (string, error) {
	ce, err := bus.Encode(e, s.cfg.Source)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(ce)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sub.Webhook, bytes.NewReader(body))
	if err != nil {
		return "", slipway.Errorf(slipway.Invalid, "make the request: %w", err)
	}
	req.Header.Set("Content-Type", bus.ContentType)
	req.Header.Set("User-Agent", "Slipway")
	req.Header.Set(DeliveryHeader, d.ID)
	req.Header.Set(SignatureHeader, Sign(sub.Secret, time.Now(), body))
	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		var told *url.Error
		if errors.As(err, &told) {
			err = told.Err // without the URL, which may hold a secret: everybody reads the reason
		}
		return "", slipway.Errorf(slipway.Unavailable, "post to %s: %w", sub.Target(), err)
	}
	defer resp.Body.Close()
	// Only the status is told: whoever may subscribe must not read, through us, what an address inside answers.
	answer := resp.Status
	switch {
	case resp.StatusCode < 300:
		return answer, nil
	case resp.StatusCode < 500 && resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusTooManyRequests:
		return "", slipway.Errorf(slipway.Invalid, "the receiver answered %s", answer)
	}
	return "", slipway.Errorf(slipway.Unavailable, "the receiver answered %s", answer)
}

// mail sends a message over SMTP, with TLS and log-in where the server offers and the configuration has them.
func (s *Service) mail(ctx context.Context, sub Subscription, d Delivery, e slipway.Event) (string, error) {
	if s.cfg.SMTP == "" {
		return "", slipway.Errorf(slipway.Unavailable, "no mail server is configured").Try("start the server with --smtp smtp://HOST:PORT")
	}
	u, err := url.Parse(s.cfg.SMTP)
	if err != nil || u.Scheme != "smtp" || u.Host == "" {
		return "", slipway.Errorf(slipway.Unavailable, "%q is no mail server", s.cfg.SMTP).Try("write smtp://HOST:PORT")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "reach the mail server: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline) //nolint:errcheck // a connection that has no deadlines has no network either
	}
	if err := s.converse(conn, u, sub.Mail, s.message(sub, d, e)); err != nil {
		var refusal *textproto.Error
		if errors.As(err, &refusal) && refusal.Code >= 500 {
			return "", slipway.Errorf(slipway.Invalid, "the mail server refused: %w", err)
		}
		return "", slipway.Errorf(slipway.Unavailable, "send the mail: %w", err)
	}
	return "accepted by " + u.Host, nil
}

func (s *Service) converse(conn net.Conn, u *url.URL, to string, message []byte) error {
	c, err := smtp.NewClient(conn, u.Hostname())
	if err != nil {
		return err
	}
	defer c.Close()
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}); err != nil {
			return err
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		if err := c.Auth(smtp.PlainAuth("", u.User.Username(), password, u.Hostname())); err != nil {
			return err
		}
	}
	if err := c.Mail(s.cfg.From); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// message writes the mail: what happened in the subject line, the reason and where to look below.
func (s *Service) message(sub Subscription, d Delivery, e slipway.Event) []byte {
	var b bytes.Buffer
	title := fmt.Sprintf("%s %s", e.Type, e.Subject)
	if e.Product != "" {
		title = "[" + e.Product + "] " + title
	}
	header := func(name, value string) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, strings.NewReplacer("\r", " ", "\n", " ").Replace(value))
	}
	_, host, _ := strings.Cut(s.cfg.From, "@")
	header("From", s.cfg.From)
	header("To", sub.Mail)
	header("Subject", mime.QEncoding.Encode("utf-8", title))
	header("Date", e.Time.Format(time.RFC1123Z))
	header("Message-ID", "<"+d.ID+"@"+host+">")
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	lines := []string{
		fmt.Sprintf("%s: %s", e.Subject, e.Type),
		"why: " + e.Reason,
		"by: " + e.Actor,
		"when: " + e.Time.UTC().Format(time.RFC3339),
	}
	if len(e.Links) > 0 {
		lines = append(lines, "about: "+strings.Join(e.Links, ", "))
	}
	lines = append(lines, "", "event "+strconv.FormatInt(e.Seq, 10)+" at "+s.cfg.Source)
	fmt.Fprint(w, strings.Join(lines, "\r\n")+"\r\n") // a buffer does not fail
	w.Close()                                         //nolint:errcheck // likewise
	return b.Bytes()
}
